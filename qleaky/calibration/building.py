"""The quantized copy of a network: its weighted layers replaced, everything else as it was."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from qleaky.calibration.parts import KINDS
from qleaky.errors import InputError
from qleaky.layers import QuantizedLayer
from qleaky.layers.accumulator import InputFormat


@dataclass(frozen=True)
class WeightOptions:
    """What a quantized layer is built with, but for its own weight bits and input."""

    per_channel: bool = False
    accumulator_bits: int | None = None


def quantized_copy(
    net: nn.Module,
    weighted: Mapping[str, Any],
    bits: Mapping[str, Any],
    inputs: Mapping[str, InputFormat],
    options: WeightOptions,
) -> nn.Module:
    """A copy in which the layers of ``weighted`` that have ``bits`` are quantized ones, in evaluation mode for now.

    Shared modules stay shared, and hooks are kept.

    Raises:
        InputError: the network cannot be copied.
    """
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for module in net.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    for path, layer in weighted.items():
        if bits[path] is not None:
            memo[id(layer)] = _quantized(layer, bits[path], inputs.get(path, "spikes"), options)
    try:
        return copy.deepcopy(net, memo).eval()
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"quantize: the network cannot be copied: {error}. Detach tensors that it stores as attributes, or build it "
            f"anew and load its state_dict."
        ) from error


def _quantized(layer: Any, bits: Any, input_format: InputFormat, options: WeightOptions) -> QuantizedLayer:
    settings = {"per_channel": options.per_channel, "accumulator_bits": options.accumulator_bits, "input_format": input_format}
    made: Any = KINDS[type(layer)]
    new: QuantizedLayer = made.from_float(layer, weight_bits=bits, **settings).eval()
    for name, hooks in vars(layer).items():
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")) and hooks:
            vars(new)[name].update(copy.copy(hooks))
    new._is_full_backward_hook = layer._is_full_backward_hook
    return new


def modes(net: nn.Module) -> dict[str, bool]:
    """Which modules are in training mode."""
    return {path: module.training for path, module in net.named_modules()}


def restore(net: nn.Module, training: Mapping[str, bool]) -> None:
    """Put modules back into their modes; new ones inside of a layer follow the layer."""
    for path, module in net.named_modules():
        parent = path
        while parent not in training:
            parent = parent.rpartition(".")[0]
        module.training = training[parent]

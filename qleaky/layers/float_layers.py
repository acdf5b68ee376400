"""What quantized layers check before they are built, and how they take over a float layer."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from qleaky.errors import InputError
from qleaky.layers.accumulator import check_input_format
from qleaky.layers.codes import codes_of
from qleaky.layers.quantized_layer import QuantizedLayer

L = TypeVar("L", bound=QuantizedLayer)


def check_options(where: str, weight_bits: Any, input_format: Any) -> None:
    """Refuse wrong settings before anything is built.

    Raises:
        InputError: they are wrong.
    """
    codes_of(weight_bits, where)
    check_input_format(input_format, where)


def check_float_layer(where: str, layer: Any, kind: type[nn.Module]) -> None:
    """Refuse a layer that computes anything but a ``kind`` of torch's.

    Raises:
        InputError: it does.
    """
    if not isinstance(layer, kind):
        raise InputError(f"{where}.from_float: got a {type(layer).__name__}; pass a torch.nn.{kind.__name__}.")
    if type(layer).forward is not kind.forward and not isinstance(layer, QuantizedLayer):
        raise InputError(
            f"{where}.from_float: {type(layer).__name__} has a forward of its own, so it may compute something else than "
            f"torch.nn.{kind.__name__}; pass that."
        )
    if "weight" not in layer._parameters:
        raise InputError(
            f"{where}.from_float: the layer computes its weight (parametrization, weight norm, pruning); make it permanent "
            f"first."
        )


@torch.no_grad()
def taken_over(quantized: L, layer: Any) -> L:
    """``quantized`` with the parameters of a float layer, in its mode and on its device.

    Raises:
        InputError: parameters of other shapes than the layer's own settings ask for.
    """
    quantized.to(layer.weight.device, layer.weight.dtype).train(layer.training)
    for name, parameter in layer.named_parameters(recurse=False):
        own = getattr(quantized, name)
        if own.shape != parameter.shape:
            raise InputError(
                f"{type(quantized).__name__}.from_float: the layer's {name} has shape {tuple(parameter.shape)}, where its own "
                f"settings ask for {tuple(own.shape)}; build the layer anew."
            )
        own.copy_(parameter)
        own.requires_grad_(parameter.requires_grad)
    quantized.rescale()
    return quantized

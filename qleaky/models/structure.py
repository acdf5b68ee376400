"""What quantizing made of a float network, as plain values: enough to build it again before its weights are loaded."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from qleaky.dynamics import MulShift
from qleaky.errors import ArtefactError, InputError
from qleaky.fixed import QFormat
from qleaky.layers import QuantConv1d, QuantConv2d, QuantizedLayer, QuantLinear
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint

QUANTIZED: dict[type[nn.Module], Any] = {nn.Linear: QuantLinear, nn.Conv1d: QuantConv1d, nn.Conv2d: QuantConv2d}
PLACEHOLDER = (8, 0)  # bits and fractional bits, until the state dict brings the real ones

Structure = dict[str, dict[str, Any]]


def describe(net: nn.Module) -> Structure:
    """The settings of every quantized layer and neuron, by name; what the state dict holds (formats of states, thresholds,
    decays, scales) is not repeated.

    Raises:
        InputError: a state quantizer or decay that no quantized network of qleaky has.
    """
    found: Structure = {}
    for name, module in net.named_modules():
        if isinstance(module, QuantizedLayer):
            found[name] = {
                "weight_bits": module.weight_bits,
                "per_channel": module.per_channel,
                "accumulator_bits": module.accumulator_bits,
                "input_format": repr(module.input_format) if isinstance(module.input_format, QFormat) else "spikes",
            }
        elif isinstance(module, Leaky) and (module.state_quant or module.decay is not None):
            found[name] = {"decay_bits": _decay_bits(name, module)}
    return found


def _decay_bits(name: str, lif: Leaky) -> int:
    decay = lif.decay
    if isinstance(lif.state_quant, FixedPoint) and isinstance(decay, MulShift) and decay == MulShift(n=decay.n):
        return decay.n
    raise InputError(
        f"{name}: a state quantizer {type(lif.state_quant).__name__} with decay {decay!r}; a quantized network has FixedPoint "
        f"with MulShift(n=...)."
    )


def restructure(net: nn.Module, structure: Structure) -> None:
    """Put quantized layers and neurons in the places of a float network's, in place.

    Raises:
        ArtefactError: the structure is another network's, or no structure.
    """
    modules = dict(net.named_modules())
    for name, settings in structure.items():
        module = modules.get(name)
        try:
            if isinstance(module, Leaky):
                module.state_quant, module.decay = FixedPoint(*PLACEHOLDER), MulShift(n=settings["decay_bits"])
            else:
                fmt = settings["input_format"]
                options = settings | {"input_format": fmt if fmt == "spikes" else QFormat.parse(fmt)}
                quantized = QUANTIZED[type(cast(nn.Module, module))].from_float(module, **options)
                parent, _, own = name.rpartition(".")
                setattr(modules[parent], own, quantized)
        except (KeyError, TypeError, InputError) as error:
            raise ArtefactError(
                f"The structure does not fit the network: {name!r} is a {type(module).__name__} there, to become {settings}: "
                f"{error}."
            ) from error

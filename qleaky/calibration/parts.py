"""The parts of a network that can be quantized, and the reasons why others are kept as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from torch import nn

from qleaky.errors import InputError
from qleaky.layers import QuantConv1d, QuantConv2d, QuantizedLayer, QuantLinear
from qleaky.layers.codes import WeightBits, codes_of
from qleaky.neuron import Leaky
from qleaky.tracing.observer import leaves
from qleaky.tracing.overrides import overrides

KINDS: dict[type[nn.Module], type[QuantizedLayer]] = {
    nn.Linear: QuantLinear,
    nn.Conv1d: QuantConv1d,
    nn.Conv2d: QuantConv2d,
}
MOST_STATE_BITS = 24


@dataclass(frozen=True)
class Parts:
    """Layers with weights and neurons to quantize, by path (the first one of a shared module), and what is kept and why."""

    weighted: dict[str, nn.Module]
    neurons: dict[str, Leaky]
    kept: tuple[tuple[str, str], ...]


def parts_of(net: nn.Module) -> Parts:
    """Everything in a network with weights or states.

    Raises:
        InputError: there are no neurons, or those of snntorch.
    """
    weighted: dict[str, nn.Module] = {}
    neurons: dict[str, Leaky] = {}
    kept = []
    tied = _tied(net)
    for path, module in _layers(net):
        reason = None
        if isinstance(module, Leaky):
            reason = _why_not_neuron(module)
            neurons |= {} if reason else {path: module}
        elif isinstance(module, (*KINDS, QuantWeightBiasInputOutputLayer)):
            reason = _why_not_weighted(module, tied)
            weighted |= {} if reason else {path: module}
        elif any(True for _ in module.parameters(recurse=False)):
            reason = f"a {type(module).__name__} has parameters that are no weights of a Linear, Conv1d or Conv2d"
        if reason:
            kept.append((path, reason))
    _check_neurons(net)
    return Parts(weighted, neurons, tuple(kept))


def _layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers, each once, by the path that tracing gives them."""
    found: list[tuple[str, nn.Module]] = []
    opaque: set[int] = set()
    names = {id(module): path for path, module in leaves(net)}
    for path, module in net.named_modules():
        if id(module) in opaque:
            continue
        if isinstance(module, (Leaky, QuantWeightBiasInputOutputLayer)):
            opaque.update(id(inside) for inside in module.modules())
        found.append((path or names.get(id(module), ""), module))
    return found


def _tied(net: nn.Module) -> set[int]:
    """Parameters that several modules hold."""
    owners: dict[int, set[int]] = {}
    for module in net.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(id(module))
    return {number for number, modules in owners.items() if len(modules) > 1}


def _why_not_weighted(module: nn.Module, tied: set[int]) -> str | None:
    kind = type(module)
    if isinstance(module, QuantWeightBiasInputOutputLayer):
        return "its weights are quantized already"
    if "weight" not in module._parameters:
        return "it computes its weight (parametrization, weight norm, pruning); make it permanent first"
    if kind not in KINDS:
        return f"a {kind.__name__} is a subclass that may compute something else; use torch's own layer"
    if "forward" in vars(module):
        return "it has a forward of its own; remove it"
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return f"padding_mode={module.padding_mode!r} has no integer form; pad with zeros"
    if any(id(parameter) in tied for parameter in module.parameters()):
        return "it shares a parameter with another layer; give each its own, or use one layer twice"
    return None


def _why_not_neuron(module: Leaky) -> str | None:
    if module.state_quant:
        return "its state is quantized already"
    if found := overrides(module):
        return found[0].rstrip(".")
    return None


def _check_neurons(net: nn.Module) -> None:
    theirs = [path for path, module in net.named_modules() if type(module).__module__.startswith("snntorch.")]
    if theirs:
        raise InputError(
            f"quantize: layer {theirs[0]!r} is snntorch's {type(net.get_submodule(theirs[0])).__name__}; convert the network "
            f"first: qleaky.quantize(qleaky.from_snntorch(net), ...)."
        )
    if not any(isinstance(module, Leaky) for module in net.modules()):
        raise InputError(
            f"quantize: the network {type(net).__name__} holds no qleaky.Leaky, so there are no spikes to keep; convert a "
            f"network of snntorch with qleaky.from_snntorch, or build it with qleaky.Leaky."
        )


def by_layer(what: str, bits: Any, paths: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """Bits for every layer: the same for all, or those of a dict with ``default`` for the others.

    Raises:
        InputError: a dict that names no layer, or bits that make no sense.
    """
    chosen = dict(bits) if isinstance(bits, Mapping) else dict.fromkeys(paths, bits)
    if unknown := set(chosen) - set(paths):
        raise InputError(f"quantize: {what} names {sorted(unknown)}; the layers are {', '.join(map(repr, paths))}.")
    for value in chosen.values():
        _check_bits(what, value)
    return {path: chosen.get(path, default) for path in paths}


def _check_bits(what: str, bits: Any) -> None:
    if bits is None:
        return
    if what == "weight_bits":
        checked: WeightBits = bits
        codes_of(checked, "quantize")
    elif isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= MOST_STATE_BITS:
        raise InputError(f"quantize: state_bits={bits!r}; choose 2 to {MOST_STATE_BITS}.")


def neuron_at(net: nn.Module, path: str) -> Leaky:
    """A Leaky by the path of the graph; a network that is a lone Leaky is known by its class."""
    module = net if isinstance(net, Leaky) else net.get_submodule(path)
    assert isinstance(module, Leaky)
    return module

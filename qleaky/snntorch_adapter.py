"""A trained snntorch network with its ``Leaky`` layers swapped for ours. snntorch itself is never imported."""

from __future__ import annotations

import copy
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qleaky import surrogate
from qleaky.errors import InputError
from qleaky.neuron import Leaky
from qleaky.quantizers import Levels

_VERSION = "1.0.0"
_SURROGATES = (
    *("atan", "fast_sigmoid", "sigmoid", "straight_through_estimator", "triangular", "spike_rate_escape"),
    *("SFS", "SSO", "heaviside"),
)
_COMPUTED = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}
_NUMBERS = ("beta", "threshold", "graded_spikes_factor")
_REGISTERED = ("_parameters", "_buffers", "_modules")
_REPLACED = {"spike_grad", "state_quant", "state_function", "_reset_mechanism", "reset_delay", *_REGISTERED}


def from_snntorch(net: nn.Module) -> nn.Module:
    """A copy of a trained snntorch network in which every ``snntorch.Leaky`` is a :class:`~qleaky.Leaky`.

    Settings, weights, membranes, hooks, training mode and everything else are kept, and so are the outputs: in float32
    spikes, membranes and gradients equal those of snntorch 1.0.0 bit for bit. Surrogates and ``state_quant`` grids of
    snntorch become :mod:`qleaky.surrogate` and :class:`~qleaky.Levels`, so that the network can be pickled; other
    callables stay as they are. Membranes are copied without the graph they came from. ``net`` itself is not changed.

    Args:
        net: a network, or a single layer, with at least one ``snntorch.Leaky``.

    Raises:
        InputError: ``net`` holds no ``snntorch.Leaky``, or other snntorch neurons, subclasses, or layers that do not compute
            what they say (all are listed); a network that cannot be copied.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"from_snntorch: a {type(net).__name__} is no network; pass a torch.nn.Module.")
    parts = list(_reachable(net))
    neurons = {path: value for path, value in parts if _is_neuron(value)}
    if not neurons:
        raise InputError(
            f"from_snntorch: the network {type(net).__name__} holds no snntorch.Leaky, so there is nothing to convert. "
            f"Pass the network that was trained with snntorch."
        )
    shells = _shells(neurons)
    memo: dict[int, Any] = {
        id(part): part.detach().clone() for _, part in parts if isinstance(part, Tensor) and not part.is_leaf
    }
    memo.update((id(neurons[path]), shell) for path, shell in shells.items())
    return _copied(net, [(shell, neurons[path]) for path, shell in shells.items()], memo)


def _copied(net: nn.Module, pairs: list[tuple[Leaky, Any]], memo: dict[int, Any]) -> nn.Module:
    """The copy, in which ``memo`` puts the shells where the layers were."""
    try:
        for shell, layer in pairs:
            _fill(shell, layer, memo)
        converted = copy.deepcopy(net, memo)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"from_snntorch: the network cannot be copied: {error}. Delete the attribute that holds it, then convert."
        ) from error
    if any(_is_neuron(value) for value in memo.values()):
        raise InputError(
            "from_snntorch: an object that is no module, list, tuple, set or dict holds a snntorch neuron; make the neuron "
            "an attribute of the network."
        )
    return converted


def _reachable(value: Any, path: str = "", seen: dict[int, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Everything that attributes and containers lead to, each thing once, with its path."""
    seen = {} if seen is None else seen
    if id(value) in seen:
        return
    seen[id(value)] = value
    yield path, value
    for name, part in _parts(value):
        inner = path if name in _REGISTERED else f"{path}.{name}".lstrip(".")
        yield from _reachable(part, inner, seen)


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, nn.Module):
        return vars(value).items()
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple, set, frozenset, deque)) else ()


def _is_neuron(value: Any) -> bool:
    """Whether snntorch defines the module's class, or a class that it derives from."""
    return isinstance(value, nn.Module) and any(kind.__module__.startswith("snntorch._neurons") for kind in type(value).__mro__)


def _shells(neurons: dict[str, Any]) -> dict[str, Leaky]:
    """For each layer one of ours with its settings, still without its tensors.

    Raises:
        InputError: listing every layer that has no counterpart.
    """
    shells: dict[str, Leaky] = {}
    problems: dict[str, str] = {}
    for path, layer in neurons.items():
        if any(not refused or path.startswith(f"{refused}.") for refused in problems):
            continue
        try:
            _check(layer)
            shells[path] = _shell(layer)
        except InputError as error:
            problems[path] = str(error)
    if problems:
        lines = (f"\n  {repr(path) if path else 'the network itself'}: {problem}" for path, problem in problems.items())
        count = len(problems) + len(shells)
        raise InputError(f"from_snntorch: {len(problems)} of {count} neurons cannot be converted:{''.join(lines)}")
    return shells


def _check(layer: Any) -> None:
    """Refuse a layer that is not exactly ``snntorch.Leaky``, or whose settings and behaviour differ."""
    kind = type(layer)
    if (kind.__module__, kind.__qualname__) != ("snntorch._neurons.leaky", "Leaky"):
        raise InputError(
            f"{kind.__name__} has no counterpart here; only snntorch.Leaky itself is converted, no other neuron and no "
            f"subclass. Train the network with snntorch.Leaky in its place."
        )
    if changed := [name for name in vars(layer) if callable(getattr(kind, name, None))]:
        raise InputError(f"its {', '.join(changed)} was replaced on the instance; convert a layer with snntorch's own methods.")
    _check_reset(layer)
    graded = layer.graded_spikes_factor
    if layer.inhibition and (isinstance(graded, nn.Parameter) or bool((graded != 1).any())):
        raise InputError(
            f"inhibition=True with graded_spikes_factor={graded.tolist()}: snntorch ignores the factor there, qleaky applies "
            f"it. Set it to 1, not learned."
        )


def _check_reset(layer: Any) -> None:
    """Refuse a reset mechanism that was set or loaded after construction, which snntorch ignores."""
    computed = _COMPUTED.get(getattr(layer.state_function, "__name__", ""))
    if computed is None or layer.state_function.__self__ is not layer:
        raise InputError("its state_function was replaced; convert a layer with snntorch's own methods.")
    index = int(layer.reset_mechanism_val)
    stored = dict(enumerate(_COMPUTED.values())).get(index, index)
    if stored != computed:
        raise InputError(
            f"its reset_mechanism is {stored!r}, yet it computes {computed!r}: snntorch ignores a mechanism that is set or "
            f"loaded after construction. Set reset_mechanism={computed!r} to keep what it computes, or construct it with "
            f"{stored!r}."
        )


def _shell(layer: Any) -> Leaky:
    bypassed = layer.spike_grad is type(layer)._surrogate_bypass
    return Leaky(
        layer.beta,
        layer.threshold,
        None if bypassed else layer.spike_grad,
        surrogate_disable=bypassed,
        init_hidden=layer.init_hidden,
        inhibition=layer.inhibition,
        learn_beta=isinstance(layer.beta, nn.Parameter),
        learn_threshold=isinstance(layer.threshold, nn.Parameter),
        reset_mechanism=_COMPUTED[layer.state_function.__name__],
        state_quant=layer.state_quant or False,
        output=layer.output,
        graded_spikes_factor=layer.graded_spikes_factor,
        learn_graded_spikes_factor=isinstance(layer.graded_spikes_factor, nn.Parameter),
        reset_delay=layer.reset_delay,
    )


def _fill(shell: Leaky, layer: Any, memo: dict[int, Any]) -> None:
    """Copy tensors, hooks and the user's attributes; ties within the network stay ties."""
    if not shell.surrogate_disable:
        shell.spike_grad = _surrogate(layer.spike_grad, memo)
    if layer.state_quant:
        shell.state_quant = _quantizer(layer, memo)
    for name, tensor in (layer._parameters | layer._buffers).items():
        copied = copy.deepcopy(tensor, memo)
        if name in _NUMBERS and not copied.is_floating_point():
            copied = copied.to(torch.get_default_dtype())
        if name == "mem":
            shell.mem = copied
        else:
            (shell._parameters if name in layer._parameters else shell._buffers)[name] = copied
    for name, module in layer._modules.items():
        if name not in _REPLACED:
            shell.add_module(name, copy.deepcopy(module, memo))
    of_every_module = vars(nn.Module()).keys()
    for name, value in vars(layer).items():
        if name not in _REPLACED and (name in of_every_module or name not in vars(shell)):
            vars(shell)[name] = copy.deepcopy(value, memo)


def _surrogate(function: Any, memo: dict[int, Any]) -> Any:
    """The surrogate of ours with the same bits, where ``function`` is certainly snntorch's; else the function."""
    for name in _SURROGATES:
        numbers = _closed_over(function, "snntorch.surrogate", name)
        if numbers is not None and all(type(number) in (int, float) and math.isfinite(number) for number in numbers.values()):
            return getattr(surrogate, name)(**numbers)
    if custom := _closed_over(function, "snntorch.surrogate", "custom_surrogate"):
        return surrogate.custom_surrogate(_OwnGradient(copy.deepcopy(custom["func"], memo)))
    return copy.deepcopy(function, memo)


def _quantizer(layer: Any, memo: dict[int, Any]) -> Any:
    """The levels of a ``state_quant`` grid; else the function."""
    levels = (_closed_over(layer.state_quant, "snntorch.functional.quant", "state_quant") or {}).get("levels")
    if levels is not None and levels.dtype is torch.float32 and len(levels) > 1 and bool((levels.diff() >= 0).all()):
        return Levels(levels).train(layer.training)
    return copy.deepcopy(layer.state_quant, memo)


def _closed_over(function: Any, home: str, factory: str) -> dict[str, Any] | None:
    """What a function holds that a factory of snntorch 1.0.0 made; None for any other function."""
    if getattr(sys.modules.get("snntorch"), "__version__", None) != _VERSION:
        return None
    made = getattr(getattr(sys.modules.get(home), factory, None), "__code__", None)
    code = getattr(function, "__code__", None)
    if code is None or made is None or not any(code is constant for constant in made.co_consts):
        return None
    return {name: cell.cell_contents for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)}


@dataclass(frozen=True)
class _OwnGradient:
    """A custom surrogate's function, given a copy of the gradient as snntorch does, for it may write to it."""

    function: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return self.function(x, grad.clone(), spikes)

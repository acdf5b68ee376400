"""Copies of networks whose layers report their calls."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from brevitas.proxy.parameter_quant import WeightQuantProxyFromInjectorBase
from torch import Tensor, nn

from qleaky.errors import LoweringError
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint, Levels
from qleaky.tracing.tensors import version

_OPAQUE_PACKAGES = ("brevitas.", "snntorch.", "qleaky.quantizers.")


class Observer:
    """Told of every call of a leaf layer, and of the module in which forward is."""

    def __init__(self) -> None:
        self.depth = 0
        self.path: list[str] = []

    def wrap(self, path: str, module: nn.Module, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, reporting its outermost calls."""

        def observed(*args: Any, **kwargs: Any) -> Any:
            if self.depth:
                return function(*args, **kwargs)
            self.about_to_see(path, module, (args, kwargs))
            self.depth += 1
            try:
                with torch._C.DisableTorchFunction() if _is_plain(module) else contextlib.nullcontext():
                    result = function(*args, **kwargs)
                self.saw(path, module, method, (args, kwargs), result)
            finally:
                self.depth -= 1
            return result

        return observed

    def enter(self, path: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, with ``path`` noted as the module it runs in."""

        def observed(*args: Any, **kwargs: Any) -> Any:
            self.path.append(path)
            try:
                return function(*args, **kwargs)
            finally:
                self.path.pop()

        return observed

    def about_to_see(self, path: str, module: nn.Module, arguments: Any) -> None:
        """Called before each outermost call."""

    def saw(self, path: str, module: nn.Module, method: str, arguments: Any, result: Any) -> None:
        """Called after each outermost call with its layer, method, (args, kwargs) and result."""
        raise NotImplementedError


def recorded_copy(net: nn.Module, observer: Observer) -> nn.Module:
    """A copy of the network in eval mode, membranes empty, whose leaf layers report every call to ``observer``.

    Raises:
        LoweringError: the network cannot be copied.
    """
    try:
        network = copy.deepcopy(net, _detached(net)).eval()
    except Exception as error:
        raise LoweringError(
            f"The network cannot be copied, so it cannot be traced without touching it: {error}. Detach tensors that it "
            f"stores as attributes, or build it anew and load its state_dict."
        ) from error
    for module in network.modules():
        if "forward" not in vars(module):
            _remember_weights(module)
    for path, module in leaves(network):
        if isinstance(module, WeightQuantProxyFromInjectorBase):
            continue  # weights are constants
        if "forward" in vars(module):
            kind = type(module).__name__
            raise LoweringError(f"layer {path!r} has a forward of its own in place of that of {kind}; remove it.")
        if isinstance(module, Leaky):
            module.mem = torch.zeros(0, dtype=module.mem.dtype, device=module.mem.device)
            module.sequence = observer.wrap(path, module, "sequence", module.sequence)  # type: ignore[method-assign]
            module.reset_mem = observer.wrap(path, module, "reset_mem", module.reset_mem)  # type: ignore[method-assign]
        module.forward = observer.wrap(path, module, "forward", module.forward)
    for path, module in _branches(network):
        with contextlib.suppress(AttributeError, RuntimeError):  # script modules take no new forward
            module.forward = observer.enter(path, module.forward)
    return network


def _detached(net: nn.Module) -> dict[int, Any]:
    """Copies of the tensors that modules keep together with the graph they came from, such as pruned weights."""
    kept = (value for module in net.modules() for value in vars(module).values())
    return {id(value): value.detach().clone() for value in kept if isinstance(value, Tensor) and not value.is_leaf}


def _remember_weights(module: nn.Module) -> None:
    """Let a layer quantize the same weights once: it is asked for them in every step."""
    if isinstance(module, WeightQuantProxyFromInjectorBase):
        module.forward = _remembering(module.forward, ())
    elif isinstance(module, QuantWeightBiasInputOutputLayer) and hasattr(module, "quantized"):
        module.quantized = _remembering(module.quantized, (*module.parameters(), *module.buffers()))


def _remembering(function: Callable[..., Any], tensors: tuple[Tensor, ...]) -> Callable[..., Any]:
    """A function that depends on ``tensors`` and its arguments, computed once while those stay as they are."""
    last: list[Any] = [None, None, None]

    def remembered(*weights: Any) -> Any:
        with torch._C.DisableTorchFunction():
            plain = all(isinstance(weight, Tensor) for weight in weights)
            key = tuple((t.data_ptr(), t.shape, t.stride(), version(t)) for t in (*weights, *tensors)) if plain else None
        if key is None or last[0] != key:
            last[:] = [key, weights, function(*weights)]
        return last[2]

    return remembered


def leaves(network: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The leaf layers of a network and their paths (a lone leaf is called by its class); a leaf's inside belongs to it."""
    if is_leaf(network):
        yield name or type(network).__name__.lower(), network
        return
    for child_name, child in network.named_children():
        yield from leaves(child, f"{name}.{child_name}".lstrip("."))


def _branches(network: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that are no leaves, and their paths; what belongs to a weight quantizer is left out."""
    if is_leaf(network):
        return
    yield name, network
    for child_name, child in network.named_children():
        if not type(child).__module__.startswith("brevitas."):
            yield from _branches(child, f"{name}.{child_name}".lstrip("."))


def _is_plain(module: nn.Module) -> bool:
    """Whether a layer computes with plain tensors only, so that nobody need watch the inside of its many calls."""
    return isinstance(module, Leaky) and isinstance(module.state_quant or None, (FixedPoint, Levels, NoneType))


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is looked at as a whole: neurons, quantizers and layers of packages with tensor types of their own."""
    home = type(module).__module__ + "."
    return isinstance(module, Leaky) or home.startswith(_OPAQUE_PACKAGES)


def flat_tensors(result: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists and dicts, in order."""
    if isinstance(result, (tuple, list)):
        for item in result:
            yield from flat_tensors(item)
    elif isinstance(result, dict):
        yield from flat_tensors(list(result.values()))
    else:
        yield result

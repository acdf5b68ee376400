"""Copies of networks whose leaf layers report their calls."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from qleaky.errors import LoweringError
from qleaky.neuron import Leaky

_LEAF_PACKAGES = ("torch.nn.", "brevitas.", "snntorch.", "qleaky.layers", "qleaky.neuron", "qleaky.quantizers")
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Observer:
    """Told of every call of a leaf layer."""

    def __init__(self) -> None:
        self.depth = 0

    def wrap(self, path: str, module: nn.Module, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, reporting its outermost calls."""

        def observed(*args: Any, **kwargs: Any) -> Any:
            if self.depth:
                return function(*args, **kwargs)
            self.depth += 1
            self.about_to_see(path, module)
            try:
                result = function(*args, **kwargs)
                self.saw(path, module, method, (args, kwargs), result)
            finally:
                self.depth -= 1
            return result

        return observed

    def about_to_see(self, path: str, module: nn.Module) -> None:
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
        network = copy.deepcopy(net).eval()
    except (RuntimeError, TypeError) as error:
        raise LoweringError(
            f"The network cannot be copied, so it cannot be traced without touching it: {error}. Detach tensors that it "
            f"stores as attributes, or build it anew and load its state_dict."
        ) from error
    for path, module in leaves(network):
        if isinstance(module, Leaky):
            module.mem = torch.zeros(0, dtype=module.mem.dtype, device=module.mem.device)
            module.sequence = observer.wrap(path, module, "sequence", module.sequence)  # type: ignore[method-assign]
            module.reset_mem = observer.wrap(path, module, "reset_mem", module.reset_mem)  # type: ignore[method-assign]
        if "forward" in vars(module):
            kind = type(module).__name__
            raise LoweringError(f"layer {path!r} has a forward of its own in place of that of {kind}; remove it.")
        module.forward = observer.wrap(path, module, "forward", module.forward)
    return network


def leaves(network: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The leaf layers of a network and their paths (a lone leaf is called by its class); a leaf's inside belongs to it."""
    if is_leaf(network):
        yield name or type(network).__name__.lower(), network
        return
    for child_name, child in network.named_children():
        yield from leaves(child, f"{name}.{child_name}".lstrip("."))


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is a layer that lowering knows or refuses as a whole, rather than the user's own code."""
    home = type(module).__module__ + "."
    return isinstance(module, Leaky) or (home.startswith(_LEAF_PACKAGES) and not isinstance(module, _CONTAINERS))


def flat_tensors(result: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists and dicts, in order."""
    if isinstance(result, (tuple, list)):
        for item in result:
            yield from flat_tensors(item)
    elif isinstance(result, dict):
        yield from flat_tensors(list(result.values()))
    else:
        yield result

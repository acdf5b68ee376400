"""Where the first number that is not finite comes from: weights, a layer's output, or a gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.errors import FormatError
from qleaky.neuron import Leaky


def find_nonfinite(net: nn.Module, loss_of: Callable[[], Tensor]) -> str | None:
    """The first of a network's weights, layers' inputs and outputs, and gradients that holds NaN or infinity, in words.

    None where all is finite. Weights are looked at first, then layers in the order of their calls, then gradients from the
    last layer to the first.

    Args:
        net: the network.
        loss_of: calls it and returns the loss; called once, in the network's current mode. Its gradients replace those there.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> find_nonfinite(net, lambda: net(torch.tensor([[1.0, float("inf")]])).sum())
    "the input of layer '0' (Linear) holds inf"
    """
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if bad := _bad(tensor):
            return f"{name!r} holds {bad} already before this step"
    if found := _in_forward(net, loss_of):
        return found
    for name, parameter in reversed(list(net.named_parameters())):
        if bad := _bad(parameter.grad):
            return f"the gradient of {name!r} holds {bad}, while the output of every layer is finite"
    return None


def _in_forward(net: nn.Module, loss_of: Callable[[], Tensor]) -> str | None:
    seen: list[str] = []
    with _watched(net, seen):
        try:
            loss = loss_of()
        except FormatError as error:  # what a state quantizer makes of NaN
            return seen[0] if seen else str(error)
    if seen:
        return seen[0]
    if bad := _bad(loss):
        return f"the loss is {bad}, while the output of every layer is finite"
    net.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return None


@contextlib.contextmanager
def _watched(net: nn.Module, seen: list[str]) -> Iterator[None]:
    """Let every leaf layer note the bad tensors that come in and go out."""
    with contextlib.ExitStack() as undo:
        for path, module in net.named_modules():
            if isinstance(module, Leaky):  # hooks see no call of sequence
                undo.enter_context(_noting(module, path, "sequence", seen))
            if isinstance(module, Leaky) or not any(True for _ in module.children()):
                undo.enter_context(_noting(module, path, "forward", seen))
        yield


@contextlib.contextmanager
def _noting(module: nn.Module, path: str, method: str, seen: list[str]) -> Iterator[None]:
    function, own = getattr(module, method), method in vars(module)
    name = f"layer {path!r} ({type(module).__name__})"

    def noting(*args: Any, **kwargs: Any) -> Any:
        seen.extend(f"the input of {name} holds {bad}" for value in args if (bad := _bad(value)))
        result = function(*args, **kwargs)
        values = result if isinstance(result, tuple) else (result,)
        seen.extend(f"the output of {name} holds {bad}" for value in values if (bad := _bad(value)))
        return result

    setattr(module, method, noting)
    try:
        yield
    finally:
        if own:
            setattr(module, method, function)
        else:
            delattr(module, method)


def _bad(value: Any) -> str | None:
    """What a tensor holds that is no number: "NaN", "inf" or None."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or bool(torch.isfinite(value).all()):
        return None
    return "NaN" if bool(value.isnan().any()) else "inf"

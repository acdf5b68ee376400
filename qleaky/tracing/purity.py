"""What a forward must not do: change the network, or keep something between calls that the step graph does not show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.neuron import Leaky
from qleaky.tracing.observer import is_leaf

_PLAIN = (bool, int, float, str, type(None))


def changes(net: nn.Module, network: nn.Module) -> Iterator[str]:
    """What differs between the user's network and the copy after its forward ran, in words."""
    tensors = dict(_tensors(net))
    for name, tensor in _tensors(network):
        if name not in tensors or not _equal(tensor, tensors[name]):
            yield f"forward changes {name}; a network to export only reads its parameters and buffers."
    plain = dict(_plain_attributes(net))
    for name, value in _plain_attributes(network):
        if name not in plain or plain[name] != value:
            yield f"forward changes {name}; a network to export must not depend on how often it ran."
    for name, module in network.named_modules():
        if module.training:
            yield f"layer {name!r} is in training mode although the network was set to eval(); see its train() and forward."


def kept(net: nn.Module, network: nn.Module) -> Iterator[str]:
    """Attributes in which forward stored tensors: what it reads from them in a later call, no graph shows."""
    before = dict(_stored_tensors(net))
    for name, tensor in _stored_tensors(network):
        if name not in before or not _equal(tensor, before[name]):
            yield name


def _stored_tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in net.named_modules():
        if not is_leaf(module):
            found = ((name, value) for name, value in vars(module).items() if isinstance(value, Tensor))
            yield from ((f"{path}.{name}".lstrip("."), value) for name, value in found)


def _tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters, and the buffers of the user's own modules and of the neurons."""
    yield from net.named_parameters()
    for path, module in net.named_modules():
        if isinstance(module, Leaky) or not is_leaf(module):
            for name, buffer in module.named_buffers(recurse=False):
                yield f"{path}.{name}".lstrip("."), buffer


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(torch.isclose(a, b, 0, 0, equal_nan=True).all())


def _plain_attributes(net: nn.Module) -> Iterator[tuple[str, Any]]:
    """Numbers, words and flags that the user's own modules and the neurons keep."""
    for path, module in net.named_modules():
        if is_leaf(module) and not isinstance(module, Leaky):
            continue
        for name, value in vars(module).items():
            if name != "training" and isinstance(value, _PLAIN):
                yield f"{path}.{name}".lstrip("."), value

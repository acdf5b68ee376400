"""How many synapses hang on each element of a layer's input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import Conv, FloatConv, FloatLinear, Linear

Weighted = Linear | Conv | FloatLinear | FloatConv


def count_fan_out(layer: Weighted, mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """How many synapses of ``mask`` (the shape of the weights) each element of an input of ``shape`` has.

    Padding is no input: a tap of a convolution counts where it meets an element.
    """
    if isinstance(layer, Linear | FloatLinear):
        return np.broadcast_to(mask.sum(axis=0), shape)
    out, per_group, *kernel = mask.shape
    taps = mask.reshape(layer.groups, out // layer.groups, per_group, *kernel).sum(axis=1).reshape(shape[0], *kernel)
    axes = list(zip(shape[1:], *layer.window, strict=True))
    padded = np.zeros((shape[0], *(size + before + after for size, _, _, (before, after), _ in axes)), np.int64)
    for tap in np.ndindex(*kernel):
        padded[(slice(None), *(_met(axis, k) for axis, k in zip(axes, tap, strict=True)))] += taps[
            (slice(None), *tap, *(None for _ in kernel))
        ]
    return padded[(slice(None), *(slice(before, before + size) for size, _, _, (before, _), _ in axes))]


def _met(axis: tuple[Any, ...], tap: int) -> slice:
    """The padded positions that one tap of a kernel meets along one axis."""
    size, kernel, stride, (before, after), dilation = axis
    outputs = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    return slice(tap * dilation, tap * dilation + (outputs - 1) * stride + 1, stride)

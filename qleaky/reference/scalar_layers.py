"""Layers without a state on one sample, in scalar Python integers held by object arrays: sums and loops, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer.layers import Add, Affine, AveragePool, Concat, Conv, Linear, MaxPool, Reshape, Signal, Transpose
from qleaky.integer.windows import Window

Integers = NDArray[Any]
Stateless = Linear | Conv | Affine | AveragePool | MaxPool | Reshape | Transpose | Add | Concat


def integers(values: Any) -> Integers:
    """Any array or nested list as Python integers."""
    array = np.asarray(values)
    held = np.empty(array.shape, object)
    for place in np.ndindex(array.shape):
        held[place] = int(array[place])
    return held


def evaluate(layer: Stateless, sources: list[Integers], signals: list[Signal], shape: tuple[int, ...]) -> Integers:
    """What a layer computes from what feeds it: ``signals`` tell the grids of ``sources``, ``shape`` is that of the result."""
    x = sources[0]
    match layer:
        case Reshape():
            return x.reshape(layer.shape)
        case Transpose():
            return x.transpose(layer.axes)
        case Concat():
            aligned = [source * (1 << shift) for source, shift in zip(sources, layer.shifts(*signals), strict=True)]
            return np.concatenate(aligned, layer.axis)
    result = np.empty(shape, object)
    scale, bias = (_elements(codes, shape) for codes in _codes(layer))
    for place in np.ndindex(shape):
        match layer:
            case Linear():
                row = zip(layer.weight[place[-1]].tolist(), x[place[:-1]].tolist(), strict=True)
                result[place] = sum(w * value for w, value in row) + (0 if layer.bias is None else int(layer.bias[place[-1]]))
            case Conv():
                result[place] = _correlated(layer, x, place)
            case AveragePool():
                result[place] = sum(x[place[0], *at] for _, at in _window(layer.window, x.shape[1:], place[1:]))
            case MaxPool():
                result[place] = max(x[place[0], *at] for _, at in _window(layer.window, x.shape[1:], place[1:]))
            case Affine():
                factor = 1 << layer.scale_frac_bits if scale is None else scale[place]
                result[place] = factor * x[place] + (0 if bias is None else bias[place])
            case Add():
                terms = zip(layer.signs, sources, layer.shifts(*signals), strict=True)
                result[place] = sum(sign * (np.broadcast_to(source, shape)[place] << shift) for sign, source, shift in terms)
    return result


def _correlated(layer: Conv, x: Integers, place: tuple[int, ...]) -> int:
    """One output of a convolution: sum over the input channels of its group and the taps of its window."""
    out, per_group = layer.weight.shape[:2]
    first = place[0] // (out // layer.groups) * per_group
    total = 0 if layer.bias is None else int(layer.bias[place[0]])
    for tap, at in _window(layer.window, x.shape[1:], place[1:]):
        total += sum(int(layer.weight[place[0], c, *tap]) * x[first + c, *at] for c in range(per_group))
    return total


def _window(
    window: Window, sizes: tuple[int, ...], place: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(tap, position in the input) of the taps of one window that lie inside the input; the others meet padding."""
    for tap in product(*(range(k) for k in window.kernel)):
        geometry = zip(place, tap, window.stride, window.pads, window.dilation, strict=True)
        at = tuple(p * stride - pads[0] + t * dilation for p, t, stride, pads, dilation in geometry)
        if all(0 <= position < size for position, size in zip(at, sizes, strict=True)):
            yield tap, at


def _codes(layer: Stateless) -> tuple[Any, Any]:
    return (layer.scale, layer.bias) if isinstance(layer, Affine) else (None, None)


def _elements(codes: Any, shape: tuple[int, ...]) -> Integers | None:
    return None if codes is None else np.broadcast_to(integers(codes), shape)

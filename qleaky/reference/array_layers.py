"""Layers without a state on a batch of samples: prepared once, then int64 in, int64 out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qleaky.integer.layers import Add, Affine, AveragePool, Concat, Conv, Linear, MaxPool, Reshape, Signal, Transpose
from qleaky.integer.proof import FLOAT32_EXACT, FLOAT64_EXACT
from qleaky.integer.windows import Window
from qleaky.reference.scalar_layers import Stateless

Int64 = NDArray[np.int64]
Map = Callable[..., Int64]
LOWEST = np.iinfo(np.int64).min


def prepare(layer: Stateless, signals: Sequence[Signal], accumulate: int) -> Map:
    """The function of a layer: arrays (B, ...) of its inputs -> array (B, ...).

    ``signals`` are those of its inputs, ``accumulate`` bounds every partial sum of a matrix product.
    """
    match layer:
        case Linear():
            return _linear(layer, accumulate)
        case Conv():
            return _conv(layer, accumulate)
        case Affine():
            return _affine(layer)
        case AveragePool():
            return lambda x: _pooled(np.add, windows(x, layer.window, 0), layer.window)
        case MaxPool():
            return lambda x: _pooled(np.maximum, windows(x, layer.window, LOWEST), layer.window)
        case Reshape():
            return lambda x: x.reshape(len(x), *layer.shape)
        case Transpose():
            axes = (0, *(axis + 1 for axis in layer.axes))
            return lambda x: x.transpose(axes)
        case Add():
            return _add(layer, signals)
        case Concat():
            shifts, axis = layer.shifts(*signals), layer.axis + 1 if layer.axis >= 0 else layer.axis
            return lambda *xs: np.concatenate([x << shift for x, shift in zip(xs, shifts, strict=True)], axis)


def carrier(accumulate: int) -> Any:
    """The fastest type in which a matrix product is exact: float (BLAS) while every partial sum is one of its integers."""
    return np.float32 if accumulate <= FLOAT32_EXACT else np.float64 if accumulate < FLOAT64_EXACT else np.int64


def windows(x: NDArray[Any], window: Window, fill: int) -> NDArray[Any]:
    """Sliding windows of x (B, C, *sizes), padded with ``fill``: (B, C, *out, *kernel), a view."""
    if any(p for pair in window.pads for p in pair):
        x = np.pad(x, ((0, 0), (0, 0), *window.pads), constant_values=fill)
    spans = tuple(dilation * (k - 1) + 1 for k, dilation in zip(window.kernel, window.dilation, strict=True))
    views = sliding_window_view(x, spans, axis=tuple(range(2, x.ndim)))
    steps = (slice(None, None, step) for step in (*window.stride, *window.dilation))
    return views[:, :, *steps]


def _pooled(pool: np.ufunc, taken: Int64, window: Window) -> Int64:
    """Windows brought to one number each; element after element of the kernel, as NumPy is slow over short axes."""
    elements = (taken[..., *place] for place in np.ndindex(*window.kernel))
    return np.asarray(functools.reduce(pool, elements), np.int64)


def _linear(layer: Linear, accumulate: int) -> Map:
    kind = carrier(accumulate)
    weight = np.ascontiguousarray(layer.weight.T.astype(kind))
    bias = None if layer.bias is None else layer.bias.astype(np.int64)

    def evaluate(x: Int64) -> Int64:
        product: Int64 = (x.astype(kind) @ weight).astype(np.int64)
        return product if bias is None else product + bias

    return evaluate


def _conv(layer: Conv, accumulate: int) -> Map:
    """Windows as rows, times the weights of each group as a matrix."""
    kind, groups, window = carrier(accumulate), layer.groups, layer.window
    out, axes = layer.weight.shape[0], len(window.kernel)
    weight = layer.weight.reshape(groups, out // groups, -1).transpose(0, 2, 1).astype(kind)
    bias = None if layer.bias is None else layer.bias.astype(np.int64).reshape(out, *(1,) * axes)

    def evaluate(x: Int64) -> Int64:
        taken = windows(x.astype(kind), window, 0)
        batch, sizes = len(x), taken.shape[2 : 2 + axes]
        split = taken.reshape(batch, groups, -1, *taken.shape[2:])
        rows = np.moveaxis(split, 2, 2 + axes).reshape(batch, groups, -1, weight.shape[1])
        product: Int64 = (rows @ weight).astype(np.int64).swapaxes(2, 3).reshape(batch, out, *sizes)
        return product if bias is None else product + bias

    return evaluate


def _affine(layer: Affine) -> Map:
    scale = np.int64(1 << layer.scale_frac_bits) if layer.scale is None else layer.scale.astype(np.int64)
    bias = np.int64(0) if layer.bias is None else layer.bias.astype(np.int64)
    return lambda x: x * scale + bias


def _add(layer: Add, signals: Sequence[Signal]) -> Map:
    rank = max(len(s.shape) for s in signals)
    fills = [(1,) * (rank - len(s.shape)) for s in signals]
    terms = list(zip(layer.signs, layer.shifts(*signals), signals, fills, strict=True))

    def evaluate(*xs: Int64) -> Int64:
        total: Any = 0
        for x, (sign, shift, signal, fill) in zip(xs, terms, strict=True):
            total = total + sign * (x.reshape(len(x), *fill, *signal.shape) << shift)
        return np.asarray(total, np.int64)

    return evaluate

"""Layers without weights on integers: pools, affine maps, sums, joins and changes of shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from qleaky.export.graph import Graph
from qleaky.export.products import window_attributes
from qleaky.export.taps import taps
from qleaky.export.wires import Wire, holds, integers, smallest_type
from qleaky.integer import Add, Affine, AveragePool, Concat, MaxPool, Reshape, Transpose
from qleaky.integer.layers import Signal
from qleaky.integer.signals import as_integers, shifted


def reshape(graph: Graph, layer: Reshape, x: Wire, out: Signal) -> Wire:
    """Another shape of the same integers."""
    return _moved(graph, x, out, lambda value: graph.reshaped(value, -1, *layer.shape))


def transpose(graph: Graph, layer: Transpose, x: Wire, out: Signal) -> Wire:
    """Another order of the axes."""
    return _moved(graph, x, out, lambda value: graph.op("Transpose", value, perm=[0, *(axis + 1 for axis in layer.axes)]))


def _moved(graph: Graph, x: Wire, out: Signal, move: Callable[[str], str]) -> Wire:
    """The elements in other places; what is pending stays so if it is one number for all."""
    if x.offset is not None:
        return replace(x, name=move(x.name), signal=out)
    dtype = _kept(x)
    return Wire(move(integers(graph, x, dtype)), dtype, out)


def max_pool(graph: Graph, layer: MaxPool, x: Wire, out: Signal) -> Wire:
    """The largest of each window, in 8-bit integers or in a float type that holds them."""
    dtype = smallest_type(out.low, out.high)
    if dtype.itemsize > 1:
        dtype = next((np.dtype(t) for t in (np.float32, np.float64) if holds(t, out.low, out.high)), np.dtype(np.int64))
    value = integers(graph, x, dtype)
    if dtype == np.int64 or pads_widely(layer):
        pieces = taps(graph, value, dtype, layer.window, x.signal.shape, out.shape[1:], out.low)
        return Wire(graph.op("Max", *pieces), dtype, out)
    return Wire(graph.op("MaxPool", value, **window_attributes(layer.window)), dtype, out)


def sum_pool(graph: Graph, layer: AveragePool, x: Wire, out: Signal, *, few: bool) -> Wire:
    """The sum over each window: float32 averages times a power of two, a convolution with ones, or by taps.

    For ``few`` samples the convolution is twice as fast where channels do not fill blocks of 16 (ONNX Runtime 1.32).
    """
    taps_in = math.prod(layer.kernel)
    reach = x.signal.magnitude * taps_in
    if not holds(np.float32, -reach, reach):
        dtype = np.dtype(np.int32 if holds(np.int32, -reach, reach) else np.int64)
        pieces = taps(graph, integers(graph, x, dtype), dtype, layer.window, x.signal.shape, out.shape[1:], 0)
        total = pieces[0]
        for piece in pieces[1:]:
            total = graph.op("Add", total, piece)
        return Wire(total, dtype, out)
    value, settings = integers(graph, x, np.float32), window_attributes(layer.window)
    if taps_in.bit_count() == 1 and not pads_widely(layer) and not (few and x.signal.shape[0] % 16):
        mean = graph.op("AveragePool", value, **settings, count_include_pad=1)
        return Wire(mean, np.dtype(np.float32), out, exponent=taps_in.bit_length() - 1)
    ones = graph.constant(np.ones((x.signal.shape[0], 1, *layer.kernel)), np.float32)
    return Wire(graph.op("Conv", value, ones, group=x.signal.shape[0], **settings), np.dtype(np.float32), out)


def pads_widely(layer: AveragePool | MaxPool) -> bool:
    """ONNX Runtime's pools refuse padding that is not smaller than the kernel."""
    return any(max(pair) >= size for pair, size in zip(layer.pads, layer.kernel, strict=True))


def affine(graph: Graph, layer: Affine, x: Wire, out: Signal, floats: bool) -> Wire:
    """scale * x + bias."""
    scale = shifted(np.array(1), layer.scale_frac_bits) if layer.scale is None else as_integers(layer.scale)
    bias = None if layer.bias is None or not layer.bias.any() else as_integers(layer.bias)
    product = int(np.abs(scale).max()) * x.signal.magnitude
    low, high = min(out.low, -product), max(out.high, product)
    dtype = sum_type(low, high, floats)
    value = integers(graph, x, dtype)
    if np.any(scale != 1):
        value = graph.op("Mul", value, graph.constant(scale, dtype))
    return Wire(value, dtype, out, bias)


def add(graph: Graph, layer: Add, xs: list[Wire], out: Signal, floats: bool) -> Wire:
    """The signed sum on the finest grid."""
    shifts = layer.shifts(*(x.signal for x in xs))
    reach = sum(x.signal.magnitude << shift for x, shift in zip(xs, shifts, strict=True))
    dtype = sum_type(-reach, reach, floats)
    total = None
    for sign, shift, x in zip(layer.signs, shifts, xs, strict=True):
        term = _aligned(graph, x, dtype, shift, len(out.shape))
        if total is None:
            total = term if sign > 0 else graph.op("Neg", term)
        else:
            total = graph.op("Add" if sign > 0 else "Sub", total, term)
    assert total is not None
    return Wire(total, dtype, out)


def concat(graph: Graph, layer: Concat, xs: list[Wire], out: Signal) -> Wire:
    """One behind the other on the finest grid."""
    shifts = layer.shifts(*(x.signal for x in xs))
    if all(x.dtype == xs[0].dtype and x.pending is None and not x.exponent for x in xs) and not any(shifts):
        dtype = xs[0].dtype
    else:
        dtype = smallest_type(out.low, out.high)
        dtype = dtype if not any(shifts) or dtype.itemsize >= 4 else np.dtype(np.int32)
    pieces = [_aligned(graph, x, dtype, shift, len(out.shape)) for x, shift in zip(xs, shifts, strict=True)]
    axis = layer.axis + 1 if layer.axis >= 0 else layer.axis
    return Wire(graph.op("Concat", *pieces, axis=axis), dtype, out)


def sum_type(low: int, high: int, floats: bool) -> np.dtype[Any]:
    """The type to add in."""
    if floats and holds(np.float32, low, high):
        return np.dtype(np.float32)
    return np.dtype(np.int32 if holds(np.int32, low, high) else np.int64)


def _aligned(graph: Graph, x: Wire, dtype: Any, shift: int, rank: int) -> str:
    value = integers(graph, x, dtype)
    if shift:
        value = graph.op("Mul", value, graph.constant(1 << shift, dtype))
    if len(x.signal.shape) < rank:
        value = graph.reshaped(value, -1, *(1 for _ in range(rank - len(x.signal.shape))), *x.signal.shape)
    return value


def _kept(x: Wire) -> np.dtype[Any]:
    """The type for a wire's integers once nothing is pending."""
    if x.dtype.kind == "f" and holds(x.dtype, x.signal.low, x.signal.high):
        return x.dtype
    return np.dtype(np.int32 if holds(np.int32, x.signal.low, x.signal.high) else np.int64)

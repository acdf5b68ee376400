"""Linear and convolutional layers on integers: each in the fastest operator that is exact for its numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.export.cells import Cell
from qleaky.export.graph import Graph
from qleaky.export.taps import taps
from qleaky.export.wires import Wire, holds, integers, stored_range
from qleaky.integer import Conv, Linear
from qleaky.integer.layers import Signal
from qleaky.integer.signals import IntArray, absolute_sums, as_integers
from qleaky.integer.windows import Window

FLOAT32 = np.dtype(np.float32)


class Product:
    """The numbers of one layer, computed once; ``reach`` bounds every partial sum, in any order."""

    def __init__(self, layer: Linear | Conv, output: Signal, reach: int) -> None:
        self.layer, self.output, self.reach = layer, output, reach
        self.sums = absolute_sums(layer.weight)
        self.matrix = np.ascontiguousarray(layer.weight.T) if isinstance(layer, Linear) else layer.weight
        self.narrow, self.factors = _byte_codes(layer, self.matrix)
        self.bias = None if layer.bias is None or not layer.bias.any() else as_integers(layer.bias)
        self._folded: dict[int, IntArray | None] = {}
        self._scaled: dict[tuple[int, int, int], NDArray[np.float64] | None] = {}

    @property
    def float32_exact(self) -> bool:
        """Every partial sum, in any order, and every weight is an integer that float32 holds."""
        return self.reach <= 1 << 24 and holds(np.float32, int(self.matrix.min()), int(self.matrix.max()))

    @property
    def integer_type(self) -> np.dtype[Any]:
        """int32 where all sums fit."""
        fits = self.reach < 1 << 31 and holds(np.int32, int(self.matrix.min()), int(self.matrix.max()))
        return np.dtype(np.int32 if fits else np.int64)

    def folded(self, offset: int) -> IntArray | None:
        """The bias, and what an offset of all inputs adds to every output."""
        if offset not in self._folded:
            bias = np.zeros(1, np.int64) if self.bias is None else self.bias
            columns = tuple(range(1, self.layer.weight.ndim))
            total = bias + offset * as_integers(self.layer.weight.astype(np.int64).sum(axis=columns)) if offset else bias
            self._folded[offset] = as_integers(total) if np.any(total) else None
        return self._folded[offset]

    def bias_in(self, shift: int, unit: int, add: int) -> NDArray[np.float64] | None:
        """bias * 2**-shift + add * 2**-unit of every output channel, always the same array."""
        key = shift, unit, add
        if key not in self._scaled:
            bias = np.zeros(self.layer.weight.shape[0], np.int64) if self.bias is None else self.bias
            total = np.ldexp(bias.astype(np.float64), -shift) + np.ldexp(float(add), -unit)
            self._scaled[key] = total if total.any() else None
        return self._scaled[key]

    def bytes_of(self, graph: Graph, x: Wire) -> tuple[list[str], int] | None:
        """x as uint8 operands of at most 128, whose sum lacks ``offset`` to x; None where weights, x or sums need more.

        u8 above 128 times i8 is wrong in ONNX Runtime on AVX2 machines without VNNI, and i8 times i8 is 12 times slower (1.32).
        """
        if self.narrow is None or int(self.sums.max()) * 255 >= 1 << 31:
            return None
        low, high = stored_range(x)
        if x.offset is None or x.exponent or high - low > 255:
            low, high = x.signal.low, x.signal.high
            if high - low > 255:
                return None
            dtype = np.dtype(np.int32 if holds(np.int32, low, high) else np.int64)
            x = Wire(integers(graph, x, dtype), dtype, x.signal)
        value, moved = _as_bytes(graph, x, low, high)
        offset = (x.offset or 0) + moved
        if high - moved <= 128:
            return [value], offset
        most = graph.op("Min", value, graph.constant(128, np.uint8))
        return [most, graph.op("Sub", value, most)], offset


def _byte_codes(layer: Linear | Conv, matrix: IntArray) -> tuple[IntArray | None, IntArray | None]:
    """Weights as int8 codes, and what to multiply each output with where only that makes them fit; None where nothing does.

    Channels whose grids are far apart have codes of up to 16 bits on the grid that they share, of which each needs 8 at most.
    """
    if holds(np.int8, int(matrix.min()), int(matrix.max())):
        return matrix, None
    if isinstance(layer, Conv):
        return None, None
    union = np.bitwise_or.reduce(matrix.astype(np.int64), axis=0)
    factors = np.where(union == 0, 1, union & -union)
    narrow = matrix // factors
    return (narrow, factors) if holds(np.int8, int(narrow.min()), int(narrow.max())) else (None, None)


def _as_bytes(graph: Graph, x: Wire, low: int, high: int) -> tuple[str, int]:
    """Integers from ``low`` to ``high`` minus what makes them uint8, and that."""
    if low >= 0 and high <= 255:
        return x.name if x.dtype == np.uint8 else graph.cast(x.name, np.uint8), 0
    if x.dtype == np.int8 and high - low > 128:
        return graph.op("BitwiseXor", graph.cast(x.name, np.uint8), graph.constant(128, np.uint8)), -128
    room = x.dtype if x.dtype == np.int8 and high - low <= 127 else np.dtype(np.int32)
    value = x.name if x.dtype == room else graph.cast(x.name, room)
    return graph.cast(graph.op("Sub", value, graph.constant(low, room)), np.uint8), low


def linear(graph: Graph, product: Product, x: Wire, carrier: str) -> Wire:
    """W x + b: MatMulInteger on bytes; else MatMul on float32 where that is exact and wanted, or on int32 or int64.

    MatMulInteger is the fastest by far, also where everything else is carried in float32; only the "float" carrier, which is
    for runtimes that may lack it, does without.
    """
    layer = product.layer
    in_floats = carrier != "integer" and product.float32_exact
    operand = None if in_floats and (carrier == "float" or x.dtype.kind == "f") else product.bytes_of(graph, x)
    if operand is not None:
        assert product.narrow is not None
        weight = graph.weight(product.narrow, np.int8, f"{layer.name}.weight")
        parts = [graph.op("MatMulInteger", part, weight) for part in operand[0]]
        value = parts[0] if len(parts) == 1 else graph.op("Add", *parts)
        if product.factors is not None:
            value = graph.op("Mul", value, graph.constant(product.factors, np.int32))
        return Wire(value, np.dtype(np.int32), product.output, product.folded(operand[1]))
    if in_floats:
        x = x if x.pending is None and x.dtype == FLOAT32 else Wire(integers(graph, x, FLOAT32), FLOAT32, x.signal)
        weight = graph.scaled_weight(product.matrix, x.exponent, f"{layer.name}.weight")
        return Wire(graph.op("MatMul", x.name, weight), FLOAT32, product.output, product.folded(0))
    dtype = product.integer_type
    value = graph.op("MatMul", integers(graph, x, dtype), graph.weight(product.matrix, dtype, f"{layer.name}.weight"))
    return Wire(value, dtype, product.output, product.folded(0))


def conv(graph: Graph, product: Product, x: Wire, cell: Cell | None = None) -> Wire:
    """A convolution: Conv on float32 where that is exact, 4 to 5 times faster than ConvInteger, which is next; else by taps.

    With a ``cell``, its only reader, it gives the current as that layer's step takes it: all constants are in its bias.
    """
    layer = product.layer
    assert isinstance(layer, Conv)
    settings: dict[str, Any] = window_attributes(layer.window) | {"group": layer.groups}
    if product.float32_exact:
        return _float_conv(graph, product, x, cell, settings)
    column = product.folded(0)
    column = None if column is None else column.reshape(-1, *(1 for _ in layer.window.kernel))
    operand = product.bytes_of(graph, x) if x.offset == 0 and x.signal.low >= 0 else None
    if operand is not None and operand[1] == 0:
        weight = graph.weight(product.matrix, np.int8, f"{layer.name}.weight")
        parts = [graph.op("ConvInteger", part, weight, **settings) for part in operand[0]]
        value = parts[0] if len(parts) == 1 else graph.op("Add", *parts)
        return Wire(value, np.dtype(np.int32), product.output, column)
    return Wire(_tapped(graph, product, x), product.integer_type, product.output, column)


def _float_conv(graph: Graph, product: Product, x: Wire, cell: Cell | None, settings: dict[str, Any]) -> Wire:
    name = f"{product.layer.name}.weight"
    x = x if x.pending is None and x.dtype == FLOAT32 else Wire(integers(graph, x, FLOAT32), FLOAT32, x.signal)
    cell = cell if cell is not None and cell.fuses(product.reach) else None
    weight = graph.scaled_weight(product.matrix, x.exponent - (0 if cell is None else cell.shift), name)
    bias = product.bias_in(0, 0, 0) if cell is None else product.bias_in(cell.shift, cell.unit, cell.half)
    inputs = [x.name, weight, *([] if bias is None else [graph.constant(bias, FLOAT32)])]
    return Wire(graph.op("Conv", *inputs, **settings), FLOAT32, product.output, charged=cell is not None)


def _tapped(graph: Graph, product: Product, x: Wire) -> str:
    """The sum over kernel positions and input channels of a group, in int32 or int64: exact, and slow."""
    layer, dtype = product.layer, product.integer_type
    assert isinstance(layer, Conv)
    out, per_group = layer.weight.shape[:2]
    spatial = product.output.shape[1:]
    pieces = taps(graph, integers(graph, x, dtype), dtype, layer.window, x.signal.shape, spatial, 0)
    weight = layer.weight.reshape(layer.groups, out // layer.groups, per_group, -1)
    total = None
    for place, piece in enumerate(pieces):
        grouped = graph.reshaped(piece, 0, layer.groups, per_group, math.prod(spatial))
        rows = np.ascontiguousarray(weight[..., place])
        term = graph.op("MatMul", graph.constant(rows, dtype), grouped)
        total = term if total is None else graph.op("Add", total, term)
    assert total is not None
    return graph.reshaped(total, 0, out, *spatial)


def window_attributes(window: Window) -> dict[str, Any]:
    """A window as the attributes of ONNX's operators."""
    befores, afters = zip(*window.pads, strict=True)
    return {
        "kernel_shape": list(window.kernel),
        "strides": list(window.stride),
        "dilations": list(window.dilation),
        "pads": [*befores, *afters],
    }

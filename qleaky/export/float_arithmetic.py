"""What the graph forms ask of a FloatNetwork's layers: float32 in torch's order of operations; measured, never proved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qleaky.errors import LoweringError
from qleaky.export.float_cells import FLOAT32, FloatCell
from qleaky.export.graph import Graph
from qleaky.export.products import window_attributes
from qleaky.export.shaping_ops import pads_widely
from qleaky.export.taps import taps
from qleaky.export.wires import Wire
from qleaky.integer import (
    Add,
    AveragePool,
    Concat,
    Delay,
    FloatAffine,
    FloatConv,
    FloatInput,
    FloatLIF,
    FloatLinear,
    FloatNetwork,
    MaxPool,
    Reshape,
    Transpose,
)
from qleaky.integer.layers import Signal


class FloatArithmetic:
    """The layers of one float network in one graph."""

    def __init__(self, graph: Graph, network: FloatNetwork) -> None:
        self.graph, self.network, self.portable = graph, network, True
        self._cells: dict[str, FloatCell] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a sample of what a layer emits."""
        return self.network.shapes[name]

    def input_type(self, source: FloatInput) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    def source(self, source: FloatInput, value: str) -> Wire:
        """An input's values."""
        return self._wire(source.name, value)

    def _wire(self, name: str, value: str) -> Wire:
        return Wire(value, FLOAT32, Signal(self.shape(name), 0, np.array(0), np.array(0)))

    def apply(self, graph: Graph, layer: Any, xs: list[Wire]) -> Wire:
        """A layer without state on (N, ...) tensors."""
        return self._wire(layer.name, self._applied(graph, layer, [x.name for x in xs], [x.signal.shape for x in xs]))

    def _applied(self, graph: Graph, layer: Any, xs: list[str], shapes: list[tuple[int, ...]]) -> str:
        match layer:
            case FloatLinear():
                product = graph.op("MatMul", xs[0], self._weight(graph, layer, np.ascontiguousarray(layer.weight.T)))
                return product if layer.bias is None else graph.op("Add", product, graph.constant(layer.bias, FLOAT32))
            case FloatConv():
                inputs = [xs[0], self._weight(graph, layer, layer.weight)]
                inputs += [] if layer.bias is None else [graph.constant(layer.bias, FLOAT32)]
                return graph.op("Conv", *inputs, group=layer.groups, **window_attributes(layer.window))
            case FloatAffine():
                scaled = xs[0] if layer.scale is None else graph.op("Mul", xs[0], graph.constant(layer.scale, FLOAT32))
                return scaled if layer.bias is None else graph.op("Add", scaled, graph.constant(layer.bias, FLOAT32))
            case AveragePool():
                return self._average(graph, layer, xs[0], shapes[0])
            case MaxPool():
                return self._largest(graph, layer, xs[0], shapes[0])
            case Reshape():
                return graph.reshaped(xs[0], -1, *layer.shape)
            case Transpose():
                return graph.op("Transpose", xs[0], perm=[0, *(axis + 1 for axis in layer.axes)])
            case Add():
                return self._sum(graph, layer, xs, shapes)
            case Concat():
                return graph.op("Concat", *xs, axis=layer.axis + 1 if layer.axis >= 0 else layer.axis)
        raise LoweringError(f"layer {layer.name!r}: a {type(layer).__name__} keeps a state and is no map of its inputs.")

    def _weight(self, graph: Graph, layer: FloatLinear | FloatConv, values: Any) -> str:
        return graph.constant(values, FLOAT32, f"{layer.name}.weight")

    def _average(self, graph: Graph, layer: AveragePool, x: str, shape: tuple[int, ...]) -> str:
        count = math.prod(layer.kernel)
        if pads_widely(layer):
            total = graph.op("Sum", *taps(graph, x, FLOAT32, layer.window, shape, self.shape(layer.name)[1:], 0.0))
            return graph.op("Div", total, graph.constant(layer.divisor, FLOAT32))
        mean = graph.op("AveragePool", x, count_include_pad=1, **window_attributes(layer.window))
        return mean if count == layer.divisor else graph.op("Mul", mean, graph.constant(count / layer.divisor, FLOAT32))

    def _largest(self, graph: Graph, layer: MaxPool, x: str, shape: tuple[int, ...]) -> str:
        if pads_widely(layer):
            return graph.op("Max", *taps(graph, x, FLOAT32, layer.window, shape, self.shape(layer.name)[1:], -np.inf))
        return graph.op("MaxPool", x, **window_attributes(layer.window))

    def _sum(self, graph: Graph, layer: Add, xs: list[str], shapes: list[tuple[int, ...]]) -> str:
        rank = len(self.shape(layer.name))
        terms = [
            x if len(s) == rank else graph.reshaped(x, -1, *(1 for _ in range(rank - len(s))), *s)
            for x, s in zip(xs, shapes, strict=True)
        ]
        total = terms[0] if layer.signs[0] > 0 else graph.op("Neg", terms[0])
        for sign, term in zip(layer.signs[1:], terms[1:], strict=True):
            total = graph.op("Add" if sign > 0 else "Sub", total, term)
        return total

    def cell(self, layer: FloatLIF) -> FloatCell:
        """A LIF layer."""
        if layer.name not in self._cells:
            self._cells[layer.name] = FloatCell(layer, self._wire(layer.name, "").signal)
        return self._cells[layer.name]

    def delay_type(self, layer: Delay) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    def delayed(self, layer: Delay, value: str) -> Wire:
        """A delay's state as what it emits."""
        return self._wire(layer.name, value)

    def convert(self, graph: Graph, wire: Wire, dtype: Any) -> str:
        """What a wire holds."""
        return wire.name

    def state_type(self, layer: FloatLIF, kind: str) -> np.dtype[Any]:
        """In which a membrane leaves the graph."""
        return FLOAT32

    def loop_type(self, layer: FloatLIF, kind: str) -> np.dtype[Any]:
        """In which a membrane passes from step to step: float64 for wide states, as in torch."""
        return self.cell(layer).dtype

    def spike_type(self, layer: FloatLIF) -> np.dtype[Any]:
        """In which spikes leave the graph."""
        return FLOAT32

    def sum_type(self, layer: FloatLIF, kind: str, steps: int) -> np.dtype[Any]:
        """In which spikes or membranes add up, as they leave the graph."""
        return FLOAT32

    def running_type(self, layer: FloatLIF, kind: str) -> np.dtype[Any]:
        """In which a graph of one step adds up."""
        return np.dtype(np.float64)

    def read(self, graph: Graph, layer: FloatLIF, total: str, kind: str) -> tuple[str, np.dtype[Any]]:
        """A running sum as it leaves the graph."""
        return graph.cast(total, FLOAT32), FLOAT32

    def membrane(self, graph: Graph, layer: FloatLIF, value: str, dtype: Any, kind: str = "mem") -> str:
        """Membranes in the type in which they leave the graph."""
        return value if self.cell(layer).dtype == dtype else graph.cast(value, dtype)

    def total(self, graph: Graph, stacked: str, dtype: Any) -> str:
        """The sum over axis 0, in float64 and rounded to float32 once, so that its order hardly ever matters."""
        wide = graph.cast(stacked, np.float64)
        return graph.cast(graph.op("ReduceSum", wide, graph.constant([0], np.int64), keepdims=0), dtype)

    def carried(self) -> dict[str, str]:
        """The type of every LIF layer's numbers."""
        return {name: cell.dtype.name for name, cell in self._cells.items()}

    def offsets(self) -> dict[str, int]:
        """What the membranes of layers lack that are carried moved."""
        return {name: cell.offset for name, cell in self._cells.items() if cell.offset}

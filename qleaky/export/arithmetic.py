"""What the graph forms ask of an IntegerNetwork's layers: inputs, layers without state, cells, and types of what leaves."""

from __future__ import annotations

from typing import Any

import numpy as np

from qleaky.errors import LoweringError
from qleaky.export import shaping_ops as shaping
from qleaky.export.cell_choice import Style, new_cell
from qleaky.export.cells import Cell
from qleaky.export.graph import Graph
from qleaky.export.products import Product, conv, linear
from qleaky.export.wires import Wire, holds, integers, smallest_type
from qleaky.integer import (
    LIF,
    Add,
    Affine,
    AveragePool,
    Concat,
    Conv,
    Delay,
    Input,
    IntegerNetwork,
    Layer,
    Linear,
    MaxPool,
    Reshape,
    Transpose,
)
from qleaky.integer.graph import MAX_STEPS
from qleaky.integer.signals import as_integers

INT32 = np.dtype(np.int32)


class IntegerArithmetic:
    """The layers of one network in one graph.

    ``carrier`` "integer"; or "float" and "quantized", which carry integers in float32 wherever that is exact.
    """

    def __init__(self, graph: Graph, network: IntegerNetwork, carrier: str, style: Style) -> None:
        self.graph, self.network, self.carrier, self.style = graph, network, carrier, style
        self.floats, self.portable = carrier != "integer", carrier == "float"
        graph.packs = not self.portable
        self._cells: dict[str, Cell] = {}
        self._products: dict[str, Product] = {}
        self._offsets = {i.name: as_integers(-i.format.zero_point) for i in network.inputs if i.format.zero_point}
        self._carried: dict[str, str] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a sample of what a layer emits."""
        return self.network.signals[name].shape

    def input_type(self, source: Input) -> np.dtype[Any]:
        """The smallest integer type of its format."""
        return np.dtype(source.format.dtype)

    def source(self, source: Input, value: str) -> Wire:
        """An input's codes; the zero point is pending."""
        return Wire(value, self.input_type(source), source.signal, self._offsets.get(source.name))

    def apply(self, graph: Graph, layer: Layer, xs: list[Wire]) -> Wire:
        """A layer without state on (N, ...) tensors."""
        out = self.network.signals[layer.name]
        match layer:
            case Linear():
                return self._noted(layer.name, linear(graph, self._product(layer), xs[0], self.carrier))
            case Conv():
                return self._noted(layer.name, conv(graph, self._product(layer), xs[0], self._only_reader(layer)))
            case Affine():
                return self._noted(layer.name, shaping.affine(graph, layer, xs[0], out, self.floats))
            case AveragePool():
                return self._noted(layer.name, shaping.sum_pool(graph, layer, xs[0], out, few=self.style.hoisted))
            case MaxPool():
                return shaping.max_pool(graph, layer, xs[0], out)
            case Reshape():
                return shaping.reshape(graph, layer, xs[0], out)
            case Transpose():
                return shaping.transpose(graph, layer, xs[0], out)
            case Add():
                return self._noted(layer.name, shaping.add(graph, layer, xs, out, self.floats))
            case Concat():
                return shaping.concat(graph, layer, xs, out)
        raise LoweringError(f"layer {layer.name!r}: a {type(layer).__name__} keeps a state and is no map of its inputs.")

    def _only_reader(self, layer: Conv) -> Cell | None:
        """The LIF layer that alone reads a convolution, if one does."""
        readers = [reader for reader in self.network.layers if layer.name in reader.inputs]
        return self.cell(readers[0]) if len(readers) == 1 and isinstance(readers[0], LIF) else None

    def _noted(self, name: str, wire: Wire) -> Wire:
        self._carried[name] = wire.dtype.name
        return wire

    def _product(self, layer: Linear | Conv) -> Product:
        if layer.name not in self._products:
            reach = next(b.accumulate for b in self.network.proof.layers if b.layer == layer.name)
            self._products[layer.name] = Product(layer, self.network.signals[layer.name], reach)
        return self._products[layer.name]

    def cell(self, layer: LIF) -> Cell:
        """A LIF layer, in the narrowest type that holds its numbers."""
        if layer.name not in self._cells:
            self._cells[layer.name] = cell = self._new_cell(layer)
            self._carried[layer.name] = cell.dtype.name
        return self._cells[layer.name]

    def _new_cell(self, layer: LIF) -> Cell:
        return new_cell(self.graph, layer, self.network.signals[layer.input], self.style, self.carrier)

    def delay_type(self, layer: Delay) -> np.dtype[Any]:
        """The type of a delay's state."""
        return smallest_type(layer.low, layer.high)

    def delayed(self, layer: Delay, value: str) -> Wire:
        """A delay's state as what it emits."""
        return Wire(value, self.delay_type(layer), self.network.signals[layer.name])

    def convert(self, graph: Graph, wire: Wire, dtype: Any) -> str:
        """What a wire holds, with nothing pending, in ``dtype``."""
        return integers(graph, wire, dtype)

    def state_type(self, layer: LIF, kind: str) -> np.dtype[Any]:
        """In which a membrane or synaptic current leaves the graph: int32 where that holds it."""
        fmt = layer.synapse.state if kind == "syn" and layer.synapse is not None else layer.state
        return INT32 if holds(INT32, fmt.lowest, fmt.highest) else np.dtype(np.int64)

    def loop_type(self, layer: LIF, kind: str) -> np.dtype[Any]:
        """In which it passes from step to step in a graph of one step."""
        return self.state_type(layer, kind)

    def spike_type(self, layer: LIF) -> np.dtype[Any]:
        """In which spikes leave the graph: uint8 where 0 to 255 holds them."""
        emitted = self.network.signals[layer.name]
        dtype = smallest_type(emitted.low, emitted.high)
        return dtype if dtype == np.uint8 else INT32 if holds(INT32, emitted.low, emitted.high) else np.dtype(np.int64)

    def sum_type(self, layer: LIF, kind: str, steps: int) -> np.dtype[Any]:
        """In which spikes or membranes of so many steps add up."""
        emitted = self.network.signals[layer.name]
        ends = (emitted.low, emitted.high) if kind == "spk" else (layer.state.lowest, layer.state.highest)
        return INT32 if holds(INT32, ends[0] * steps, ends[1] * steps) else np.dtype(np.int64)

    def running_type(self, layer: LIF, kind: str) -> np.dtype[Any]:
        """In which a graph of one step adds up, for as many steps as a network may have."""
        return self.sum_type(layer, kind, MAX_STEPS)

    def read(self, graph: Graph, layer: LIF, total: str, kind: str) -> tuple[str, np.dtype[Any]]:
        """A running sum as it leaves the graph."""
        return total, self.running_type(layer, kind)

    def membrane(self, graph: Graph, layer: LIF, value: str, dtype: Any, kind: str = "mem") -> str:
        """Membranes or synaptic currents of a cell in the type in which they leave the graph."""
        cell = self.cell(layer)
        value = value if cell.dtype == dtype else graph.cast(value, dtype)
        moved = cell.offset if kind == "mem" else 0
        return graph.op("Add", value, graph.constant(moved, dtype)) if moved else value

    def total(self, graph: Graph, stacked: str, dtype: Any) -> str:
        """The sum over axis 0."""
        return graph.op("ReduceSum", graph.cast(stacked, dtype), graph.constant([0], np.int64), keepdims=0)

    def carried(self) -> dict[str, str]:
        """The type of the numbers of every layer that computes."""
        return {layer.name: self._carried[layer.name] for layer in self.network.layers if layer.name in self._carried}

    def offsets(self) -> dict[str, int]:
        """What the membranes of layers lack that are carried moved."""
        return {name: cell.offset for name, cell in self._cells.items() if cell.offset}

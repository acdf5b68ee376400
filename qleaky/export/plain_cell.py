"""LIF steps in float32 with nothing but elementwise arithmetic, which every runtime computes alike."""

from __future__ import annotations

import numpy as np

from qleaky.dynamics import Compare
from qleaky.export import dynamics_ops as rules
from qleaky.export.carriers import Carrier
from qleaky.export.cells import Clip, Emission, Names, States
from qleaky.export.fast_cells import FastCell
from qleaky.export.float_carrier import PlainFloat32
from qleaky.export.graph import Graph
from qleaky.export.numbers import Num, TooWide
from qleaky.export.wires import Wire
from qleaky.fixed import Rounding
from qleaky.integer import LIF
from qleaky.integer.layers import Signal

FLOAT32 = np.dtype(np.float32)


class PlainCell(FastCell):
    """float32, with the membrane moved by the threshold: V = U - theta, so that a spike is V brought between 0 and 1.

    ::

        V = Clip(Floor(V * beta + (I + constants) - s * theta), lowest - theta, highest - theta)
        s = Clip(V, 0, 1)

    No comparison and no choice: one operator less than with them, and spikes are the numbers that the next product takes.
    """

    carrier = PlainFloat32

    def __init__(self, graph: Graph, layer: LIF, source: Signal, clip: Clip, *, scan: bool) -> None:
        super().__init__(graph, layer, source, clip, scan=scan)
        self.raw_type = self.record_type = self.fired_type = FLOAT32

    def _prepare_constants(self) -> None:
        layer = self.layer
        if self.theta is None or self.m.size != 1:
            raise TooWide
        self.offset = self.theta if layer.compare is Compare.STRICT else self.theta - 1
        if not layer.state.lowest <= self.offset < layer.state.highest:
            raise TooWide
        self.unit = k = self.sums_at
        self.multiplier, self.down = int(self.m.reshape(-1)[0]) << (k - self.bits), self.theta << k
        self.half = rules.half(k, layer.rounding) + self.multiplier * self.offset - (self.offset << k)
        self.ends = layer.state.lowest - self.offset, layer.state.highest - self.offset

    def resume(self, graph: Graph, mem: str, syn: str | None) -> States:
        """V, and whether it fired."""
        moved = graph.op("Sub", mem, graph.constant(self.offset, FLOAT32)) if self.offset else mem
        return {"mem": moved, "fired": self._spikes(graph, moved, None)}

    def step(self, graph: Graph, states: States, pieces: tuple[str, ...], names: Names) -> Emission:
        """As :meth:`Cell.step`."""
        ops, k = self.ops.on(graph), self.unit
        decayed = ops.mul(ops.num(states["mem"], *self.ends), ops.number(self.multiplier, k))
        down = ops.mul(Num(states["fired"], 0, 1), ops.number(self.down, k))
        return self._end(graph, ops, ops.sub(ops.add(decayed, self._charge(pieces)), down), names)

    def first(self, graph: Graph, pieces: tuple[str, ...], names: Names) -> Emission:
        """The step from zero: a constant instead of decay and reset."""
        ops = self.ops.on(graph)
        constant = ops.number(-self.offset * self.multiplier - (self.down if self.offset < 0 else 0), self.unit)
        return self._end(graph, ops, ops.add(self._charge(pieces), constant), names)

    def emit(self, graph: Graph, spk: str) -> Wire:
        """Spikes are float32 0 and 1."""
        return Wire(spk, FLOAT32, self.emitted)

    def _charge(self, pieces: tuple[str, ...]) -> Num:
        a = self.charge
        return Num(pieces[0], a.low, a.high, a.bits, a.solid)

    def _end(self, graph: Graph, ops: Carrier, total: Num, names: Names) -> Emission:
        value = ops.rounded(total, Rounding.FLOOR)
        low, high = self.ends
        if value.solid is not None and value.solid <= max(-low, high) + 1:
            raise TooWide
        mem = graph.op("Clip", value.name, *(ops.number(end).name for end in self.ends), name=names.mem)
        spk = self._spikes(graph, mem, names.spk)
        return Emission({"mem": mem, "fired": spk}, mem, spk, spk)

    def _spikes(self, graph: Graph, mem: str, name: str | None) -> str:
        return graph.op("Clip", mem, graph.constant(0, FLOAT32), graph.constant(1, FLOAT32), name=name)

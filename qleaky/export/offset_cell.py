"""LIF steps in int32 with a moved membrane."""

from __future__ import annotations

import numpy as np

from qleaky.dynamics import Compare
from qleaky.export import dynamics_ops as rules
from qleaky.export.carriers import Carrier
from qleaky.export.cells import Clip, Emission, Names, States
from qleaky.export.fast_cells import ROWS, FastCell
from qleaky.export.graph import Graph
from qleaky.export.integer_carriers import Int32
from qleaky.export.numbers import Num, TooWide
from qleaky.export.wires import Wire
from qleaky.fixed import Rounding
from qleaky.integer import LIF
from qleaky.integer.layers import Signal


class OffsetCell(FastCell):
    """int32, with the membrane moved by a constant o: V = U - o, th = theta - o.

    ::

        a = V * m + (I + constants) - Clip(V, th, th + 1) * theta

    With o = lowest, a is brought to its range first; then it is not negative, and Div, which truncates, is exact. Where the
    constants of that leave int32, o = theta.
    """

    carrier = Int32

    def __init__(
        self, graph: Graph, layer: LIF, source: Signal, clip: Clip, *, scan: bool, stacked: bool, from_lowest: bool
    ) -> None:
        self.stacked, self.from_lowest = stacked, from_lowest
        super().__init__(graph, layer, source, clip, scan=scan)
        self.raw_type = np.dtype(np.bool_)
        self.record_type = self.dtype if stacked else self.raw_type
        self.spikes_each_step = not stacked

    def _prepare_constants(self) -> None:
        layer, strict = self.layer, self.layer.compare is Compare.STRICT
        if self.theta is None or self.m.size != 1:
            raise TooWide
        bar = self.theta if strict else self.theta - 1
        low, k = layer.state.lowest, self.sums_at
        if not low <= bar < layer.state.highest:
            raise TooWide
        self.offset = low if self.from_lowest else bar
        self.multiplier = int(self.m.reshape(-1)[0]) << (k - self.bits)
        self.bar, self.down = bar - self.offset, self.theta << k
        self.unit = k
        self.half = rules.half(k, layer.rounding) + self.multiplier * self.offset - (self.offset << k) + self.bar * self.down

    def resume(self, graph: Graph, mem: str, syn: str | None) -> States:
        """V = U - o."""
        return {"mem": graph.op("Sub", mem, graph.constant(self.offset, np.int32)) if self.offset else mem}

    def step(self, graph: Graph, states: States, pieces: tuple[str, ...], names: Names) -> Emission:
        """As :meth:`Cell.step`."""
        ops, state, k = self.ops.on(graph), self.layer.state, self.unit
        mem = ops.num(states["mem"], state.lowest - self.offset, state.highest - self.offset)
        ends = ops.number(self.bar), ops.number(self.bar + 1)
        fired = Num(graph.op("Clip", mem.name, *(end.name for end in ends)), self.bar, self.bar + 1)
        total = ops.add(ops.mul(mem, ops.number(self.multiplier, k)), self._charge(pieces))
        return self._end(graph, ops, ops.sub(total, ops.mul(fired, ops.number(self.down, k))), names)

    def first(self, graph: Graph, pieces: tuple[str, ...], names: Names) -> Emission:
        """The step from zero: a constant instead of decay and reset."""
        ops = self.ops.on(graph)
        fired = self.bar + (-self.offset > self.bar)
        constant = ops.number(-self.offset * self.multiplier - fired * self.down, self.unit)
        return self._end(graph, ops, ops.add(self._charge(pieces), constant), names)

    def _charge(self, pieces: tuple[str, ...]) -> Num:
        return Num(pieces[0], self.charge.low, self.charge.high, self.charge.bits)

    def _end(self, graph: Graph, ops: Carrier, total: Num, names: Names) -> Emission:
        state, k = self.layer.state, self.unit
        span = state.highest - state.lowest
        if self.from_lowest and k:
            ends = (ops.number(end).name for end in (0, (span << k) + (1 << k) - 1))
            mem = graph.op("Div", graph.op("Clip", total.name, *ends), ops.number(1 << k).name, name=names.mem)
        else:
            value = ops.rounded(total, Rounding.FLOOR).name
            bounds = (ops.number(end - self.offset).name for end in (state.lowest, state.highest))
            mem = graph.op("Clip", value, *bounds, name=names.mem)
        spk = mem if self.stacked else self._spikes(graph, mem, names.spk)
        return Emission({"mem": mem}, mem, spk, spk)

    def _spikes(self, graph: Graph, mem: str, name: str | None) -> str:
        return graph.op("Greater", mem, graph.constant(self.bar, np.int32), name=name)

    def finish(self, graph: Graph, record: str) -> Wire:
        """Spikes of all steps, of the membranes where they are not made step by step."""
        if not self.stacked:
            return self.emit(graph, record)
        name = f"{self.layer.name}/spk"
        graph.describe(name, np.bool_, (ROWS, *self.emitted.shape))
        return self.emit(graph, self._spikes(graph, record, name))

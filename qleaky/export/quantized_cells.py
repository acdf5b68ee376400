"""LIF steps between DequantizeLinear and QuantizeLinear: float32 sums of 8- or 16-bit membranes."""

from __future__ import annotations

from typing import Any

import numpy as np

from qleaky.dynamics import Compare
from qleaky.export.carriers import Carrier
from qleaky.export.cells import Clip, Emission, Names, States
from qleaky.export.fast_cells import ROWS, FastCell
from qleaky.export.float_carrier import Float32
from qleaky.export.graph import Graph
from qleaky.export.numbers import Num, TooWide
from qleaky.export.wires import Wire, smallest_type
from qleaky.fixed import QFormat, Rounding
from qleaky.integer import LIF
from qleaky.integer.layers import Signal

FLOAT32, UINT8 = np.dtype(np.float32), np.dtype(np.uint8)


def offset_units(layer: LIF, k: int) -> tuple[int, int]:
    """The unit of a sum that is rounded half-even, and what makes that HALF_UP or FLOOR: then no ties are left.

    A is a multiple of 2**-k. Half-even rounding of A + 2**-(k+1) is HALF_UP of A, of A - 1/2 + 2**-(k+1) it is FLOOR of A.
    """
    if k == 0:
        return 0, 0
    return k + 1, 1 if layer.rounding is Rounding.HALF_UP else 1 - (1 << k)


class QuantizedCell(FastCell):
    """A float32 sum between DequantizeLinear and QuantizeLinear, which rounds and saturates at no extra cost.

    ::

        a = U * beta + (I - theta + rounding) - s * theta
        U = QuantizeLinear(a, zero point theta)
        s = Clip(QuantizeLinear(a), 0, 1)          in uint8

    With ``stacked`` spikes are made of all membranes at once, and the reset of the membrane's own code: one operator less.
    """

    carrier = Float32

    def __init__(self, graph: Graph, layer: LIF, source: Signal, clip: Clip, *, scan: bool, stacked: bool = False) -> None:
        self.stacked = stacked
        super().__init__(graph, layer, source, clip, scan=scan)
        self.dtype = code_type(layer.state)
        self.raw_type, self.record_type = UINT8, self.dtype if stacked else UINT8
        self.fired_type = UINT8
        self.spikes_each_step = not stacked

    def _prepare_constants(self) -> None:
        state, theta = self.layer.state, self.theta
        fits = state.bits <= 16 and theta is not None and 0 < theta < state.highest and self.m.size == 1
        if not fits or theta is None or self.layer.compare is not Compare.STRICT:
            raise TooWide
        self.unit, added = offset_units(self.layer, self.sums_at)
        self.half = added - (0 if self.stacked else theta << self.unit)
        self.codes = code_type(state)
        ends = np.iinfo(self.codes).min, np.iinfo(self.codes).max
        self.whole_type = (state.lowest, state.highest) == ends

    def resume(self, graph: Graph, mem: str, syn: str | None) -> States:
        """The membrane, and whether it fired: 0 does not, and a graph of whole sequences starts there."""
        return {"mem": mem} if self.stacked else {"mem": mem, "fired": self._spikes(graph, self._value(graph, mem), None)}

    def step(self, graph: Graph, states: States, pieces: tuple[str, ...], names: Names) -> Emission:
        """As :meth:`Cell.step`."""
        ops, theta = self.ops.on(graph), self._theta
        scale = graph.constant(np.ldexp(float(self.m.reshape(-1)[0]), -self.bits), FLOAT32)
        product = graph.op("DequantizeLinear", states["mem"], scale, graph.constant(0, self.codes))
        m, state = int(self.m.reshape(-1)[0]), self.layer.state
        total = ops.add(ops.num(product, m * state.lowest, m * state.highest, self.bits), self._charge(pieces))
        down = self._reset_of_code(graph, states["mem"]) if self.stacked else self._reset(graph, states["fired"])
        return self._end(graph, ops, ops.sub(total, Num(down, 0, theta)), names)

    def first(self, graph: Graph, pieces: tuple[str, ...], names: Names) -> Emission:
        """The step from zero: nothing decays, nothing resets."""
        return self._end(graph, self.ops.on(graph), self._charge(pieces), names)

    def emit(self, graph: Graph, spk: str) -> Wire:
        """Spikes are uint8 already."""
        return Wire(spk, UINT8, self.emitted)

    def finish(self, graph: Graph, record: str) -> Wire:
        """Spikes of all steps, of the membranes or of what has yet to be clipped to 0 and 1."""
        if not self.stacked:
            return self.emit(graph, self._clipped(graph, record, None) if self.scan else record)
        name = f"{self.layer.name}/spk"
        graph.describe(name, UINT8, (ROWS, *self.emitted.shape))
        return self.emit(graph, self._spikes(graph, self._value(graph, record), name))

    @property
    def _theta(self) -> int:
        assert self.theta is not None
        return self.theta

    def _charge(self, pieces: tuple[str, ...]) -> Num:
        a = self.charge
        return Num(pieces[0], a.low, a.high, a.bits, a.solid)

    def _reset(self, graph: Graph, fired: str) -> str:
        return graph.op("DequantizeLinear", fired, graph.constant(self._theta, FLOAT32), graph.constant(0, UINT8))

    def _reset_of_code(self, graph: Graph, mem: str) -> str:
        """Clip((U - theta) * theta, 0, theta)."""
        theta = graph.constant(self._theta, FLOAT32)
        above = graph.op("DequantizeLinear", mem, theta, graph.constant(self._theta, self.codes))
        return graph.op("Clip", above, graph.constant(0, FLOAT32), theta)

    def _end(self, graph: Graph, ops: Carrier, total: Num, names: Names) -> Emission:
        state, moved = self.layer.state, 0 if self.stacked else self._theta
        if total.solid is not None and total.solid <= (max(-state.lowest, state.highest) + moved + 1) << total.bits:
            raise TooWide
        value = total.name
        if not self.whole_type:
            value = graph.op("Clip", value, *(graph.constant(end - moved, FLOAT32) for end in (state.lowest, state.highest)))
        mem = self._quantized(graph, value, graph.constant(moved, self.codes), names.mem)
        if self.stacked:
            return Emission({"mem": mem}, mem, mem, mem)
        raw = self._quantized(graph, value, graph.constant(0, UINT8), None)
        spk = self._clipped(graph, raw, names.spk)
        return Emission({"mem": mem, "fired": spk}, mem, spk, raw if self.scan else spk)

    def _value(self, graph: Graph, mem: str) -> str:
        """U - theta."""
        one = graph.constant(1, FLOAT32)
        return graph.op("DequantizeLinear", mem, one, graph.constant(self._theta, self.codes))

    def _spikes(self, graph: Graph, above: str, name: str | None) -> str:
        return self._clipped(graph, self._quantized(graph, above, graph.constant(0, UINT8), None), name)

    def _quantized(self, graph: Graph, value: str, zero_point: str, name: str | None) -> str:
        return graph.op("QuantizeLinear", value, graph.constant(1, FLOAT32), zero_point, name=name)

    def _clipped(self, graph: Graph, value: str, name: str | None) -> str:
        return graph.op("Clip", value, graph.constant(0, UINT8), graph.constant(1, UINT8), name=name)


class VectorQuantizedCell(QuantizedCell):
    """As :class:`QuantizedCell`, for thresholds or multipliers of each neuron: s = a > theta + 1/2, and the reset is s * theta.

    Per-axis DequantizeLinear would be 4 to 5 times slower.
    """

    def __init__(self, graph: Graph, layer: LIF, source: Signal, clip: Clip, *, scan: bool) -> None:
        super().__init__(graph, layer, source, clip, scan=scan)
        self.raw_type = self.record_type = self.fired_type = np.dtype(np.bool_)

    def _prepare_constants(self) -> None:
        state, theta = self.layer.state, self.numbers.theta
        if state.bits > 16 or theta.min() < 0 or theta.max() >= state.highest or self.layer.compare is not Compare.STRICT:
            raise TooWide
        self.unit, self.half = offset_units(self.layer, self.sums_at)
        self.codes = code_type(state)
        self.whole_type = (state.lowest, state.highest) == (np.iinfo(self.codes).min, np.iinfo(self.codes).max)
        self.bar = theta + 0.5 if self.sums_at else theta

    def resume(self, graph: Graph, mem: str, syn: str | None) -> States:
        """The membrane, and whether it fired."""
        return {"mem": mem, "fired": graph.op("Greater", self._plain(graph, mem), graph.constant(self.numbers.theta, FLOAT32))}

    def step(self, graph: Graph, states: States, pieces: tuple[str, ...], names: Names) -> Emission:
        """As :meth:`Cell.step`."""
        ops, state = self.ops.on(graph), self.layer.state
        product = ops.mul(
            ops.num(self._plain(graph, states["mem"]), state.lowest, state.highest), ops.constant(self.m, self.bits)
        )
        down = ops.mul(ops.num(graph.cast(states["fired"], FLOAT32), 0, 1), ops.constant(self.numbers.theta))
        return self._end(graph, ops, ops.sub(ops.add(product, self._charge(pieces)), down), names)

    def emit(self, graph: Graph, spk: str) -> Wire:
        """Spikes as uint8."""
        return Wire(graph.cast(spk, UINT8), UINT8, self.emitted)

    def finish(self, graph: Graph, record: str) -> Wire:
        """Spikes as uint8."""
        return self.emit(graph, record)

    def _plain(self, graph: Graph, mem: str) -> str:
        return graph.op("DequantizeLinear", mem, graph.constant(1, FLOAT32), graph.constant(0, self.codes))

    def _end(self, graph: Graph, ops: Carrier, total: Num, names: Names) -> Emission:
        state = self.layer.state
        if total.solid is not None and total.solid <= (max(-state.lowest, state.highest) + 2) << total.bits:
            raise TooWide
        value = total.name
        if not self.whole_type:
            value = graph.op("Clip", value, *(graph.constant(end, FLOAT32) for end in (state.lowest, state.highest)))
        mem = self._quantized(graph, value, graph.constant(0, self.codes), names.mem)
        spk = graph.op("Greater", value, graph.constant(self.bar, FLOAT32), name=names.spk)
        return Emission({"mem": mem, "fired": spk}, mem, spk, spk)


def code_type(fmt: QFormat) -> np.dtype[Any]:
    """The 8- or 16-bit type of a state's codes."""
    if fmt.signed:
        return smallest_type(min(fmt.lowest, -1), fmt.highest)
    return np.dtype(np.uint8 if fmt.bits <= 8 else np.uint16)

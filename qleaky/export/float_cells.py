"""One LIF layer of a FloatNetwork in a graph, in torch's order of float operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from qleaky.dynamics import (
    Compare,
    MulShift,
    ResetMechanism,
    ResetTiming,
    RoundingSite,
    ShiftDecay,
    float32_carries,
    resets_early,
    resets_late,
)
from qleaky.export.cells import Emission, Names, States
from qleaky.export.graph import Graph
from qleaky.export.wires import Wire
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer import FloatLIF
from qleaky.integer.layers import Signal

FLOAT32 = np.dtype(np.float32)


class FloatCell:
    """The operators of one layer; what :class:`~qleaky.export.cells.Cell` is for integers."""

    has_synapse = False
    offset = 0
    spikes_each_step = True
    has_first = False

    def __init__(self, layer: FloatLIF, emitted: Signal) -> None:
        self.layer, self.emitted = layer, emitted
        wide = layer.state is not None and not float32_carries(layer.state, layer.overflow)
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        self.raw_type = self.record_type = FLOAT32
        self.current_type = self.fired_type = self.dtype
        self.early = resets_early(layer.reset_mechanism, layer.reset_timing)
        self.late = resets_late(layer.reset_mechanism, layer.reset_timing)
        self.subtracts = layer.reset_mechanism is ResetMechanism.SUBTRACT

    def prepare(self, graph: Graph, wire: Wire) -> tuple[str, ...]:
        """The current in the type that carries the step."""
        return (wire.name if self.dtype == FLOAT32 else graph.cast(wire.name, self.dtype),)

    def resume(self, graph: Graph, mem: str, syn: str | None) -> States:
        """The loop's states from a membrane."""
        return {"mem": mem} | ({"fired": self._fires(graph, mem)} if self.early else {})

    def step(self, graph: Graph, states: States, pieces: tuple[str, ...], names: Names) -> Emission:
        """One step; ``qleaky._lif.lif_step`` states the equations."""
        mem, fired = states["mem"], states.get("fired")
        kept = mem
        if fired is not None and not self.subtracts:
            kept = graph.op("Mul", graph.op("Sub", self._number(graph, 1.0), fired), mem)
        charged = graph.op("Add", self._decayed(graph, kept), pieces[0])
        if fired is not None and self.subtracts:
            charged = graph.op("Sub", charged, graph.op("Mul", fired, self._number(graph, self.layer.theta)))
        charged = self._quantized(graph, charged, None if self.late else names.mem)
        raw = self._fires(graph, charged)
        after = self._late_reset(graph, charged, raw, fired, names.mem) if self.late else charged
        states = {"mem": after}
        if self.early:
            states["fired"] = raw if self.layer.reset_timing is ResetTiming.DELAYED else self._fires(graph, after)
        spk = self._graded(graph, raw, names.spk)
        return Emission(states, after, spk, spk)

    def emit(self, graph: Graph, spk: str) -> Wire:
        """Spikes as they are."""
        return Wire(spk, FLOAT32, self.emitted)

    def finish(self, graph: Graph, record: str) -> Wire:
        """Spikes as they are."""
        return self.emit(graph, record)

    def first(self, graph: Graph, pieces: tuple[str, ...], names: Names) -> Emission | None:
        """No shorter step."""
        return None

    def _number(self, graph: Graph, value: Any) -> str:
        return graph.constant(value, self.dtype)

    def _fires(self, graph: Graph, mem: str) -> str:
        """U - theta > 0, or >= 0, as 1 or 0."""
        kind = "Greater" if self.layer.compare is Compare.STRICT else "GreaterOrEqual"
        return graph.cast(graph.op(kind, mem, self._number(graph, self.layer.theta)), self.dtype)

    def _graded(self, graph: Graph, raw: str, name: str | None) -> str:
        spk = raw if self.dtype == FLOAT32 else graph.cast(raw, FLOAT32)
        if np.all(self.layer.graded == 1):
            return graph.op("Identity", spk, name=name)
        return graph.op("Mul", spk, graph.constant(self.layer.graded, FLOAT32), name=name)

    def _late_reset(self, graph: Graph, charged: str, raw: str, fired: str | None, name: str | None) -> str:
        """U = V - (S - R) * (theta or V)."""
        due = raw if fired is None else graph.op("Sub", raw, fired)
        down = self._number(graph, self.layer.theta) if self.subtracts else charged
        return graph.op("Sub", charged, graph.op("Mul", due, down), name=name)

    def _decayed(self, graph: Graph, mem: str) -> str:
        """beta * U, rounded to the grid on its own where the layer says so."""
        layer, op = self.layer, graph.op
        if isinstance(layer.decay, ShiftDecay) and layer.state is not None:
            codes = op("Mul", mem, self._number(graph, 2.0**layer.state.frac_bits))
            lost = op("Floor", op("Mul", codes, self._number(graph, 2.0**-layer.decay.k)))
            if layer.decay.at_least_one:
                lost = op("Where", op("Equal", lost, self._number(graph, 0.0)), op("Sign", codes), lost)
            return op("Mul", op("Sub", codes, lost), self._number(graph, layer.state.step))
        product = op("Mul", self._number(graph, layer.beta), mem)
        if layer.rounding_site is RoundingSite.SUM or layer.state is None:
            return product
        rounding = layer.decay.rounding if isinstance(layer.decay, MulShift) and layer.decay.rounding else layer.rounding
        return op("Mul", self._rounded(graph, product, layer.state, rounding), self._number(graph, layer.state.step))

    def _quantized(self, graph: Graph, mem: str, name: str | None) -> str:
        """The state quantizer: fixed-point, nearest level, or none."""
        layer, op = self.layer, graph.op
        if layer.levels is not None:
            column = op("Unsqueeze", mem, graph.constant([-1], np.int64))
            distance = op("Abs", op("Sub", column, self._number(graph, layer.levels)))
            nearest = op("ArgMin", distance, axis=-1, keepdims=0, select_last_index=0)
            return op("Gather", self._number(graph, layer.levels), nearest, name=name)
        if layer.state is None:
            return mem if name is None else op("Identity", mem, name=name)
        codes = self._fit(graph, self._rounded(graph, mem, layer.state, layer.rounding), layer.state)
        return op("Mul", codes, self._number(graph, layer.state.step), name=name)

    def _fit(self, graph: Graph, codes: str, fmt: QFormat) -> str:
        low, high = self._number(graph, float(fmt.lowest)), self._number(graph, float(fmt.highest))
        if self.layer.overflow is not Overflow.WRAP:
            return graph.op("Clip", codes, low, high)
        span = self._number(graph, float(1 << fmt.bits))
        turns = graph.op("Floor", graph.op("Div", graph.op("Sub", codes, low), span))
        return graph.op("Sub", codes, graph.op("Mul", turns, span))

    def _rounded(self, graph: Graph, x: str, fmt: QFormat, rounding: Rounding) -> str:
        """round(x * 2**frac_bits)."""
        op, scale = graph.op, 2.0**fmt.frac_bits
        if rounding is Rounding.HALF_UP:
            doubled = op("Floor", op("Mul", x, self._number(graph, 2 * scale)))
            return op("Ceil", op("Mul", doubled, self._number(graph, 0.5)))
        scaled = op("Mul", x, self._number(graph, scale))
        if rounding is Rounding.TOWARD_ZERO:
            return op("Mul", op("Floor", op("Abs", scaled)), op("Sign", scaled))
        return op("Floor" if rounding is Rounding.FLOOR else "Round", scaled)

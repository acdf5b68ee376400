"""One LIF layer in a graph: what is prepared for all steps at once, and the operators of one step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from qleaky.dynamics import ResetMechanism, ResetTiming, resets_early, resets_late
from qleaky.export import dynamics_ops as rules
from qleaky.export.carriers import Carrier
from qleaky.export.graph import Graph
from qleaky.export.numbers import Num
from qleaky.export.wires import Wire, smallest_type
from qleaky.integer import LIF
from qleaky.integer.layers import Signal

States = dict[str, str]
Clip = tuple[int, int] | None


class Names(NamedTuple):
    """Names of the values of one step that hold the membrane, the spikes and the synaptic current."""

    mem: str | None = None
    spk: str | None = None
    syn: str | None = None


class Emission(NamedTuple):
    """What a step leaves: the states that the next one takes, the membrane, and what was emitted.

    ``spk`` is what the step emits; ``record`` what :meth:`Cell.finish` makes it of for all steps at once, where that is faster.
    """

    states: States
    mem: str
    spk: str
    record: str
    syn: str | None = None


class Cell:
    """The general form of a layer, for every setting.

    ``dtype`` is the type of membranes, ``current_type`` of the prepared current, ``raw_type`` of spikes and ``record_type`` of
    what :meth:`finish` takes. ``states`` are what passes from step to step: ``mem``, ``syn`` with a synapse, and ``fired``, of
    ``fired_type``, what resets the membrane early in the next step (bool, or a count).
    """

    offset = 0
    spikes_each_step = True
    has_first = False

    def __init__(self, graph: Graph, layer: LIF, source: Signal, kind: type[Carrier], clip: Clip) -> None:
        self.layer, self.source, self.clip = layer, source, clip
        self.ops, self.dtype = kind(graph), np.dtype(kind.dtype)
        self.emitted = layer.output(source)
        self.spike_type = smallest_type(self.emitted.low, self.emitted.high)
        self.early = resets_early(layer.reset_mechanism, layer.reset_timing)
        self.late = resets_late(layer.reset_mechanism, layer.reset_timing)
        self.subtracts = layer.reset_mechanism is ResetMechanism.SUBTRACT
        self.numbers = rules.Numbers(layer)
        self.shift, self.unit, self.half = rules.units(layer, source)
        self.sums_at = layer.extra_bits(source)
        self.charge = kind(Graph()).take(Wire("", np.dtype(np.int64), source), self.shift, self.unit, self.half, clip)
        self.has_synapse = layer.synapse is not None
        counted = self.dtype if layer.max_spikes > 1 else np.dtype(np.bool_)
        self.raw_type = counted if layer.graded is None else graded_type(self.emitted)
        self.record_type = self.raw_type
        self.current_type, self.fired_type = self.dtype, counted

    def prepare(self, graph: Graph, wire: Wire) -> tuple[str, ...]:
        """What a step needs of the current, for any number of steps at once: aligned, and with the rounding's half."""
        if wire.charged:
            return (wire.name,)
        return (self.ops.on(graph).take(wire, self.shift, self.unit, self.half, self.clip).name,)

    def fuses(self, reach: int) -> bool:
        """Whether a convolution whose partial sums stay within ``reach`` may give the current as a step takes it."""
        shifted = (reach << (self.unit - self.shift)) + abs(self.half)
        return not self.ops.scaled and self.clip is None and shifted <= self.ops.limit

    def resume(self, graph: Graph, mem: str, syn: str | None) -> States:
        """The states from a membrane and a synaptic current of this cell's type."""
        states = {"mem": mem} | ({} if syn is None else {"syn": syn})
        return states | self._fired(self.ops.on(graph), mem) if self.early else states

    def step(self, graph: Graph, states: States, pieces: tuple[str, ...], names: Names) -> Emission:
        """One step; :func:`qleaky.reference.lif_step` has the equations."""
        ops, layer, after = self.ops.on(graph), self.layer, States()
        charge = replace(self.charge, name=pieces[0])
        if layer.synapse is not None:
            syn = rules.synapse_num(ops, layer.synapse, states["syn"])
            syn = rules.update(ops, layer.synapse, self.numbers, syn, charge, name=names.syn)
            charge, after["syn"] = rules.integrated(ops, layer, syn, self.sums_at), syn.name
        fired = states.get("fired")
        kept, less = self._early_reset(ops, rules.membrane(ops, layer, states["mem"]), fired)
        charged = rules.update(ops, layer, self.numbers, kept, charge, less, None if self.late else names.mem)
        raw = rules.fires(ops, layer, self.numbers.theta, charged, names.spk if layer.graded is None else None)
        after["mem"] = self._late_reset(ops, charged, raw, fired, names.mem) if self.late else charged.name
        if self.early:
            delayed = layer.reset_timing is ResetTiming.DELAYED
            after |= {"fired": raw} if delayed else self._fired(ops, after["mem"])
        spk = raw if layer.graded is None else self._graded(ops, raw, names.spk)
        return Emission(after, after["mem"], spk, spk, after.get("syn"))

    def emit(self, graph: Graph, spk: str) -> Wire:
        """What one step emitted as the next layers take it."""
        return Wire(graph.cast(spk, self.spike_type), self.spike_type, self.emitted)

    def finish(self, graph: Graph, record: str) -> Wire:
        """What was recorded of all steps, as the next layers take it."""
        return self.emit(graph, record)

    def first(self, graph: Graph, pieces: tuple[str, ...], names: Names) -> Emission | None:
        """The step from a membrane of zero, where that is a shorter one."""
        return None

    def _fired(self, ops: Carrier, mem: str) -> States:
        """R of the next step, from the membrane."""
        return {"fired": rules.fires(ops, self.layer, self.numbers.theta, rules.membrane(ops, self.layer, mem), None)}

    def _early_reset(self, ops: Carrier, mem: Num, fired: str | None) -> tuple[Num, Num | None]:
        """What is left of the old membrane, and what is taken off the sum."""
        if fired is None:
            return mem, None
        if self.subtracts:
            return mem, self._thetas(ops, fired, self.sums_at)
        return ops.where(fired, ops.number(0), mem), None

    def _thetas(self, ops: Carrier, fired: str, unit: int = 0) -> Num:
        """theta as often as the neuron fired."""
        theta = ops.constant(self.numbers.moved(self.numbers.theta, unit), unit)
        if self.layer.max_spikes == 1:
            return ops.where(fired, theta, ops.number(0, unit))
        return ops.mul(Num(fired, 0, self.layer.max_spikes), theta)

    def _late_reset(self, ops: Carrier, charged: Num, spikes: str, fired: str | None, name: str | None) -> str:
        """U = V - (S - R) * (theta or V), with R = 0 for a same-step reset."""
        if not self.subtracts and fired is None:
            return ops.graph.op("Where", spikes, ops.number(0).name, charged.name, name=name)
        down = self._thetas(ops, spikes) if self.subtracts else ops.where(spikes, charged, ops.number(0))
        rest = ops.sub(charged, down, None if fired else name)
        if fired is None:
            return rest.name
        back = self._thetas(ops, fired) if self.subtracts else ops.where(fired, charged, ops.number(0))
        return ops.add(rest, back, name).name

    def _graded(self, ops: Carrier, raw: str, name: str | None) -> str:
        """Spikes, or their count, times ``graded``."""
        dtype = self.raw_type
        graded = ops.graph.constant(self.numbers.graded, dtype)
        if self.layer.max_spikes > 1:
            return ops.graph.op("Mul", ops.graph.cast(raw, dtype), graded, name=name)
        return ops.graph.op("Where", raw, graded, ops.graph.constant(0, dtype), name=name)


def graded_type(emitted: Signal) -> np.dtype[Any]:
    """In which graded spikes are made: int32 where it holds them."""
    return np.dtype(np.int32 if max(-emitted.low, emitted.high) < 1 << 31 else np.int64)

"""Layers that run step by step together: what they read, the states they keep, and one step of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from qleaky.export.cells import Cell, Names
from qleaky.export.graph import Graph
from qleaky.export.wires import Wire
from qleaky.integer.layers import Delay

LIFLike = Any


class Arithmetic(Protocol):
    """What a block asks of the network's layers; see :class:`~qleaky.export.arithmetic.IntegerArithmetic`."""

    def shape(self, name: str) -> tuple[int, ...]: ...  # noqa: D102
    def apply(self, graph: Graph, layer: Any, xs: list[Wire]) -> Wire: ...  # noqa: D102
    def cell(self, layer: LIFLike) -> Cell: ...  # noqa: D102
    def delay_type(self, layer: Delay) -> np.dtype[Any]: ...  # noqa: D102
    def delayed(self, layer: Delay, value: str) -> Wire: ...  # noqa: D102
    def convert(self, graph: Graph, wire: Wire, dtype: Any) -> str: ...  # noqa: D102


class State(NamedTuple):
    """A state that passes from step to step: its layer, kind (``mem``, ``syn`` or ``state``) and type."""

    layer: str
    kind: str
    dtype: np.dtype[Any]


Values = dict[tuple[str, str], str]


@dataclass
class Step:
    """What one step leaves: all loop states, what layers emit, and per layer and kind the values to record."""

    states: Values
    wires: dict[str, Wire]
    records: Values = field(default_factory=dict)


class Block:
    """``layers`` in the order of execution; ``is_lif`` tells those with a membrane."""

    def __init__(self, arithmetic: Arithmetic, layers: tuple[Any, ...], lifs: frozenset[str]) -> None:
        self.arithmetic, self.layers, self.lifs = arithmetic, layers, lifs
        self.names = frozenset(layer.name for layer in layers)

    @property
    def states(self) -> list[State]:
        """The states in their canonical form: membranes, synaptic currents, and what delays hold."""
        found = []
        for layer in self.layers:
            if layer.name in self.lifs:
                cell = self.arithmetic.cell(layer)
                found.append(State(layer.name, "mem", cell.dtype))
                if cell.has_synapse:
                    found.append(State(layer.name, "syn", cell.dtype))
            elif isinstance(layer, Delay):
                found.append(State(layer.name, "state", self.arithmetic.delay_type(layer)))
        return found

    def enter(self, graph: Graph, wires: dict[str, Wire]) -> dict[tuple[str, str], tuple[Wire, ...]]:
        """What it reads from outside, for any number of steps at once: currents prepared for LIF layers, else the wires."""
        entered: dict[tuple[str, str], tuple[Wire, ...]] = {}
        for layer in self.layers:
            for source in layer.inputs:
                if source in self.names:
                    continue
                if layer.name in self.lifs:
                    cell = self.arithmetic.cell(layer)
                    names = cell.prepare(graph, wires[source])
                    entered[source, layer.name] = tuple(Wire(name, cell.current_type, wires[source].signal) for name in names)
                else:
                    entered[source, ""] = (wires[source],)
        return entered

    def resume(self, graph: Graph, values: Values) -> Values:
        """The loop's states from canonical ones."""
        states: Values = {}
        for layer in self.layers:
            if layer.name in self.lifs and (layer.name, "mem") in values:
                mem, syn = values[layer.name, "mem"], values.get((layer.name, "syn"))
                states |= {(layer.name, kind): v for kind, v in self.arithmetic.cell(layer).resume(graph, mem, syn).items()}
            elif isinstance(layer, Delay):
                states[layer.name, "state"] = values[layer.name, "state"]
        return states

    def step(self, graph: Graph, states: Values, entered: dict[tuple[str, str], tuple[Wire, ...]], suffix: str) -> Step:
        """One step of all layers; its values are ``<layer>/<kind><suffix>``. A layer without a state starts from zero."""
        step = Step({}, {source: wires[0] for (source, reader), wires in entered.items() if not reader})
        for layer in self.layers:
            if isinstance(layer, Delay):
                step.wires[layer.name] = self.arithmetic.delayed(layer, states[layer.name, "state"])
            elif layer.name in self.lifs:
                self._fire(graph, layer, states, entered, step, suffix)
            else:
                step.wires[layer.name] = self.arithmetic.apply(graph, layer, [step.wires[name] for name in layer.inputs])
        for layer in self.layers:
            if isinstance(layer, Delay):
                source = step.wires[layer.input] if layer.input in step.wires else entered[layer.input, ""][0]
                step.states[layer.name, "state"] = self.arithmetic.convert(graph, source, self.arithmetic.delay_type(layer))
        return step

    def _fire(self, graph: Graph, layer: LIFLike, states: Values, entered: Any, step: Step, suffix: str) -> None:
        cell, name = self.arithmetic.cell(layer), layer.name
        if (layer.input, name) in entered:
            pieces = tuple(wire.name for wire in entered[layer.input, name])
        else:
            pieces = cell.prepare(graph, step.wires[layer.input])
        names = Names(*(f"{name}/{kind}{suffix}" for kind in ("mem", "spk", "syn")))
        mine = {kind: value for (owner, kind), value in states.items() if owner == name}
        found = cell.step(graph, mine, pieces, names) if mine else cell.first(graph, pieces, names)
        assert found is not None
        step.states |= {(name, kind): value for kind, value in found.states.items()}
        step.records |= {(name, "mem"): found.mem, (name, "spk"): found.record, (name, "emitted"): found.spk}
        if self.reads(name):
            step.wires[name] = cell.emit(graph, found.spk)

    def loop_type(self, name: str, kind: str) -> np.dtype[Any]:
        """The type of a state of the loop: a membrane, a synaptic current, what resets next, or what a delay holds."""
        layer = next(layer for layer in self.layers if layer.name == name)
        if isinstance(layer, Delay):
            return self.arithmetic.delay_type(layer)
        cell = self.arithmetic.cell(layer)
        return cell.fired_type if kind == "fired" else cell.dtype

    def starts_short(self, name: str) -> bool:
        """Whether a layer has a step of its own from a membrane of zero."""
        return name in self.lifs and self.arithmetic.cell(next(la for la in self.layers if la.name == name)).has_first

    def reads(self, name: str) -> bool:
        """Whether a layer of the block takes what ``name`` emits."""
        return any(name in layer.inputs for layer in self.layers)

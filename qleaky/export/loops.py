"""How a block of layers runs over the time steps: written out step by step, or once as the body of a Scan."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

import numpy as np
from onnx import TensorProto, helper

from qleaky.export.block import Block, State, Step, Values
from qleaky.export.graph import BATCH, KINDS, Graph, Shape, typed
from qleaky.export.wires import Wire

Entered = dict[tuple[str, str], tuple[Wire, ...]]


class Ran(NamedTuple):
    """The canonical states after the last step, and recorded values of all steps: (T * B, ...) tensors."""

    final: Values
    records: Values
    wires: dict[str, Wire]


class Loop(Protocol):
    """Runs blocks over time in one graph."""

    graph: Graph

    def run(self, block: Block, entered: Entered, moving: frozenset[str], wanted: set[tuple[str, str]]) -> Ran:
        """All steps of a block. ``moving`` names the sources that have a value for each step; ``wanted`` is recorded.

        A wanted kind is ``mem``, ``spk``, ``syn`` or, for a layer without a membrane, ``out``.
        """

    def stacked(self, value: str, shape: tuple[int, ...]) -> str:
        """(T * B, *shape) -> (T, B, *shape)."""

    def merged(self, value: str, shape: tuple[int, ...]) -> str:
        """(T, B, *shape) -> (T * B, *shape)."""

    def repeated(self, value: str, rank: int) -> str:
        """(B, ...) -> (T * B, ...), the same in all steps."""


def zeros(graph: Graph, batch: str, states: list[State], shapes: dict[str, tuple[int, ...]]) -> Values:
    """States before the first step, for ``batch`` (a tensor that holds one number) samples."""
    made: dict[Any, str] = {}
    values: Values = {}
    for state in states:
        key = shapes[state.layer], state.dtype
        if key not in made:
            size = graph.constant(list(shapes[state.layer]), np.int64)
            target = graph.op("Concat", batch, size, axis=0) if shapes[state.layer] else batch
            zero = helper.make_tensor("", KINDS[state.dtype], [1], [0])
            made[key] = graph.op("ConstantOfShape", target, value=zero)
        values[state.layer, state.kind] = made[key]
    return values


def recorded(step: Step, wanted: set[tuple[str, str]]) -> Values:
    """The values of one step that are wanted."""
    return {key: step.records[key] if key in step.records else step.wires[key[0]].name for key in sorted(wanted)}


class Unrolled:
    """Every step written out.

    ``gathers``: steps are taken by Gather, whose shapes every runtime infers, also where the batch is a symbol; else by one
    Split, which is faster in ONNX Runtime.
    """

    def __init__(self, graph: Graph, steps: int, batch: Callable[[], str], *, gathers: bool) -> None:
        self.graph, self.steps, self.batch, self.gathers = graph, steps, batch, gathers

    def run(self, block: Block, entered: Entered, moving: frozenset[str], wanted: set[tuple[str, str]]) -> Ran:
        """As :meth:`Loop.run`."""
        graph, T = self.graph, self.steps
        pieces = {
            key: [self._pieces(block, key, wire) if key[0] in moving else [wire] * T for wire in wires]
            for key, wires in entered.items()
        }
        shapes = {state.layer: block.arithmetic.shape(state.layer) for state in block.states}
        later = [state for state in block.states if not block.starts_short(state.layer)]
        states = block.resume(graph, zeros(graph, self.batch() if later else "", later, shapes))
        kept: dict[tuple[str, str], list[str]] = {key: [] for key in sorted(wanted)}
        for t in range(T):
            step = block.step(graph, states, {key: tuple(p[t] for p in parts) for key, parts in pieces.items()}, f"/{t}")
            describe(graph, block, f"/{t}")
            states = step.states
            for key, value in recorded(step, wanted).items():
                kept[key].append(value)
        return Ran(states, {key: graph.joined(values) for key, values in kept.items()}, step.wires)

    def _pieces(self, block: Block, key: tuple[str, str], wire: Wire) -> list[Wire]:
        """The steps of a wire, one by one."""
        graph, T = self.graph, self.steps
        if T == 1 or not self.gathers:
            return [wire.at(piece) for piece in graph.split(wire.name, T)]
        stacked = self.stacked(wire.name, block.arithmetic.shape(key[0]))
        return [wire.at(graph.op("Gather", stacked, graph.constant(t, np.int64), axis=0)) for t in range(T)]

    def stacked(self, value: str, shape: tuple[int, ...]) -> str:
        """As :meth:`Loop.stacked`."""
        return self.graph.reshaped(value, self.steps, -1, *shape)

    def merged(self, value: str, shape: tuple[int, ...]) -> str:
        """As :meth:`Loop.merged`."""
        return self.graph.reshaped(value, -1, *shape)

    def repeated(self, value: str, rank: int) -> str:
        """As :meth:`Loop.repeated`."""
        return self.graph.op("Tile", value, self.graph.constant([self.steps, *[1] * (rank - 1)], np.int64))


class Scanned:
    """One step as the body of a Scan over ``time`` steps, a tensor that holds one number."""

    def __init__(self, graph: Graph, time: str, batch: Callable[[], str]) -> None:
        self.graph, self.time, self.batch = graph, time, batch

    def run(self, block: Block, entered: Entered, moving: frozenset[str], wanted: set[tuple[str, str]]) -> Ran:
        """As :meth:`Loop.run`."""
        graph, body = self.graph, self.graph.body()
        shapes = {state.layer: block.arithmetic.shape(state.layer) for state in block.states}
        initial = block.resume(graph, zeros(graph, self.batch(), block.states, shapes))
        states = {key: _add(body.proto.input, graph.name("state"), *_state(block, key)) for key in initial}
        inputs, inside = [], {}
        for key, wires in entered.items():
            inside[key] = wires
            if key[0] in moving:
                inputs += [self._per_step(block, key, wire.name) for wire in wires]
                shape: Shape = (BATCH, *block.arithmetic.shape(key[0]))
                inside[key] = tuple(wire.at(_add(body.proto.input, graph.name("piece"), wire.dtype, shape)) for wire in wires)
        if not inputs:  # nothing changes with time: the clock alone
            inputs = [graph.op("ConstantOfShape", self.time, value=helper.make_tensor("", TensorProto.UINT8, [1], [0]))]
            _add(body.proto.input, graph.name("piece"), np.dtype(np.uint8), ())
        step = block.step(body, states, inside, "")
        names = recorded(step, wanted)
        for key in initial:
            _add(body.proto.output, body.op("Identity", step.states[key], name=graph.name("next")), *_state(block, key))
        taken = {value.name for value in body.proto.input}
        for key, value in names.items():
            value = body.op("Identity", value) if value in taken else value
            body.proto.output.append(typed(value, *recorded_type(block, step, key)))
            taken.add(value)
        describe(body, block, "", taken)
        outputs = [graph.name("Scan") for _ in (*initial, *names)]
        graph.ops("Scan", (*initial.values(), *inputs), outputs, body=body.proto, num_scan_inputs=len(inputs))
        final = dict(zip(initial, outputs, strict=False))
        records = dict(zip(names, outputs[len(initial) :], strict=True))
        merged = {key: self.merged(value, block.arithmetic.shape(key[0])) for key, value in records.items()}
        return Ran(final, merged, step.wires)

    def _per_step(self, block: Block, key: tuple[str, str], value: str) -> str:
        return self.stacked(value, block.arithmetic.shape(key[0]))

    def stacked(self, value: str, shape: tuple[int, ...]) -> str:
        """As :meth:`Loop.stacked`."""
        rest = self.graph.constant([-1, *shape], np.int64)
        return self.graph.op("Reshape", value, self.graph.op("Concat", self.time, rest, axis=0))

    def merged(self, value: str, shape: tuple[int, ...]) -> str:
        """As :meth:`Loop.merged`."""
        return self.graph.reshaped(value, -1, *shape)

    def repeated(self, value: str, rank: int) -> str:
        """As :meth:`Loop.repeated`."""
        ones = self.graph.constant([1] * (rank - 1), np.int64)
        return self.graph.op("Tile", value, self.graph.op("Concat", self.time, ones, axis=0) if rank > 1 else self.time)


def describe(graph: Graph, block: Block, suffix: str, known: Collection[str] = ()) -> None:
    """Record type and shape of every membrane and spike of a step, so that a twin of the graph can name them."""
    for layer in block.layers:
        if layer.name in block.lifs:
            cell = block.arithmetic.cell(layer)
            shape: Shape = (BATCH, *block.arithmetic.shape(layer.name))
            kinds = [("mem", cell.dtype)]
            kinds += [("syn", cell.dtype)] if cell.has_synapse else []
            kinds += [("spk", cell.raw_type)] if cell.spikes_each_step else []
            for kind, dtype in kinds:
                if f"{layer.name}/{kind}{suffix}" not in known:
                    graph.describe(f"{layer.name}/{kind}{suffix}", dtype, shape)


def recorded_type(block: Block, step: Step, key: tuple[str, str]) -> tuple[np.dtype[Any], Shape]:
    """Type and shape of a recorded value of one step."""
    name, kind = key
    shape: Shape = (BATCH, *block.arithmetic.shape(name))
    if kind == "out":
        return step.wires[name].dtype, shape
    cell = block.arithmetic.cell(next(layer for layer in block.layers if layer.name == name))
    return cell.record_type if kind == "spk" else cell.dtype, shape


def _state(block: Block, key: tuple[str, str]) -> tuple[np.dtype[Any], Shape]:
    """Type and shape of a state."""
    return block.loop_type(*key), (BATCH, *block.arithmetic.shape(key[0]))


def _add(values: Any, name: str, dtype: np.dtype[Any], shape: Shape) -> str:
    """Add an input or output of a body; ONNX would infer its type, but not every runtime does."""
    values.append(typed(name, dtype, shape))
    return name

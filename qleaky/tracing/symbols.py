"""What the tensors of a trace stand for: a node of the step graph, at one step or over the whole sequence."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from qleaky.tracing.events import Event, Ref
from qleaky.tracing.nodes import Node, Nodes
from qleaky.tracing.problems import Problems

MAX_DELAY = 64
_SHAPES_ONLY = {"zeros_like", "new_zeros", "empty_like", "new_empty"}
_FIRST_ONLY = {"type_as", "view_as", "reshape_as", "expand_as"}


class Layout(Enum):
    """The axes before those of a sample: (B,), (1, B), (T, B) or (B, T), or both merged to (T*B,) or (B*T,)."""

    STEP = 1
    SINGLE = 2
    SEQUENCE = 3
    MERGED = 4
    BATCH_FIRST = 5
    MERGED_BATCH_FIRST = 6

    @property
    def axes(self) -> int:
        """How many they are."""
        return 2 if self in (Layout.SINGLE, Layout.SEQUENCE, Layout.BATCH_FIRST) else 1

    @property
    def time_axis(self) -> int | None:
        """Where time is, in a layout that holds all steps on an axis of their own."""
        return {Layout.SEQUENCE: 0, Layout.BATCH_FIRST: 1}.get(self)


BATCHES = (Layout.STEP, Layout.SINGLE, Layout.SEQUENCE)


@dataclass(frozen=True)
class Symbol:
    """A node, in a layout; at step ``t``, or with t = None the same in all steps (or one for each, in a sequence)."""

    node: Node
    layout: Layout = Layout.STEP
    t: int | None = None

    @property
    def moves(self) -> bool:
        """Whether it belongs to one step, or holds one value for each."""
        return self.t is not None or self.layout not in (Layout.STEP, Layout.SINGLE)


class Unsupported(Exception):  # noqa: N818  caught inside tracing, never shown
    """A tensor that stands for nothing a step graph holds; the reason is among the problems."""


Handler = Callable[["Symbols", Event], "Symbol | list[Symbol]"]


class Symbols:
    """Finds what tensors stand for, on demand: what is never asked for need not be understood."""

    def __init__(
        self, nodes: Nodes, events: Sequence[Event], batch: int, num_steps: int | None, table: dict[str, Handler]
    ) -> None:
        self.nodes = nodes
        self.batch = batch
        self.num_steps = num_steps
        self.problems = Problems()
        self.formats: dict[str, Any] = {}
        self._table = table
        self._producers = {number: (event, i) for event in events for i, number in enumerate(event.outputs)}
        self._known: dict[int, Symbol | None] = {}

    def set(self, number: int, symbol: Symbol) -> None:
        """State what a tensor stands for."""
        self._known[number] = symbol

    def of(self, ref: Ref | int) -> Symbol:
        """What a tensor stands for.

        Raises:
            Unsupported: nothing that a step graph holds.
        """
        number = ref.number if isinstance(ref, Ref) else ref
        if number not in self._known and number in self._producers:
            self._understand(number)
        symbol = self._known.get(number)  # none for an argument that nothing reads
        if symbol is None:
            raise Unsupported
        return symbol

    def _understand(self, number: int) -> None:
        """Find the symbol of a tensor, those that it is made from first: chains of sums may be longer than Python's stack."""
        pending = [number]
        while pending:
            event, _ = self._producers[pending[-1]]
            missing = [n for n in self._asked(event) if n not in self._known]
            if pending[-1] in self._known:
                pending.pop()
            elif missing:
                pending.extend(missing)
            else:
                self._set_outputs(event)

    def _asked(self, event: Event) -> list[int]:
        """The tensors that the result of an event depends on, but for those that forward made of nothing."""
        if event.name in _SHAPES_ONLY:
            return []
        refs = event.refs[:1] if event.name in _FIRST_ONLY else event.refs
        return [ref.number for ref in refs if ref.constant is None]

    def is_batch(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape is one of a batch, or of a sequence of them."""
        return any(shape[: layout.axes] == self.lead(layout) for layout in BATCHES)

    def _set_outputs(self, event: Event) -> None:
        self._known.update(dict.fromkeys(event.outputs))  # None, for what cannot be understood
        with contextlib.suppress(Unsupported):
            handler = self._table.get(event.name if event.module is None else "layer", self._table["unknown"])
            result = handler(self, event)
            results = result if isinstance(result, list) else [result]
            for output, shape, symbol in zip(event.outputs, event.shapes, results, strict=False):
                if shape != (*self.lead(symbol.layout), *symbol.node.shape):
                    raise self.refuse(event, f"{event.name} gives {shape}, which is no batch or sequence of such batches.")
                self._known[output] = symbol

    def refuse(self, event: Event, reason: str) -> Unsupported:
        """Note a problem at an event; raise what this returns."""
        self.problems.add(f"{event.where}: {reason}")
        return Unsupported()

    def all_of(self, values: Sequence[Any], event: Event) -> list[Symbol]:
        """What several tensors stand for; every one that cannot be understood is noted before any is given up."""
        found, failed = [], False
        for value in values:
            if not isinstance(value, Ref):
                self.refuse(event, f"{event.name} takes a constant tensor among its data; add or multiply constants instead.")
                failed = True
                continue
            try:
                found.append(self.of(value))
            except Unsupported:
                failed = True
        if failed:
            raise Unsupported
        return found

    def lead(self, layout: Layout) -> tuple[int, ...]:
        """The sizes of a layout's leading axes."""
        steps = self.num_steps or 1
        sizes = {
            Layout.STEP: (self.batch,),
            Layout.SINGLE: (1, self.batch),
            Layout.SEQUENCE: (steps, self.batch),
            Layout.MERGED: (steps * self.batch,),
            Layout.BATCH_FIRST: (self.batch, steps),
            Layout.MERGED_BATCH_FIRST: (self.batch * steps,),
        }
        return sizes[layout]

    def node(
        self, event: Event, kind: str, symbols: Sequence[Symbol], shape: tuple[int, ...], constants: Any = (), **attributes: Any
    ) -> Symbol:
        """The result of a computation on one or several symbols, at the step of the latest."""
        if event.dtype not in (torch.float32, torch.float64):
            raise self.refuse(
                event, f"{event.name} computes in {event.dtype}; leave autocast out of forward, and call net.float()."
            )
        layout, t, inputs = self.aligned(event, symbols)
        made = self.nodes.make(
            kind, *inputs, shape=shape, constants=constants, path=event.path, where=str(event.line), **attributes
        )
        return Symbol(made, layout, t)

    def aligned(self, event: Event, symbols: Sequence[Symbol]) -> tuple[Layout, int | None, list[Node]]:
        """The common layout and step of symbols, and their nodes; what is from an earlier step is delayed."""
        moving = [s for s in symbols if s.moves]
        layouts = {s.layout for s in moving} or {s.layout for s in symbols}
        if len(layouts) > 1:
            raise self.refuse(event, f"{event.name} mixes one time step with a whole sequence; index the sequence, x[t].")
        layout = layouts.pop()
        steps = [s.t for s in moving if s.t is not None]
        latest = max(steps) if steps else None
        if latest is not None and latest - min(steps) > MAX_DELAY:
            raise self.refuse(event, self.accumulates(event))
        nodes = [s.node if s.t is None or latest is None else self.nodes.delayed(s.node, latest - s.t) for s in symbols]
        return layout, latest, nodes

    def accumulates(self, event: Event) -> str:
        """Why a value that depends on all earlier steps has no place."""
        return (
            f"{event.name} uses values of more than {MAX_DELAY} steps before; only Leaky layers keep a state over time, "
            f"and what "
            f"is summed up over time is a readout."
        )

    def sample_shape(self, event: Event, symbol: Symbol) -> tuple[int, ...]:
        """The per-sample shape of an event's first output, which keeps the leading axes of ``symbol``."""
        lead = self.lead(symbol.layout)
        shape = event.shapes[0]
        if shape[: len(lead)] != lead:
            raise self.refuse(event, f"{event.name} changes the batch axis: from {lead} to {shape[: len(lead)]}.")
        return shape[len(lead) :]

    def relaid(self, event: Event, symbol: Symbol, shape: tuple[int, ...]) -> Symbol:
        """``symbol`` reshaped to ``shape``, its leading axes included: time and batch may be merged, split and lifted."""
        for layout in _REACHABLE[symbol.layout]:
            if layout is Layout.SEQUENCE and symbol.layout is Layout.SINGLE:
                continue
            lead = self.lead(layout)
            sample = shape[len(lead) :]
            if shape[: len(lead)] == lead and math.prod(sample) == math.prod(symbol.node.shape):
                moved = replace(symbol, layout=layout)
                return moved if sample == symbol.node.shape else self.node(event, "reshape", [moved], sample)
        raise self.refuse(event, f"{event.name} to {shape} mixes the batch (or time) axis with those of a sample.")


_REACHABLE = {
    Layout.STEP: (Layout.STEP, Layout.SINGLE),
    Layout.SINGLE: (Layout.SINGLE, Layout.STEP),
    Layout.SEQUENCE: (Layout.SEQUENCE, Layout.MERGED),
    Layout.MERGED: (Layout.MERGED, Layout.SEQUENCE),
    Layout.BATCH_FIRST: (Layout.BATCH_FIRST, Layout.MERGED_BATCH_FIRST),
    Layout.MERGED_BATCH_FIRST: (Layout.BATCH_FIRST, Layout.MERGED_BATCH_FIRST),  # (B*T, ...) is (B, ...) where T is 1
}


def constant(value: Any) -> Tensor | None:
    """A Python number, or a tensor that depends on no input and no state, as a tensor; None for anything else."""
    if isinstance(value, Ref):
        value = value.constant
    if isinstance(value, (int, float)):
        return torch.tensor(float(value), dtype=torch.float64)
    if not isinstance(value, Tensor) or value.is_complex():
        return None
    return value if value.is_floating_point() else value.double()

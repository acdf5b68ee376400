"""What forward returns, as far as it is a readout: spikes, their sum, membranes, their sum, or the last membrane."""

from __future__ import annotations

from collections.abc import Iterator

from qleaky.tracing.events import Event, Ref, Trace
from qleaky.tracing.graph import Mode, Returned
from qleaky.tracing.symbols import Layout, Symbol, Symbols, Unsupported

_SUMS = {"add", "__add__", "__radd__", "__iadd__"}
_SHARES = {"div", "__truediv__", "true_divide", "divide", "__itruediv__"}
_STARTS = {"zeros", "zeros_like", "new_zeros"}
_SUMMED = {"spikes": "spike_count", "membrane": "membrane_mean"}


class Results:
    """Says what returned tensors are."""

    def __init__(self, trace: Trace, symbols: Symbols, mode: Mode, steps: int) -> None:
        self.trace, self.symbols, self.mode, self.steps = trace, symbols, mode, steps
        self._producers: dict[int, Event] = {number: event for event in trace.events for number in event.outputs}

    def all(self) -> tuple[Returned | None, ...]:
        """For every returned tensor what it is, None for what no readout is."""
        return tuple(self._what(number) for number in self.trace.returned)

    def computed(self) -> tuple[str, ...]:
        """For every returned tensor that no readout is, by which function it was made, and where."""
        unread = [n for n in self.trace.returned if n >= 0 and self._what(n) is None and self._is_made(n)]
        return tuple(f"{self._producers[n].function or self._producers[n].name} at {self._producers[n].where}" for n in unread)

    def _is_made(self, number: int) -> bool:
        """Whether a function made it, of what neurons give: no argument, no membrane of one step."""
        return number in self._producers and self._producers[number].module is None

    def _what(self, number: int) -> Returned | None:
        if number < 0:
            return None
        return self._running_sum(number) or self._symbol(number)

    def _symbol(self, number: int) -> Returned | None:
        try:
            symbol = self.symbols.of(number)
        except Unsupported:
            return None
        node = symbol.node
        if node.kind in ("time_sum", "time_mean"):
            kind = _SUMMED.get(node.inputs[0].kind)
            return Returned(node.inputs[0]["chain"], kind) if kind else None
        whole, step = symbol.layout.time_axis is not None, symbol.layout is Layout.STEP
        if node.kind == "spikes" and (whole or (step and self.mode == "step")):
            return Returned(node["chain"], "spikes")
        if node.kind == "membrane" and step and symbol.t == self.steps - 1:
            return Returned(node["chain"], "last_membrane")
        return Returned(node["chain"], "membranes") if node.kind == "membrane" and whole else None

    def _running_sum(self, number: int) -> Returned | None:
        """A sum that was built up step by step: total = total + spk; perhaps divided by the number of steps in the end."""
        event = self._producers.get(number)
        if self.mode == "step" or event is None:
            return None
        mean = event.name in _SHARES and event.argument(1, "other") == self.steps
        terms = list(self._terms(event.refs[0].number if mean else number))
        nodes = {symbol.node for symbol in terms if symbol is not None}
        if len(terms) < 2 or None in terms or len(nodes) != 1:
            return None
        node = nodes.pop()
        steps = sorted(
            -1 if symbol is None or symbol.t is None or symbol.layout is not Layout.STEP else symbol.t for symbol in terms
        )
        if node.kind not in _SUMMED or steps != list(range(self.steps)):
            return None
        return Returned(node["chain"], _SUMMED[node.kind])

    def _terms(self, number: int) -> Iterator[Symbol | None]:
        """The terms of a nested sum but for zeros; None for what is none."""
        pending = [number]
        while pending:
            term = pending.pop()
            event = self._producers.get(term)
            if event is not None and event.module is None and event.name in _SUMS and not event.kwargs:
                pending += [value.number for value in event.args if isinstance(value, Ref)]
                if any(not isinstance(value, Ref) and value not in (0, 0.0) for value in event.args):
                    yield None
            elif event is None or event.module is not None or event.name not in _STARTS:
                yield self._known(term)

    def _known(self, number: int) -> Symbol | None:
        try:
            return self.symbols.of(number)
        except Unsupported:
            return None

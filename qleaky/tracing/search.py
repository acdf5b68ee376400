"""``step_graph``: how a network's forward is meant to be called, and what a step of it does at every batch size."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.errors import LoweringError
from qleaky.tracing.chains import OneStepOfASequence
from qleaky.tracing.graph import Mode, StepGraph
from qleaky.tracing.nodes import Nodes
from qleaky.tracing.problems import CannotLowerError
from qleaky.tracing.recorder import check_sample, trace, turned
from qleaky.tracing.rolling import roll
from qleaky.tracing.shape_operations import takes_axis_1


def step_graph(
    net: nn.Module, sample: Any, num_steps: int | None, time: str | None = None, declared: Collection[str] = ()
) -> StepGraph:
    """The step graph of a network, the same at two batch sizes.

    Args:
        net: the user's network; it is not changed.
        sample: what forward takes: a tensor, or a tuple of all its arguments.
        num_steps: T where forward computes one step; None where it runs all of them.
        time: "static" where the first argument is one input for all steps, "sequence" where it is (T, B, ...); None finds out.
        declared: names of arguments that are inputs for certain.

    Raises:
        LoweringError: with everything that has no place in a step graph, or a forward that fails or depends on the batch.
        InputError: an empty or non-finite sample.
    """
    arguments = tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)
    check_sample(arguments)
    search = _Search(net, arguments, declared)
    if num_steps is not None:
        return search.with_steps(num_steps)
    return search.rolled("static") if time == "static" else search.without_steps()


STATIC: tuple[Mode, bool] = ("static", False)
SEQUENCES: tuple[tuple[Mode, bool], ...] = (("sequence", False), ("sequence", True))
"""How forward may take all steps: mode, and whether the batch comes first."""


class _Search:
    def __init__(self, net: nn.Module, arguments: tuple[Any, ...], declared: Collection[str]) -> None:
        self.net, self.arguments, self.declared = net, arguments, declared
        self.traces: dict[tuple[Any, ...], Any] = {}

    def with_steps(self, num_steps: int) -> StepGraph:
        """Forward is one step; or, where every layer makes ``num_steps`` of them in it, it loops by itself."""
        try:
            return self.rolled("step")
        except LoweringError as error:
            if (found := self._with_states_left_out() or self._by_itself(num_steps)) is not None:
                return found
            hint = self._left_out()
            if hint and isinstance(error, CannotLowerError):
                raise CannotLowerError((*error.problems, hint)) from None
            raise

    def _by_itself(self, num_steps: int) -> StepGraph | None:
        """The graph of a forward that runs all steps in one call.

        Raises:
            LoweringError: it runs another number of them.
        """
        counts = []
        for mode, batch_first in (STATIC, *SEQUENCES) if num_steps > 1 else ():
            with contextlib.suppress(LoweringError, OneStepOfASequence):
                graph = self.rolled(mode, batch_first)
                if graph.num_steps == num_steps:
                    return graph
                counts.append(graph.num_steps)
        if counts:
            raise LoweringError(
                f"forward runs {counts[0]} steps by itself on sample_input, but num_steps={num_steps}. Leave it out, or pass "
                f"a sample of {num_steps} steps."
            )
        return None

    def _parameters(self) -> list[inspect.Parameter]:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [p for p in inspect.signature(self.net.forward).parameters.values() if p.kind in positional]

    def _optional(self) -> list[str]:
        """The states that forward makes itself unless they are passed: arguments that are None by default."""
        given = itertools.chain(self.arguments, itertools.repeat(None))
        return [p.name for p, value in zip(self._parameters(), given, strict=False) if value is None and p.default is None]

    def _with_states_left_out(self) -> StepGraph | None:
        """The graph of a step network that was given no states, with empty membranes for those that it may take."""
        names, given = self._optional(), self.arguments
        parameters = self._parameters()[len(given) :]
        if not names or any(p.default is inspect.Parameter.empty for p in parameters):
            return None
        values = (*given, *(p.default for p in parameters))
        self.arguments = tuple(torch.zeros(0) if value is None else value for value in values)
        with contextlib.suppress(LoweringError):
            return self.rolled("step")
        self.arguments = given
        return None

    def _left_out(self) -> str:
        names = ", ".join(self._optional())
        return f"forward takes {names} too; pass the states of one sample for them: sample_input=(x, {names})." if names else ""

    def without_steps(self) -> StepGraph:
        """Forward takes a whole sequence, time or batch first, or loops over one input."""
        found: dict[tuple[Mode, bool], LoweringError] = {}
        for mode, batch_first in (SEQUENCES[0], STATIC, SEQUENCES[1]):
            try:
                return self.rolled(mode, batch_first)
            except OneStepOfASequence:
                continue
            except LoweringError as error:
                found[mode, batch_first] = error
        raise self._most_telling(found) from None

    def _most_telling(self, errors: dict[tuple[Mode, bool], LoweringError]) -> LoweringError:
        """The error of the reading in which forward is meant: batch first where it takes axis 1 and less stands in the way."""
        time_first, batch_first = (errors.get(reading) for reading in SEQUENCES)
        if time_first is None or not self._takes_steps():
            return errors[STATIC]
        turns = any(takes_axis_1(event) for event in next(iter(self.traces.values())).events)
        if turns and isinstance(time_first, CannotLowerError) and isinstance(batch_first, CannotLowerError):
            return min(batch_first, time_first, key=lambda error: len(error.problems))
        return time_first

    def rolled(self, mode: Mode, batch_first: bool = False) -> StepGraph:
        """The step graph in one mode, compared with that of other values and twice the batch."""
        arguments, nodes = self.arguments, Nodes()
        if mode == "sequence" and arguments[0].ndim < 2:
            raise LoweringError(f"sample_input has shape {tuple(arguments[0].shape)}; a whole sequence is (T, B, ...).")
        if batch_first:
            arguments = turned(arguments)
        while _misleads(arguments, mode):
            arguments = _doubled(arguments, mode)
        graph = roll(self._trace(arguments, batch_first), nodes, mode, self.declared)
        _check_static(graph, mode)
        batch = _batch(arguments, mode)
        try:
            others = _doubled(_varied(arguments, graph), mode)
            other = roll(self._trace(others, batch_first), nodes, mode, self.declared)
        except LoweringError as error:
            raise LoweringError(f"forward works for a batch of {batch}, but not for one of {2 * batch}: {error}") from error
        if other.skeleton() != graph.skeleton():
            raise LoweringError(
                f"forward does something else for other values, or for a batch of {2 * batch} than for one of {batch}; it "
                f"must do "
                f"the same for all. (sample_input has shape {tuple(arguments[0].shape)}.)"
            )
        return graph

    def _takes_steps(self) -> bool:
        """Whether forward takes data apart, or runs whole sequences: then its argument is one."""
        events = next(iter(self.traces.values())).events if self.traces else ()
        return any(event.name in ("sequence", "__getitem__", "select", "unbind", "split", "chunk") for event in events)

    def _trace(self, arguments: Sequence[Any], batch_first: bool) -> Any:
        given = ((tuple(a.shape), a.dtype, a.sum().item()) if isinstance(a, Tensor) else repr(a) for a in arguments)
        key = (batch_first, *given)
        if key not in self.traces:
            self.traces[key] = trace(self.net, tuple(arguments), batch_first)
        return self.traces[key]


def _misleads(arguments: tuple[Any, ...], mode: Mode) -> bool:
    """Whether the batch axis, once or twice that long, looks like none, or like that of time."""
    batch = _batch(arguments, mode)
    return batch == 1 or (mode == "sequence" and int(arguments[0].shape[0]) in (batch, 2 * batch))


def _varied(arguments: tuple[Any, ...], graph: StepGraph) -> tuple[Any, ...]:
    """Other values for all inputs: what forward computes of them must not become a constant. Bits stay bits."""
    positions = {each.position for each in graph.inputs}
    return tuple(_flipped(a) if i in positions else a for i, a in enumerate(arguments))


def _flipped(values: Tensor) -> Tensor:
    return 1 - values if values.is_floating_point() else (values == 0).to(values.dtype)


def _check_static(graph: StepGraph, mode: Mode) -> None:
    if mode == "static" and graph.num_steps == 1:
        name, path = graph.neurons[0].name, graph.neurons[0].path
        raise CannotLowerError(
            (
                f"layer {name!r} computes one step, but num_steps is not given. Pass num_steps=T and one step's input, or call "
                f"{path}.sequence on the whole sequence.",
            )
        )


def _axis(position: int, argument: Tensor, first: Tensor, mode: Mode) -> int:
    """The batch axis of an argument."""
    if mode != "sequence":
        return 0
    return 1 if position == 0 or tuple(argument.shape[:2]) == tuple(first.shape[:2]) else 0


def _batch(arguments: tuple[Any, ...], mode: Mode) -> int:
    first: Tensor = arguments[0]
    return int(first.shape[_axis(0, first, first, mode)])


def _doubled(arguments: tuple[Any, ...], mode: Mode) -> tuple[Any, ...]:
    """All tensors of the batch twice along their batch axis."""
    first: Tensor = arguments[0]
    batch = _batch(arguments, mode)
    doubled = []
    for position, argument in enumerate(arguments):
        axis = _axis(position, argument, first, mode) if isinstance(argument, Tensor) else 0
        fits = isinstance(argument, Tensor) and argument.ndim > axis and argument.shape[axis] == batch
        doubled.append(torch.cat([argument, argument], dim=axis) if fits else argument)
    return tuple(doubled)

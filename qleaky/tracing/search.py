"""``step_graph``: how a network's forward is meant to be called, and what a step of it does at every batch size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.errors import LoweringError
from qleaky.tracing.chains import OneStepOfASequence
from qleaky.tracing.graph import Mode, StepGraph
from qleaky.tracing.nodes import Nodes
from qleaky.tracing.problems import CannotLowerError
from qleaky.tracing.recorder import check_sample, trace
from qleaky.tracing.rolling import roll


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


class _Search:
    def __init__(self, net: nn.Module, arguments: tuple[Any, ...], declared: Collection[str]) -> None:
        self.net, self.arguments, self.declared = net, arguments, declared
        self.traces: dict[tuple[Any, ...], Any] = {}

    def with_steps(self, num_steps: int) -> StepGraph:
        """Forward is one step; or, where every layer makes ``num_steps`` of them in it, it loops by itself."""
        try:
            return self.rolled("step")
        except LoweringError:
            for mode in ("static", "sequence") if num_steps > 1 else ():
                try:
                    graph = self.rolled(mode)
                except (LoweringError, OneStepOfASequence):
                    continue
                if graph.num_steps == num_steps:
                    return graph
            raise

    def without_steps(self) -> StepGraph:
        """Forward takes a whole sequence, or loops over one input."""
        try:
            return self.rolled("sequence")
        except OneStepOfASequence:
            return self.rolled("static")
        except LoweringError as error:
            try:
                return self.rolled("static")
            except LoweringError as other:
                raise (error if self._takes_steps() else other) from None

    def rolled(self, mode: Mode) -> StepGraph:
        """The step graph in one mode, compared with that of other values and twice the batch."""
        arguments, nodes = self.arguments, Nodes()
        if mode == "sequence" and arguments[0].ndim < 2:
            raise LoweringError(f"sample_input has shape {tuple(arguments[0].shape)}; a whole sequence is (T, B, ...).")
        while self._misleads(_batch(arguments, mode), mode):
            arguments = _doubled(arguments, mode)
        graph = roll(self._trace(arguments), nodes, mode, self.declared)
        _check_static(graph, mode)
        batch = _batch(arguments, mode)
        try:
            other = roll(self._trace(_doubled(_varied(arguments, graph), mode)), nodes, mode, self.declared)
        except LoweringError as error:
            raise LoweringError(f"forward works for a batch of {batch}, but not for one of {2 * batch}: {error}") from error
        if other.skeleton() != graph.skeleton():
            raise LoweringError(
                f"forward does something else for other values, or for a batch of {2 * batch} than for one of {batch}; it "
                f"must do "
                f"the same for all. (sample_input has shape {tuple(arguments[0].shape)}.)"
            )
        return graph

    def _misleads(self, batch: int, mode: Mode) -> bool:
        """Whether the batch axis, once or twice that long, looks like none, or like that of time."""
        return batch == 1 or (mode == "sequence" and int(self.arguments[0].shape[0]) in (batch, 2 * batch))

    def _takes_steps(self) -> bool:
        """Whether forward takes data apart, or runs whole sequences: then its argument is one."""
        events = next(iter(self.traces.values())).events if self.traces else ()
        return any(event.name in ("sequence", "__getitem__", "select", "unbind", "split", "chunk") for event in events)

    def _trace(self, arguments: Sequence[Any]) -> Any:
        key = tuple((tuple(a.shape), a.dtype, a.sum().item()) if isinstance(a, Tensor) else repr(a) for a in arguments)
        if key not in self.traces:
            self.traces[key] = trace(self.net, tuple(arguments))
        return self.traces[key]


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

"""Calibration inputs: how forward takes them, their formats, and their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qleaky.calibration.input_formats import Format, on_their_grids
from qleaky.errors import InputError, LoweringError, UsageError
from qleaky.fixed import QFormat
from qleaky.tracing import StepGraph, step_graph

TRACED = 2
"""Samples that forward is traced with; tracing tells the same from any number of them."""


@dataclass(frozen=True)
class Calling:
    """How forward is called and read, as :func:`qleaky.quantize` takes it."""

    num_steps: int | None = None
    time: str | None = None
    input_format: Format | Mapping[str, Format] | None = None
    readout: str | Mapping[str, str] | None = None


@dataclass(frozen=True)
class Samples:
    """Inputs of a network by name, (T, B, ...) or, the same in all steps, (B, ...), on the grids of their formats.

    ``formats`` are None for inputs that the network quantizes itself; ``chosen`` names those whose format was chosen here.
    """

    graph: StepGraph
    num_steps: int
    values: dict[str, Tensor]
    formats: dict[str, QFormat | None]
    chosen: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """B."""
        name = next(iter(self.values))
        return int(self.values[name].shape[self._axis(name)])

    def taken(self, indices: Tensor) -> Samples:
        """Some of the samples."""
        return replace(self, values={n: v.index_select(self._axis(n), indices.to(v.device)) for n, v in self.values.items()})

    def batches(self, size: int) -> Iterator[Samples]:
        """All samples, ``size`` at a time."""
        for part in torch.arange(self.count).split(size):  # type: ignore[no-untyped-call]
            yield self.taken(part)

    def _axis(self, name: str) -> int:
        node = next(i.node for i in self.graph.inputs if i.name == name)
        return 1 if self.values[name].ndim == len(node.shape) + 2 else 0


def read_samples(net: nn.Module, arguments: tuple[Any, ...], calling: Calling) -> Samples:
    """Find out how forward takes calibration inputs, and bring them to the grids of their formats.

    Args:
        net: the float network.
        arguments: what ``lower`` takes as sample_input, of all samples; where forward is one step also (T, B, ...).
            Integers are codes of a declared format.
        calling: how forward is called.

    Raises:
        InputError: values outside of the declared format.
        LoweringError: forward does not run on them.
    """
    like = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    numbers = tuple(a.to(like) if isinstance(a, Tensor) and not a.is_floating_point() else a for a in arguments)
    graph, steps, values = _placed(net, numbers, calling.num_steps, calling.time)
    coded = {i.name for i in graph.inputs if not arguments[i.position].is_floating_point()}
    rounded, used, chosen = on_their_grids(graph, values, calling.input_format, coded)
    return Samples(graph, steps, rounded, used, chosen)


def arguments_of(inputs: Any) -> tuple[Any, ...]:
    """All arguments of forward, checked.

    Raises:
        InputError: no samples, or numbers that are not finite.
    """
    arguments = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    _check(arguments)
    return arguments


def _check(arguments: tuple[Any, ...]) -> None:
    first = arguments[0] if arguments else None
    if not isinstance(first, Tensor) or first.ndim < 1:
        raise InputError(
            f"calibration_inputs: the first argument is a {type(first).__name__}; pass a tensor of samples as net.forward "
            f"takes them, (T, B, ...) or (B, ...), or a tuple of all its arguments."
        )
    if 0 in first.shape:
        raise InputError(
            f"calibration_inputs have shape {tuple(first.shape)}, so there is nothing to choose formats from; pass at least "
            f"one sample, better a few hundred of the training set."
        )
    for position, argument in enumerate(arguments):
        if isinstance(argument, Tensor) and argument.is_floating_point() and not bool(argument.isfinite().all()):
            wrong = int((~argument.isfinite()).sum())
            raise InputError(
                f"calibration_inputs: argument {position} holds {wrong} numbers that are NaN or infinite; remove or repair the "
                f"samples with missing values."
            )


def _placed(
    net: nn.Module, arguments: tuple[Any, ...], num_steps: int | None, time: str | None
) -> tuple[StepGraph, int, dict[str, Tensor]]:
    """How forward is called, T, and its inputs by name, time first."""
    if num_steps is None:
        return _whole(net, arguments, time)
    first = arguments[0]
    if time != "static" and first.ndim > 2 and len(first) == num_steps:
        sample = tuple(_one_step(a, first) for a in arguments)
        graph = _traced(net, sample, num_steps)
        if graph is not None and graph.call.mode == "step":
            return graph, num_steps, {i.name: arguments[i.position] for i in graph.inputs}
    graph = _traced(net, _few(arguments, 0), num_steps)
    if graph is not None and graph.call.mode == "step" and time == "sequence":
        raise UsageError(
            f"time='sequence', but calibration_inputs of shape {tuple(first.shape)} are not {num_steps} steps; pass "
            f"(T, B, ...) with T = num_steps."
        )
    if graph is not None and graph.call.mode == "step":
        return graph, num_steps, {i.name: arguments[i.position] for i in graph.inputs}
    return _whole(net, arguments, None, num_steps)


def _whole(
    net: nn.Module, arguments: tuple[Any, ...], time: str | None, num_steps: int | None = None
) -> tuple[StepGraph, int, dict[str, Tensor]]:
    """Forward takes whole sequences, time or batch first, or one input for all steps."""
    for axis in (1, 0) if arguments[0].ndim > 1 else (0,):
        graph = _traced(net, _few(arguments, axis), num_steps, time)
        if graph is not None and _batch_axis(graph) == axis:
            return graph, graph.num_steps or 1, _time_first(graph, arguments)
    graph = step_graph(net, arguments, num_steps, time)  # its error says what is wrong; or the small sample misled
    if graph.call.mode == "step":
        return graph, num_steps or 1, {i.name: arguments[i.position] for i in graph.inputs}
    return graph, graph.num_steps or 1, _time_first(graph, arguments)


def _traced(net: nn.Module, sample: tuple[Any, ...], num_steps: int | None, time: str | None = None) -> StepGraph | None:
    try:
        return step_graph(net, sample, num_steps, time)
    except (LoweringError, InputError):
        return None


def _batch_axis(graph: StepGraph) -> int:
    return 1 if graph.call.mode == "sequence" and not graph.call.batch_first else 0


def _time_first(graph: StepGraph, arguments: tuple[Any, ...]) -> dict[str, Tensor]:
    """The inputs by name; sequences (B, T, ...) turned."""
    values = {}
    for each in graph.inputs:
        value = arguments[each.position]
        moving = value.ndim == len(each.node.shape) + 2
        values[each.name] = value.transpose(0, 1) if moving and graph.call.batch_first else value
    return values


def few(arguments: tuple[Any, ...], num_steps: int | None) -> Iterator[tuple[Any, ...]]:
    """Small samples of which one is what forward takes, whichever axis the batch is on."""
    first = arguments[0]
    if num_steps is not None and first.ndim > 2 and len(first) == num_steps:
        yield tuple(_one_step(a, first) for a in arguments)
    yield from (_few(arguments, axis) for axis in ((1, 0) if num_steps is None and first.ndim > 1 else (0,)))


def _few(arguments: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    """All arguments for the first few samples of a batch along ``axis`` of the first."""
    first: Tensor = arguments[0]
    batch = int(first.shape[axis])
    return tuple(_cut(a, axis if _leads_alike(a, first) else 0, batch) for a in arguments)


def _leads_alike(argument: Any, first: Tensor) -> bool:
    return isinstance(argument, Tensor) and argument.shape[:2] == first.shape[:2]


def _cut(argument: Any, axis: int, batch: int) -> Any:
    if not isinstance(argument, Tensor) or argument.ndim <= axis or argument.shape[axis] != batch:
        return argument
    return argument.narrow(axis, 0, min(TRACED, batch))


def _one_step(argument: Any, first: Tensor) -> Any:
    """The first step of a sequence, and the first samples of it and of everything else."""
    if _leads_alike(argument, first):
        argument = argument[0]
    return _cut(argument, 0, int(first.shape[1]))


def checked_labels(labels: Any, count: int) -> Tensor | None:
    """Class indices, one per sample.

    Raises:
        InputError: they are no whole numbers, or not as many as samples, or negative.
    """
    if labels is None:
        return None
    try:
        array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    except (ValueError, TypeError) as error:
        raise InputError(f"labels cannot be read as an array: {error}; pass one class index per sample.") from error
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise InputError(
            f"labels have dtype {array.dtype} and shape {array.shape}; pass {count} class indices, one for each calibration "
            f"sample, as whole numbers."
        )
    if array.min() < 0:
        raise InputError(f"labels hold {int(array.min())}; classes are numbered from 0.")
    return torch.from_numpy(array.astype(np.int64))


def check_classes(labels: Tensor, classes: int, layer: str) -> None:
    """Refuse labels that the readout has no neuron for.

    Raises:
        InputError: there are some.
    """
    if int(labels.max()) >= classes:
        raise InputError(
            f"labels hold class {int(labels.max())}, but the readout layer {layer!r} has {classes} neurons, for classes 0 to "
            f"{classes - 1}. Number the classes from 0, or name the layer of the classes with readout={{layer: ...}}."
        )

"""Running a network once and writing down what happens."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.errors import InputError, LoweringError
from qleaky.surrogate import disabled
from qleaky.tracing.events import Argument, Trace
from qleaky.tracing.observer import flat_tensors, recorded_copy
from qleaky.tracing.operations import RANDOM
from qleaky.tracing.purity import changes, kept
from qleaky.tracing.random_state import generators, undisturbed
from qleaky.tracing.recording import Recorder


def trace(net: nn.Module, sample: Any, batch_first: bool = False) -> Trace:
    """Run a copy of ``net`` once on ``sample`` and record what happens; the network itself is not changed.

    Args:
        net: the user's network.
        sample: what ``forward`` takes: a tensor, or a tuple of all its arguments.
        batch_first: forward takes (B, T, ...) where ``sample`` holds (T, B, ...).

    Raises:
        LoweringError: the network cannot be copied, or its forward fails on the sample.
        InputError: an empty or non-finite sample.
    """
    arguments = tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)
    check_sample(arguments)
    arguments = tuple(a.detach().clone() if isinstance(a, Tensor) else a for a in arguments)  # one tensor may be passed twice
    recorder = Recorder()
    network = recorded_copy(net, recorder)
    recorder.watch(network)
    numbered = tuple(
        Argument(name, recorder.numbers.fresh(value) if isinstance(value, Tensor) else -1, value)
        for name, value in zip(_names(net, len(arguments)), arguments, strict=True)
    )
    with undisturbed():
        before = generators()
        result = _result(network, arguments, recorder, batch_first)
        drawn = generators() != before
    recorder.check_membranes(network)
    return Trace(
        arguments=numbered,
        events=tuple(recorder.events),
        returned=tuple(recorder.numbers.of(value) for value in flat_tensors(result)),
        reads=tuple(recorder.reads),
        changes=(*changes(net, network), *_side_effects(recorder, drawn)),
        edited=frozenset(recorder.edited),
        kept=tuple(kept(net, network)),
        batch_first=batch_first,
    )


def turned(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """(T, B, ...) <-> (B, T, ...): time and batch of every sequence trade places; what has not both stays as it is."""
    lead = arguments[0].shape[:2]
    moves = [isinstance(a, Tensor) and a.ndim > 1 and a.shape[:2] == lead for a in arguments]
    return tuple(a.transpose(0, 1) if moving else a for a, moving in zip(arguments, moves, strict=True))


def _result(network: nn.Module, arguments: tuple[Any, ...], recorder: Recorder, batch_first: bool) -> Any:
    try:
        with torch.no_grad(), disabled(network), recorder:
            result = network(*(turned(arguments) if batch_first else arguments))
        recorder.referred(result)  # what was written to in the end gets its last number
        return result
    except Exception as error:
        raise LoweringError(
            f"The network's forward failed on sample_input with shapes {_shapes(arguments)}: {error or repr(error)}. Pass "
            f"what forward takes: one step (B, ...) together with num_steps=T, or the whole sequence (T, B, ...) without it."
        ) from error


def _side_effects(recorder: Recorder, drawn: bool) -> Iterator[str]:
    for place in recorder.numbers.overwritten():
        yield (
            f"{recorder.events[min(place, len(recorder.events) - 1)].where}: a constant that it uses is written to in the same "
            f"forward; write into a new tensor."
        )
    if drawn and not any(event.name in RANDOM for event in recorder.events):
        yield "forward draws random numbers, which cannot be exported; encode the input before the network."


def _names(net: nn.Module, count: int) -> list[str]:
    """Names of forward's arguments; those of ``*args`` are numbered."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(net.forward).parameters.values() if p.kind in kinds]
    return (names + [f"input{i + 1}" for i in range(len(names), count)])[:count]


def check_sample(arguments: tuple[Any, ...]) -> None:
    """Refuse a sample whose first argument is no tensor, or is empty or not finite.

    Raises:
        InputError: it is.
    """
    first = arguments[0] if arguments else None
    if not isinstance(first, Tensor) or first.ndim < 1:
        got = tuple(first.shape) if isinstance(first, Tensor) else arguments[:1]
        raise InputError(
            f"sample_input: the first argument is {got}; pass a tensor (B, ...) for one step or (T, B, ...) for a "
            f"sequence, or a "
            f"tuple that begins with one."
        )
    for argument in arguments:
        if isinstance(argument, Tensor) and argument is first and 0 in argument.shape:
            raise InputError(f"sample_input has shape {tuple(first.shape)}; pass at least one step and one sample.")
        if isinstance(argument, Tensor) and argument.is_floating_point() and not bool(torch.isfinite(argument).all()):
            raise InputError("sample_input holds NaN or infinity; pass finite numbers.")


def _shapes(arguments: tuple[Any, ...]) -> str:
    return ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else type(a).__name__ for a in arguments)

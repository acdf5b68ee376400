"""Step graph -> contract: :func:`lower` turns a torch network into an IntegerNetwork, or says why it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from qleaky.errors import InputError, UsageError
from qleaky.fixed import QFormat
from qleaky.integer import FloatNetwork, Input, IntegerNetwork
from qleaky.integer.layers import TimeMode
from qleaky.lowering.agreement import check_against_torch
from qleaky.lowering.floats import float_network
from qleaky.lowering.integers import integer_network
from qleaky.lowering.readouts import choose_readouts
from qleaky.lowering.stages import stages
from qleaky.tracing import StepGraph, step_graph

__all__ = ["lower"]

Format = QFormat | Literal["spikes"]


def lower(
    net: nn.Module,
    sample_input: Any,
    num_steps: int | None = None,
    time: TimeMode | None = None,
    input_format: Format | Mapping[str, Format] | None = None,
    readout: str | Mapping[str, str] | None = None,
) -> IntegerNetwork | FloatNetwork:
    """Turn a torch network into the contract that every artefact is built from and compared with.

    The network itself is not changed. Nothing is snapped: a network whose weights, thresholds, decays or states are not
    on fixed-point grids becomes a :class:`FloatNetwork`, whose ``reasons`` name each of them.

    Args:
        net: the network. Forward may compute one step, its states threaded through arguments and results or hidden in the
            layers; loop over a sequence or over a static input; or use ``Leaky.sequence``.
        sample_input: what ``net.forward`` takes: a tensor, or a tuple of all its arguments.
        num_steps: T, where forward is one step; None where forward takes the whole sequence, (T, B, ...) or (B, T, ...), or
            one input for all steps, and runs all steps itself. The contract is time first in any case.
        time: "sequence" where every step has an input of its own (the default), "static" where all steps have the same.
        input_format: "spikes", or the :class:`~qleaky.QFormat` of the inputs, or a dict of them by name for several inputs;
            None infers it from a quantizer that the network applies to its input.
        readout: "spikes", "spike_count", "membrane_mean" or "last_membrane" of the layers in which the network ends, and with
            ":argmax" behind it the class too; or a dict of these by layer name. None takes what forward returns.

    Raises:
        LoweringError: operations that cannot be lowered, all of them listed, or a forward that fails on the sample.
        FormatError: a threshold outside its state's format, or weights that are not finite.
        InputError, UsageError: arguments that make no sense.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"lower: net is a {type(net).__name__}; pass the torch.nn.Module itself.")
    _check_steps(num_steps, time)
    declared = tuple(input_format) if isinstance(input_format, Mapping) else ()
    graph = step_graph(net, sample_input, num_steps, time, declared)
    return lowered(net, graph, sample_input, num_steps, time, input_format, readout)


def lowered(
    net: nn.Module, graph: StepGraph, sample_input: Any, num_steps: int | None, time: Any, input_format: Any, readout: Any
) -> IntegerNetwork | FloatNetwork:
    """The contract of a step graph; arguments as those of :func:`lower`."""
    steps = graph.num_steps or num_steps or 1
    formats, times = input_formats(input_format, graph), time_modes(time, graph)
    arranged = stages(net, graph)
    readouts = choose_readouts(readout, graph)
    inputs = contract_inputs(graph, formats, times)
    network, reasons = integer_network(inputs, formats, arranged, steps, readouts)
    found = network or float_network(net, graph, arranged, steps, times, formats, readouts, reasons, sample_input)
    first: Tensor = sample_input[0] if isinstance(sample_input, (tuple, list)) else sample_input
    check_against_torch(net, graph, found, first)
    return found


def contract_inputs(graph: StepGraph, formats: dict[str, QFormat | None], times: dict[str, TimeMode]) -> tuple[Input, ...]:
    """The inputs of the contract; a bit stands in for an undeclared format, which is a reason of its own."""
    bit = QFormat(1, 0, signed=False)
    return tuple(Input(i.node.shape, formats[i.name] or bit, times[i.name], i.name) for i in graph.inputs)


def _check_steps(num_steps: int | None, time: str | None) -> None:
    if num_steps is not None and (isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1):
        raise InputError(f"num_steps={num_steps!r}; pass the number of time steps, at least 1.")
    if time not in (None, "sequence", "static"):
        raise InputError(f"time={time!r} is unknown. Choose 'sequence' or 'static'.")


def time_modes(time: TimeMode | None, graph: StepGraph) -> dict[str, TimeMode]:
    """For every input whether it changes with time: what forward shows, or for step networks what the caller says.

    Raises:
        UsageError: forward itself shows something else.
    """
    if graph.call.mode == "step":
        return dict.fromkeys((i.name for i in graph.inputs), time or "sequence")
    shown: dict[str, TimeMode] = {i.name: "static" if i.static else "sequence" for i in graph.inputs}
    if time is not None and time not in shown.values():
        found = next(iter(shown.values()))
        raise UsageError(f"time={time!r}, but forward runs all steps itself, on a {found} input; leave time out.")
    return shown


def input_formats(declared: Any, graph: StepGraph) -> dict[str, QFormat | None]:
    """For every input the declared format, or that of the quantizer which the network applies to it.

    Raises:
        InputError, UsageError: a format that is none, names that do not exist, or a contradiction.
    """
    names = [i.name for i in graph.inputs]
    by_input = declared if isinstance(declared, Mapping) else dict.fromkeys(names, declared)
    if unknown := set(by_input) - set(names):
        raise InputError(f"input_format names {sorted(unknown)}; the network's inputs are {', '.join(names)}.")
    return {i.name: _format(by_input.get(i.name), i.format) for i in graph.inputs}


def _format(declared: Any, own: QFormat | None) -> QFormat | None:
    if declared is None:
        return own
    if isinstance(declared, str) and declared == "spikes":
        return QFormat(1, 0, signed=False)
    if not isinstance(declared, QFormat):
        raise InputError(f"input_format={declared!r}; pass 'spikes' or a qleaky.QFormat(bits, frac_bits, signed, zero_point).")
    if own not in (None, declared):
        raise UsageError(f"input_format={declared} contradicts the network's own input quantizer, {own}; leave it out.")
    return declared

"""Step graph -> contract: :func:`lower` turns a torch network into an IntegerNetwork, or says why it cannot."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from qleaky.errors import InputError, UsageError
from qleaky.fixed import QFormat
from qleaky.integer import FloatNetwork, IntegerNetwork, Readout
from qleaky.integer.layers import READOUTS, TimeMode
from qleaky.lowering.agreement import check_against_torch, check_batch_sizes
from qleaky.lowering.chain import Chain, resolve
from qleaky.lowering.floats import float_network
from qleaky.lowering.integers import integer_network
from qleaky.tracing import trace

__all__ = ["lower"]


def lower(
    net: nn.Module,
    sample_input: Any,
    num_steps: int | None = None,
    time: TimeMode | None = None,
    input_format: QFormat | Literal["spikes"] | None = None,
    readout: str | None = None,
) -> IntegerNetwork | FloatNetwork:
    """Turn a torch network into the contract that every artefact is built from and compared with.

    The network itself is not changed. Nothing is snapped: a network whose weights, thresholds, decays or states are not
    on fixed-point grids becomes a :class:`FloatNetwork`, whose ``reasons`` name each of them.

    Args:
        net: a network of Linear/QuantLinear and Leaky layers.
        sample_input: what ``net.forward`` takes: a tensor, or a tuple of all its arguments.
        num_steps: T, where forward is one step, its states threaded or hidden; None where forward takes the whole
            sequence (T, B, ...) and uses ``Leaky.sequence``.
        time: with num_steps: "sequence" feeds x[t] (the default), "static" the same input at each step.
        input_format: "spikes", or the :class:`~qleaky.QFormat` of the inputs; None infers it from a quantizer that the
            network applies to its input.
        readout: "spikes" (default), "spike_count", "membrane_mean" or "last_membrane" of the last layer, and with
            ":argmax" behind it the class too.

    Raises:
        LoweringError: operations that cannot be lowered, all of them listed, or a forward that fails on the sample.
        FormatError: a threshold outside its state's format.
        InputError, UsageError: arguments that make no sense.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"lower: net is a {type(net).__name__}; pass the torch.nn.Module itself.")
    _check_steps(num_steps, time)
    graph = trace(net, sample_input, "sequence" if num_steps is None else "step")
    steps = _sample_steps(sample_input) if num_steps is None else num_steps
    chain = resolve(graph, readout_given=readout is not None)
    check_batch_sizes(net, sample_input, graph)
    signal_format = _input_format(input_format, chain)
    what = parse_readout(readout, chain.last_lif)
    network, reasons = integer_network(chain, graph.input_shape, steps, time or "sequence", signal_format, what)
    if network is not None:
        check_against_torch(net, graph, network, _first(sample_input))
        return network
    return float_network(net, graph, chain, steps, time or "sequence", signal_format, what, reasons, sample_input)


def parse_readout(readout: str | None, layer: str) -> Readout:
    """``"membrane_mean:argmax"`` -> the readout of ``layer``.

    Raises:
        InputError: an unknown readout.
    """
    if not isinstance(readout, str | None):
        raise InputError(f"readout={readout!r}; pass one of {', '.join(READOUTS)} as a string.")
    kind, _, suffix = (readout or "spikes").partition(":")
    if kind not in READOUTS or suffix not in ("", "argmax"):
        raise InputError(
            f"readout={readout!r} is unknown. Choose one of {', '.join(READOUTS)}, with ':argmax' behind it for the class."
        )
    if kind == "spikes" and suffix:
        raise InputError("readout='spikes:argmax' names no class: spikes have a time axis. Use 'spike_count:argmax'.")
    return Readout(layer, kind, bool(suffix))


def _check_steps(num_steps: int | None, time: str | None) -> None:
    if num_steps is not None and (isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1):
        raise InputError(f"num_steps={num_steps!r}; pass the number of time steps, at least 1.")
    if time not in (None, "sequence", "static"):
        raise InputError(f"time={time!r} is unknown. Choose 'sequence' or 'static'.")
    if time == "static" and num_steps is None:
        raise UsageError("time='static' repeats one input for num_steps steps; pass num_steps=T too.")


def _sample_steps(sample_input: Any) -> int:
    return int(_first(sample_input).shape[0])


def _first(sample_input: Any) -> Tensor:
    first: Tensor = sample_input[0] if isinstance(sample_input, (tuple, list)) else sample_input
    return first


def _input_format(declared: QFormat | str | None, chain: Chain) -> QFormat | None:
    """The declared format, or that of the quantizer which the network applies to its own input."""
    if declared is None:
        return chain.input_format
    if declared == "spikes":
        return QFormat(1, 0, signed=False)
    if not isinstance(declared, QFormat):
        raise InputError(f"input_format={declared!r}; pass 'spikes' or a qleaky.QFormat(bits, frac_bits, signed, zero_point).")
    if chain.input_format not in (None, declared):
        raise UsageError(
            f"input_format={declared} contradicts the network's own input quantizer, {chain.input_format}; leave it out."
        )
    return declared

"""Why a network has no C form: every reason, with its numbers and what would help."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qleaky.errors import LoweringError
from qleaky.export.c.context import Context
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.integer.layers import LIF, Input, Readout
from qleaky.integer.proof import INT32_MAX, LayerBounds
from qleaky.integer.signals import Signal, printed
from qleaky.integer.weighted import Conv, Linear

MAX_EVENTS = 1 << 16


def check_network(network: IntegerNetwork | FloatNetwork) -> IntegerNetwork:
    """A network of integers whose every number int32_t holds.

    Raises:
        LoweringError: it is not; all reasons.
    """
    if isinstance(network, FloatNetwork):
        why = "; ".join(network.reasons)
        raise LoweringError(f"C computes the integers of a contract, and this network has none: {why}. Quantize it first.")
    if not isinstance(network, IntegerNetwork):
        raise LoweringError(f"C is written from an IntegerNetwork, not from {type(network).__name__}; call qleaky.lower first.")
    reasons = list(_reasons(network))
    if reasons:
        raise LoweringError("This network has no C form:\n" + "\n".join(f"  - {reason}" for reason in reasons))
    return network


def _reasons(network: IntegerNetwork) -> Iterator[str]:
    yield from network.proof.artefact_reasons
    for source in network.inputs:
        yield from _wide_input(source)
    needed = Context(network, "model").needed
    for bounds in network.proof.layers:
        if bounds.layer in needed:
            yield from _wide_sums(bounds)
    for layer in network.layers:
        if layer.name in needed:
            yield from _wide_signal(f"layer {layer.name!r}", network.signals[layer.name])
        if layer.name in needed and isinstance(layer, (Linear, Conv)):
            yield from _too_many_events(network, layer)
    for lif in network.lif_layers:
        yield from _wide_states(lif)
    for readout in network.readouts:
        yield from _readout_overflow(network, readout)


def _wide_input(source: Input) -> Iterator[str]:
    fmt = source.format
    if not fmt.signed and fmt.bits == 32:
        yield f"input {source.name!r}: {fmt} has codes up to {fmt.highest}, more than int32_t holds; use at most 31 bits."
    else:
        yield from _wide_signal(f"input {source.name!r}", source.signal)


def _wide_signal(where: str, signal: Signal) -> Iterator[str]:
    if signal.low < -INT32_MAX - 1 or signal.high > INT32_MAX:
        yield (
            f"{where}: its integers reach from {printed(signal.low)} to {printed(signal.high)}, more than int32_t holds "
            f"({INT32_MAX}); use fewer bits."
        )


def _wide_sums(bounds: LayerBounds) -> Iterator[str]:
    """Bounds of one layer, and of its synaptic current, that leave int32_t."""
    for part, what in ((bounds, "its sums"), (bounds.synapse, "the sums of its synaptic current")):
        if part is None or part.fits_int32:
            continue
        yield (
            f"layer {bounds.layer!r}: {what} can reach {printed(max(part.largest, part.output_bound))}, more than int32_t "
            f"holds ({INT32_MAX}); use fewer bits of weights, inputs or decay, a coarser grid of the current, or fewer inputs."
        )


def _wide_states(layer: LIF) -> Iterator[str]:
    """States whose codes leave int32_t: 32 bits without a sign."""
    for part, what in ((layer, "membrane"), (layer.synapse, "synaptic current")):
        if part is not None and part.state.highest > INT32_MAX:
            yield (
                f"layer {layer.name!r}: its {what}, {part.state}, has codes up to {part.state.highest}, more than int32_t "
                f"holds ({INT32_MAX}); use at most 31 bits, or a signed format."
            )


def _too_many_events(network: IntegerNetwork, layer: Linear | Conv) -> Iterator[str]:
    """Events are 16-bit row numbers."""
    inputs = math.prod(layer.weight.shape[1:])
    x = network.signals[layer.input]
    spikes = x.low >= 0 and x.high <= 1
    if spikes and inputs > MAX_EVENTS:
        yield (
            f"layer {layer.name!r}: a sum over {inputs:,} spikes; events are numbered in 16 bits, so {MAX_EVENTS:,} at most. "
            f"Split the layer into several whose sums are added, or pool its input."
        )


def _readout_overflow(network: IntegerNetwork, readout: Readout) -> Iterator[str]:
    """Sums over T steps beyond int32_t."""
    bounds = next(b for b in network.proof.layers if b.layer == readout.layer)
    numbers = {
        "spike_count": ("counts", bounds.output_bound),
        "membrane_mean": ("membrane sums", max(abs(bounds.mem_low), abs(bounds.mem_high))),
    }
    if readout.kind not in numbers:
        return
    what, most = numbers[readout.kind]
    if network.num_steps * most > INT32_MAX:
        yield (
            f"layer {readout.layer!r}: its {what} over {network.num_steps:,} steps of at most {printed(most)} can reach "
            f"{printed(network.num_steps * most)}, more than int32_t holds ({INT32_MAX}); run at most "
            f"{INT32_MAX // most:,} steps."
        )

"""Worst-case bounds of every layer, and the proof that they rest on (numerics.md, "When we may say bit-for-bit").

All arithmetic here is on integers that cannot overflow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from qleaky.fixed import Overflow
from qleaky.integer.graph import MAX_STEPS
from qleaky.integer.layers import LIF, Add, Affine, AveragePool, Concat, Conv, Layer, Linear, MaxPool, Readout, Signal
from qleaky.integer.lif import Synapse
from qleaky.integer.lif_bounds import lif_bounds
from qleaky.integer.proof import FLOAT32_EXACT, FLOAT64_EXACT, INT32_MAX, INT64_MAX, LayerBounds, Proof
from qleaky.integer.signals import IntArray, as_integers, magnitude_product, magnitudes, printed, shifted

__all__ = [
    "FLOAT32_EXACT",
    "FLOAT64_EXACT",
    "INT32_MAX",
    "INT64_MAX",
    "LayerBounds",
    "Proof",
    "layer_bounds",
    "lif_bounds",
    "prove",
]


def prove(layers: Iterable[Layer], signals: dict[str, Signal], readouts: Iterable[Readout] = ()) -> Proof:
    """Bound every layer and list what the bounds do not cover."""
    bounds, artefact, training = [], [], []
    for layer in layers:
        found = layer_bounds(layer, [signals[name] for name in layer.inputs], signals[layer.name])
        if found is None:
            continue
        bounds.append(found)
        artefact += _artefact_reasons(layer, found)
        training += [_training_reason(b) for b in _parts(found) if not b.training_exact]
    artefact += [_count_reason(readout, signals[readout.layer]) for readout in readouts if _overflows(readout, signals)]
    return Proof(tuple(bounds), tuple(artefact), tuple(training))


def _overflows(readout: Readout, signals: dict[str, Signal]) -> bool:
    """Whether a count may leave 64-bit integers in as many steps as a network may have; sums of membranes never do."""
    return readout.kind == "spike_count" and signals[readout.layer].magnitude * MAX_STEPS > INT64_MAX


def _count_reason(readout: Readout, emitted: Signal) -> str:
    return (
        f"layer {readout.layer!r}: it emits up to {printed(emitted.magnitude)} a step, and the sum over the {MAX_STEPS:,} "
        f"steps that a network may run is more than 64-bit integers hold ({INT64_MAX}); use smaller graded spikes."
    )


def layer_bounds(layer: Layer, sources: list[Signal], output: Signal) -> LayerBounds | None:
    """The bounds of a layer that computes; None where it only moves numbers (Reshape, Transpose, Delay)."""
    x = sources[0] if sources else output
    match layer:
        case LIF():
            return lif_bounds(layer, x)
        case Linear():
            return _sum_bounds(layer.name, "linear", _weighted_sums(layer, x), sources, output, layer.weight_frac_bits)
        case Conv():
            return _sum_bounds(layer.name, "conv", _weighted_sums(layer, x), sources, output, layer.weight_frac_bits)
        case Affine():
            return _sum_bounds(layer.name, "affine", _affine_sums(layer, x), sources, output, layer.scale_frac_bits)
        case AveragePool():
            sums = magnitudes(*x.per_channel()).astype(object) * math.prod(layer.kernel)
            return _sum_bounds(layer.name, "average_pool", sums, sources, output)
        case MaxPool():
            return _sum_bounds(layer.name, "max_pool", magnitudes(output.lows, output.highs), sources, output)
        case Add():
            return _sum_bounds(layer.name, "add", _added(layer, sources), sources, output)
        case Concat():
            return _sum_bounds(layer.name, "concat", magnitudes(output.lows, output.highs), sources, output)
        case _:
            return None


def _sum_bounds(name: str, kind: str, sums: IntArray, sources: list[Signal], output: Signal, own_bits: int = 0) -> LayerBounds:
    """The bounds of a layer that adds up: ``sums`` bound the partial sums of each channel or element."""
    least, most = int(np.min(sums)), int(np.max(sums))
    carried = 0 if kind == "concat" else most
    received = max(x.magnitude for x in sources)
    return LayerBounds(
        layer=name,
        kind=kind,
        accumulate=most,
        accumulator_bits=most.bit_length() + 1,
        channel_accumulator_bits=(least.bit_length() + 1, most.bit_length() + 1),
        training_bound=carried,
        half_even_bound=max(most, 1),
        finest_bits=max(output.frac_bits, own_bits, *(x.frac_bits for x in sources)),
        input_bound=received,
        output_bound=output.magnitude,
    )


def _weighted_sums(layer: Linear | Conv, x: Signal) -> IntArray:
    """sum|w| * max|x| + |bias| of every output channel."""
    bias = 0 if layer.bias is None else np.abs(as_integers(layer.bias))
    if isinstance(layer, Linear):
        return as_integers(magnitude_product(layer.weight, magnitudes(*x.full())) + bias)
    reach = magnitudes(*x.per_channel()).reshape(-1)
    taps = math.prod(layer.weight.shape[2:])
    rows = layer.weight.shape[0] // layer.groups
    channels = layer.weight.shape[1]
    sums = [
        magnitude_product(
            layer.weight[group * rows : (group + 1) * rows].reshape(rows, -1),
            np.repeat(reach[group * channels : (group + 1) * channels], taps),
        )
        for group in range(layer.groups)
    ]
    return as_integers(np.concatenate(sums) + bias)


def _added(layer: Add, sources: list[Signal]) -> IntArray:
    """The sum of the largest numbers, on the finest grid."""
    aligned = zip(sources, layer.shifts(*sources), strict=True)
    return sum((shifted(magnitudes(x.lows, x.highs), bits).astype(object) for x, bits in aligned), np.zeros(1, object))


def _affine_sums(layer: Affine, x: Signal) -> IntArray:
    """abs(scale) * max|x| + |bias| of every element."""
    scale = np.abs(as_integers(1 << layer.scale_frac_bits if layer.scale is None else layer.scale).astype(object))
    bias = np.abs(as_integers(0 if layer.bias is None else layer.bias).astype(object))
    return as_integers(scale * magnitudes(x.lows, x.highs).astype(object) + bias)


def _parts(bounds: LayerBounds) -> Iterator[LayerBounds]:
    yield bounds
    if bounds.synapse is not None:
        yield bounds.synapse


def _where(b: LayerBounds) -> str:
    return f"layer {b.layer!r}" + (" (synaptic current)" if b.kind == "synapse" else "")


def _artefact_reasons(layer: Layer, bounds: LayerBounds) -> list[str]:
    reasons = [
        f"{_where(b)}: an intermediate sum can reach {printed(max(b.largest, b.output_bound))}, more than 64-bit "
        f"integers hold ({INT64_MAX})."
        for b in _parts(bounds)
        if not b.integer_exact
    ]
    if isinstance(layer, LIF):
        reasons += _overflow_reason(layer, bounds)
        if layer.synapse is not None and bounds.synapse is not None:
            reasons += _overflow_reason(layer.synapse, bounds.synapse)
    declared = layer.accumulator_bits if isinstance(layer, (Linear, Conv)) else None
    if declared is not None and declared < bounds.accumulator_bits:
        reasons.append(
            f"{_where(bounds)}: it declares an accumulator of {declared} bits, but its sums can reach "
            f"{printed(bounds.accumulate)} and need {bounds.accumulator_bits}; use a wider accumulator, fewer weight bits, or "
            f"smaller fan-in."
        )
    return reasons


def _overflow_reason(part: LIF | Synapse, bounds: LayerBounds) -> list[str]:
    """Where a layer claims that nothing overflows, and the bounds do not show it."""
    if part.overflow is not Overflow.PROVED_NONE or not bounds.overflows:
        return []
    return [
        f"{_where(bounds)}: a sum may leave {part.state.describe()}, where overflow='proved_none' says that none does; use a "
        f"wider state, a stronger leak or smaller weights, or let it saturate."
    ]


def _training_reason(b: LayerBounds) -> str:
    if b.input_bound > FLOAT32_EXACT:
        return (
            f"{_where(b)}: its input can reach {printed(b.input_bound)}, more than the float32 in which torch passes it holds "
            f"exactly ({FLOAT32_EXACT}); use an input format of fewer bits."
        )
    if not b.exponents_fit:
        return (
            f"{_where(b)}: its numbers have {b.finest_bits} fractional bits and reach {printed(b.training_bound)}, which "
            f"leaves the exponents of float32; rescale its weights."
        )
    return (
        f"{_where(b)}: in training an intermediate sum can reach {printed(b.training_bound)}, more than "
        f"{b.training_carrier} holds exactly ({b.training_limit}); use fewer weight or state bits, or smaller fan-in."
    )

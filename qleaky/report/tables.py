"""The tables of the page: headings and rows of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qleaky.dynamics import MulShift, ShiftDecay
from qleaky.integer import LIF, FloatLIF, FloatNetwork, IntegerNetwork, LayerBounds
from qleaky.integer.proof import FLOAT32_EXACT, INT32_MAX
from qleaky.report.text import number, per, percent, plural, shape, superscript, visible

if TYPE_CHECKING:
    from qleaky.verification.activity import Activity

Network = IntegerNetwork | FloatNetwork


@dataclass(frozen=True)
class Table:
    """The first cell of a row names it; numbers stand at the right."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()


def layers(network: Network, carried: Mapping[str, str]) -> Table:
    """Every layer with its numbers and, where there is a proof, its bounds and how far they are from the limits."""
    bounds = {each.layer: each for each in network.proof.layers}
    rows = [
        (
            *(visible(layer.name), _kind(layer), shape(_shape(network, layer.name)), _numbers(layer)),
            *(_bound_cells(bounds[layer.name]) if layer.name in bounds else ("", "", "", "")),
            visible(carried.get(layer.name, "float32" if isinstance(network, FloatNetwork) else "")),
        )
        for layer in network.layers
    ]
    headings = (
        "layer",
        "kind",
        "one sample",
        "numbers",
        "accumulator",
        "largest number",
        "below 2²⁴",
        "below 2³¹",
        "carrier",
    )
    if isinstance(network, FloatNetwork):
        return Table("Layers", (*headings[:4], headings[8]), tuple((*row[:4], row[8]) for row in rows))
    caption = "Layers, and the largest number that each can meet"
    return Table(caption, headings, tuple(rows), frozenset({4, 5, 6, 7}))


def _bound_cells(bounds: LayerBounds) -> tuple[str, ...]:
    largest = max(bounds.largest, bounds.synapse.largest if bounds.synapse is not None else 0)
    margins = (margin(largest, limit) for limit in (FLOAT32_EXACT, INT32_MAX))
    return (f"{bounds.accumulator_bits} bits", number(largest), *margins)


def margin(largest: int, limit: int) -> str:
    """How often the largest number fits below a limit.

    >>> margin(1 << 20, 1 << 24), margin((1 << 24) + 1, 1 << 24), margin(0, 1 << 24)
    ('16.0 ×', 'beyond', '')
    """
    if largest == 0:
        return ""
    if largest > limit:
        return "beyond"
    tenths = 10 * limit // largest
    return f"{tenths // 10:,} ×" if tenths >= 1000 else f"{tenths // 10}.{tenths % 10} ×"


def neurons(network: Network) -> Table:
    """Every LIF layer: how it leaks, fires and resets."""
    bounds = {each.layer: each for each in network.proof.layers}
    headings = ("layer", "neurons", "state", "threshold", "decay", "reset", "fires where", "rounding, overflow")
    rows = [
        (
            *(visible(lif.name), f"{int(np.prod(_shape(network, lif.name))):,}", _state(lif, bounds.get(lif.name))),
            *(_threshold(lif), _decay(lif), f"{lif.reset_mechanism}, {str(lif.reset_timing).replace('_', ' ')}"),
            "membrane > threshold" if lif.compare == "strict" else "membrane ≥ threshold",
            f"{lif.rounding}, {lif.overflow}".replace("_", " "),
        )
        for lif in network.lif_layers
    ]
    return Table("Neurons", headings, tuple(rows), frozenset({1}))


def _state(lif: LIF | FloatLIF, bounds: LayerBounds | None) -> str:
    if lif.state is None:
        return "float32" if isinstance(lif, FloatLIF) and lif.levels is None else "levels"
    reach = "" if bounds is None else f", codes {bounds.mem_low:,} to {bounds.mem_high:,}"
    synapse = lif.synapse if isinstance(lif, LIF) else None
    return f"{lif.state!r}{reach}" + ("" if synapse is None else f"; synaptic current {synapse.state!r}")


def _threshold(lif: LIF | FloatLIF) -> str:
    if isinstance(lif, FloatLIF):
        return _span(lif.theta)
    return f"{_span(lif.theta * lif.state.step)} (code {_span(lif.theta)})"


def _decay(lif: LIF | FloatLIF) -> str:
    if isinstance(lif, FloatLIF):
        return _span(lif.beta)
    if isinstance(lif.decay, MulShift) and lif.multiplier is not None:
        return f"{_span(lif.multiplier)} / {1 << lif.decay.n} = {_span(lif.multiplier / (1 << lif.decay.n))}"
    return f"U - (U >> {lif.decay.k})" if isinstance(lif.decay, ShiftDecay) else "none"


def _span(values: NDArray[Any]) -> str:
    low, high = (number(float(end)) for end in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _kind(layer: Any) -> str:
    return str(layer.__struct_config__.tag).removeprefix("float_").replace("_", " ")


def _shape(network: Network, name: str) -> tuple[int, ...]:
    return network.signals[name].shape if isinstance(network, IntegerNetwork) else network.shapes[name]


def _numbers(layer: Any) -> str:
    """Bits and grid of weights, or the format of a state."""
    if isinstance(layer, LIF | FloatLIF):
        return "float32" if layer.state is None else f"{layer.state!r} states"
    weight = getattr(layer, "weight", None)
    if weight is None:
        return ""
    if weight.dtype.kind == "f":
        return "float32 weights"
    bits = max(int(weight.max()).bit_length(), (-int(weight.min()) - 1).bit_length()) + 1
    return f"{bits}-bit weights × 2{superscript(-layer.weight_frac_bits)}"


def spiking(found: Activity) -> Table:
    """How often neurons fired."""
    headings = (
        "layer",
        "neurons",
        "spikes per neuron and step",
        "activation sparsity",
        "never fired",
        "always fired",
        "at an end",
    )
    rows = [
        (
            *(visible(each.layer), f"{each.neurons:,}", percent(each.active, each.neuron_steps)),
            *(percent(each.neuron_steps - each.active, each.neuron_steps), f"{each.silent:,}", f"{each.always_active:,}"),
            percent(None if each.at_lowest is None else each.at_lowest + (each.at_highest or 0), each.neuron_steps),
        )
        for each in found.spiking
    ]
    caption = f"Spikes over {plural(found.samples, 'sample')} of {plural(found.num_steps, 'step')}"
    return Table(caption, headings, tuple(rows), frozenset(range(1, 7)))


def synaptic(found: Activity) -> Table:
    """Synaptic operations of one inference, on average over the samples."""
    headings = ("layer", "weights", "connection sparsity", "dense operations", "effective ACs", "effective MACs", "of dense")
    rows = [
        (
            *(visible(each.layer), f"{each.weights:,}", percent(each.zero_weights, each.weights), f"{each.dense:,}"),
            per(None if each.effective is None else each.acs, found.samples),
            per(None if each.effective is None else each.macs, found.samples),
            percent(each.effective, each.dense * found.samples),
        )
        for each in found.synaptic
    ]
    if len(rows) > 1:
        known = found.acs is not None and found.macs is not None
        weights, zeros = (sum(getattr(each, name) for each in found.synaptic) for name in ("weights", "zero_weights"))
        total = (found.acs or 0) + (found.macs or 0) if known else None
        rows.append(
            (
                *("all layers", f"{weights:,}", percent(zeros, weights), f"{found.dense:,}"),
                *(per(found.acs, found.samples), per(found.macs, found.samples), percent(total, found.dense * found.samples)),
            )
        )
    return Table("Synaptic operations of one inference", headings, tuple(rows), frozenset(range(1, 7)))

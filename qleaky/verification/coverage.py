"""What the samples of a check made the network do, and how closely they approached the bounds of its proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky.dynamics import resets_early, resets_late
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.integer.float_network import FloatLIF
from qleaky.reference import Recording
from qleaky.verification.vectors.observing import EVENTS, Observer, bounds
from qleaky.verification.vectors.places import Place

Count = Annotated[int, msgspec.Meta(ge=0)]
Bools = NDArray[np.bool_]


class LayerCoverage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of a layer's neurons did what, in at least one step of at least one sample.

    ``fired`` spiked, ``silent`` never did, ``reset`` had a spike whose reset acted (a delayed one acts a step later, so not
    after the last step). ``threshold`` were exactly at the threshold when they were compared with it (or at a multiple of it at
    which one spike more begins). ``saturated_low`` and ``saturated_high`` had a sum below, above their state's format, which
    saturated or wrapped; ``synapse_low`` and ``synapse_high`` the same of synaptic currents.

    ``basis`` says from what: "sums" before they were brought into their format, which the integer reference shows; or
    "codes", where only recorded membranes are at hand (a float network): then saturation is a membrane at an end of its format,
    and the threshold is met by the membrane as it is recorded, after a reset in the same step.
    """

    layer: str
    neurons: Count
    fired: Count
    silent: Count
    reset: Count
    threshold: Count
    saturated_low: Count
    saturated_high: Count
    synapse_low: Count = 0
    synapse_high: Count = 0
    basis: Literal["sums", "codes"] = "sums"


class Approach(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bound of the proof, the largest integer that the samples reached, and the first sample that reached it.

    ``kind`` is "accumulate", "decay" or "step" as in :class:`~qleaky.integer.LayerBounds`, "synapse.decay" or "synapse.step".
    What is reached of an accumulate bound is the whole sum of a layer, of the others what the reference computes on the way.
    """

    layer: str
    kind: Literal["accumulate", "decay", "step", "synapse.decay", "synapse.step"]
    bound: Count
    reached: Count
    sample: Count


def coverage(
    network: IntegerNetwork, codes: Mapping[str, NDArray[Any]]
) -> tuple[tuple[LayerCoverage, ...], tuple[Approach, ...]]:
    """Of every layer what its neurons did on encoded inputs, and of every bound how closely it was approached.

    Raises:
        LoweringError: sums that 64-bit integers cannot hold.
    """
    observer, limits = Observer(network), bounds(network)
    happened = {name: np.zeros(observer.neurons, np.bool_) for name in EVENTS}
    reached = dict.fromkeys(limits, (0, 0))
    for start, piece in observer.pieces(codes):
        for name, events in piece.events.items():
            happened[name] |= events.any(axis=0)
        for bound, values in piece.reached.items():
            best = int(values.argmax())
            if values[best] > reached[bound][0]:
                reached[bound] = int(values[best]), start + best
    layers = tuple(_layer(place, happened, observer.places) for place in observer.places.values() if place.kind == "mem")
    approached = tuple(
        Approach(layer=layer, kind=kind, bound=limits[layer, kind], reached=value, sample=sample)  # type: ignore[arg-type]
        for (layer, kind), (value, sample) in reached.items()
    )
    return layers, approached


def recorded_coverage(network: FloatNetwork, recording: Recording) -> tuple[LayerCoverage, ...]:
    """The same of a float network, from the spikes and membranes (T, B, ...) of a recording."""
    return tuple(_recorded(lif, recording.spikes[lif.name], recording.membranes[lif.name]) for lif in network.lif_layers)


def _layer(place: Place, happened: dict[str, Bools], places: Mapping[tuple[str, str], Place]) -> LayerCoverage:
    def count(event: str, kind: str = "mem") -> int:
        found = places.get((place.layer, kind))
        return 0 if found is None else int(happened[event][found.span].sum())

    neurons = place.span.stop - place.span.start
    return LayerCoverage(
        layer=place.layer,
        neurons=neurons,
        fired=count("fired"),
        silent=neurons - count("fired"),
        reset=count("reset"),
        threshold=count("threshold"),
        saturated_low=count("low"),
        saturated_high=count("high"),
        synapse_low=count("low", "syn"),
        synapse_high=count("high", "syn"),
    )


def _recorded(lif: FloatLIF, spikes: NDArray[Any], membranes: NDArray[Any]) -> LayerCoverage:
    fired, neurons = spikes != 0, int(np.prod(spikes.shape[2:], dtype=np.int64))
    late, early = (when(lif.reset_mechanism, lif.reset_timing) for when in (resets_late, resets_early))
    reset = fired if late else fired[:-1] if early else fired[:0]
    ends = [] if lif.state is None else [float(code * lif.state.step) for code in (lif.state.lowest, lif.state.highest)]
    low, high = (_neurons(membranes == end) for end in ends) if ends else (0, 0)
    return LayerCoverage(
        layer=lif.name,
        neurons=neurons,
        fired=_neurons(fired),
        silent=neurons - _neurons(fired),
        reset=_neurons(reset),
        threshold=_neurons(membranes == lif.theta),
        saturated_low=low,
        saturated_high=high,
        basis="codes",
    )


def _neurons(happened: Bools) -> int:
    """In how many neurons, over all steps and samples."""
    return int(happened.any(axis=(0, 1)).sum())

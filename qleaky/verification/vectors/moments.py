"""Finer things that vectors are chosen for: events at each step, weights that were felt, classes that are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import LIF, IntegerNetwork, Linear
from qleaky.integer.layers import Readout
from qleaky.verification.vectors.places import Place

MOMENTS = ("threshold", "above", "low", "high", "tie", "other_tie", "under", "other_under", "over")
STEPS, PAIRS = 64, 1 << 14
Bools = NDArray[np.bool_]
Places = Mapping[tuple[str, str], Place]


class Moments:
    """Which events some neuron of a layer met at a step: of every event, layer and one of the first ``STEPS`` steps."""

    def __init__(self, network: IntegerNetwork, places: Places, batch: int) -> None:
        self._spans = [place.span for place in places.values()]
        self._steps = min(network.num_steps, STEPS)
        self.found = np.zeros((batch, self._steps * len(self._spans) * len(MOMENTS)), np.bool_)

    def step(self, t: int, now: Mapping[str, Bools]) -> None:
        """Take what happened in step ``t``, by event and neuron."""
        if t < self._steps:
            columns = [now[event][:, span].any(axis=1) for event in MOMENTS for span in self._spans]
            self.found[:, t :: self._steps] = np.stack(columns, axis=1)


def elsewhere(found: Bools, steps: int) -> NDArray[np.intp]:
    """For every moment that no sample has one that has it at another step, where there is any: these may be moved in time."""
    steps = min(steps, STEPS)
    had = found.any(axis=0).reshape(-1, steps)
    lacking = np.flatnonzero(had.any(axis=1) & ~had.all(axis=1))
    return np.array([found[:, i * steps : (i + 1) * steps].sum(axis=1).argmax() for i in lacking], np.intp)


class Exercise:
    """Which weights a run felt: their input was not zero while the sum of their neuron stayed in the range of its state.

    Of matrices between a signal and neurons, with at most ``PAIRS`` weights each.
    """

    def __init__(self, network: IntegerNetwork, batch: int) -> None:
        neurons = {lif.input: lif for lif in network.lif_layers if lif.synapse is None}
        self._layers: list[tuple[Linear, LIF]] = [
            (layer, neurons[layer.name])
            for layer in network.layers
            if isinstance(layer, Linear) and layer.name in neurons and layer.weight.size <= PAIRS
            if len(network.signals[layer.input].shape) == 1
        ]
        self._batch = batch
        self._active: list[list[Bools]] = [[] for _ in self._layers]
        self._inside: list[list[Bools]] = [[] for _ in self._layers]

    def step(self, values: Mapping[str, NDArray[Any]], now: Mapping[str, Bools], places: Places) -> None:
        """Take what every layer emitted in a step, and what happened in it."""
        for i, (layer, lif) in enumerate(self._layers):
            span = places[lif.name, "mem"].span
            self._active[i].append(values[layer.input] != 0)
            self._inside[i].append(~(now["low"][:, span] | now["high"][:, span]))

    def found(self) -> Bools:
        """(samples, weights): a product of bits, by BLAS; sums of at most T ones are exact."""
        parts = [np.zeros((self._batch, 0), np.bool_)]
        for (layer, _), active, inside in zip(self._layers, self._active, self._inside, strict=True):
            inputs, neurons = (np.stack(found, axis=1).astype(np.float32) for found in (active, inside))
            parts.append((inputs.transpose(0, 2, 1) @ neurons > 0)[:, layer.weight.T != 0])
        return np.concatenate(parts, axis=1)


class Classes:
    """How far the largest number of every readout that chooses a class leads the next one."""

    def __init__(self, network: IntegerNetwork, batch: int) -> None:
        self._batch = batch
        self._readouts = [r for r in network.readouts if r.argmax and network.signals[r.layer].shape[-1] > 1]
        self._sums: list[Any] = [0 for _ in self._readouts]
        self._least: list[Any] = [None for _ in self._readouts]

    def step(self, values: Mapping[str, NDArray[Any]], membranes: Mapping[str, NDArray[Any]]) -> None:
        """Take what was emitted, and the membranes."""
        for i, readout in enumerate(self._readouts):
            self._sums[i] = _after(readout, self._sums[i], values[readout.layer], membranes[readout.layer])
            if readout.kind == "spikes":
                gap = _gap(self._sums[i])
                self._least[i] = gap if self._least[i] is None else np.minimum(gap, self._least[i])

    def gaps(self) -> NDArray[np.int64]:
        """(samples, readouts)."""
        columns = [_gap(total) if least is None else least for total, least in zip(self._sums, self._least, strict=True)]
        return np.stack(columns, axis=1) if columns else np.zeros((self._batch, 0), np.int64)


def _after(readout: Readout, total: Any, spikes: NDArray[Any], membranes: NDArray[Any]) -> Any:
    match readout.kind:
        case "spikes":
            return spikes
        case "last_membrane":
            return membranes
        case "spike_count":
            return total + spikes
        case "membrane_mean":
            return total + membranes


def _gap(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Between the two largest of the last axis, the least of all positions."""
    two = np.partition(numbers, -2, axis=-1)[..., -2:]
    gap: NDArray[np.int64] = (two[..., 1] - two[..., 0]).reshape(len(numbers), -1).min(axis=1)
    return gap

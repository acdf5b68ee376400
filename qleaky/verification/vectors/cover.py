"""Choosing few samples in which as much as possible happens: greedy set cover over (neuron, event)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from qleaky.verification.vectors.observing import EVENTS, Observation
from qleaky.verification.vectors.places import Place

SCALE, ROWS = 1 << 20, 256
Indices = NDArray[np.intp]


class Cover:
    """Picks from a pool the sample that adds most, again and again.

    An event at a neuron weighs the more the fewer neurons its layer has, so that layers count alike; so do the goals of one
    name together.
    """

    def __init__(self, pool: Observation, places: Sequence[Place]) -> None:
        self._pool = pool
        neurons = np.ones(len(pool.closest[0]), np.int64)
        for place in places:
            neurons[place.span] = max(1, SCALE // (place.span.stop - place.span.start))
        self._events = pool.events | pool.goals
        goals = {name: np.full(found.shape[1], max(1, SCALE // max(found.shape[1], 1))) for name, found in pool.goals.items()}
        self._weights = dict.fromkeys(EVENTS, neurons) | goals
        self._covered = {name: np.zeros(len(weights), np.bool_) for name, weights in self._weights.items()}
        self._gains = {name: _weighted(found, self._weights[name]) for name, found in self._events.items()}
        self.taken: list[int] = []

    def take(self, sample: int) -> None:
        """Add a sample: what happens in it is covered."""
        self.taken.append(sample)
        for name, covered in self._covered.items():
            new = np.flatnonzero(self._events[name][sample] & ~covered)
            covered[new] = True
            self._gains[name] -= _weighted(self._events[name][:, new], self._weights[name][new])

    def best(self, events: Iterable[str], among: Indices | None = None) -> int | None:
        """The sample not yet taken that adds most of these events, the first of equals; None where none adds any."""
        return self._largest([self._gains[name] for name in events], among)

    def fullest(self, events: Iterable[str]) -> int | None:
        """The sample not yet taken that has most of these events, covered or not; None where none has any."""
        return self._largest([_weighted(self._events[name], self._weights[name]) for name in events], None)

    def _largest(self, values: Sequence[NDArray[np.int64]], among: Indices | None) -> int | None:
        gains = sum(values, np.zeros(len(self._pool.closest), np.int64))
        allowed = np.zeros(len(gains), np.bool_)
        allowed[slice(None) if among is None else among] = True
        allowed[self.taken] = False
        gains = np.where(allowed, gains, 0)
        found = int(np.argmax(gains))
        return found if gains[found] else None


def _weighted(events: NDArray[np.bool_], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """events @ weights, by BLAS and in pieces: the sums are integers far below 2**53."""
    pieces = (events[start : start + ROWS].astype(np.float64) for start in range(0, len(events), ROWS))
    return np.concatenate([piece @ weights.astype(np.float64) for piece in pieces]).astype(np.int64)

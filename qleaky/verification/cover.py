"""Choosing few samples in which as much as possible happens: greedy set cover over (neuron, event)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from qleaky.verification.observing import EVENTS, Observation, Place

SCALE = 1 << 20
Indices = NDArray[np.intp]


class Cover:
    """Picks from a pool the sample that adds most, again and again.

    An event at a neuron weighs the more the fewer neurons its layer has, so that layers count alike.
    """

    def __init__(self, pool: Observation, places: Sequence[Place]) -> None:
        self._pool = pool
        self._weights = np.ones(len(pool.closest[0]), np.int64)
        for place in places:
            self._weights[place.span] = max(1, SCALE // (place.span.stop - place.span.start))
        self._covered = {name: np.zeros(len(self._weights), np.bool_) for name in EVENTS}
        self._gains = {name: _weighted(pool.events[name], self._weights) for name in EVENTS}
        self.taken: list[int] = []

    def take(self, sample: int) -> None:
        """Add a sample: what happens in it is covered."""
        self.taken.append(sample)
        for name, covered in self._covered.items():
            new = np.flatnonzero(self._pool.events[name][sample] & ~covered)
            covered[new] = True
            self._gains[name] -= _weighted(self._pool.events[name][:, new], self._weights[new])

    def best(self, events: Iterable[str], among: Indices | None = None) -> int | None:
        """The sample not yet taken that adds most of these events, the first of equals; None where none adds any."""
        return self._largest([self._gains[name] for name in events], among)

    def fullest(self, events: Iterable[str]) -> int | None:
        """The sample not yet taken that has most of these events, covered or not; None where none has any."""
        return self._largest([_weighted(self._pool.events[name], self._weights) for name in events], None)

    def _largest(self, values: Sequence[NDArray[np.int64]], among: Indices | None) -> int | None:
        gains = sum(values, np.zeros(len(self._pool.closest), np.int64))
        allowed = np.zeros(len(gains), np.bool_)
        allowed[slice(None) if among is None else among] = True
        allowed[self.taken] = False
        gains = np.where(allowed, gains, 0)
        found = int(np.argmax(gains))
        return found if gains[found] else None


def _weighted(events: NDArray[np.bool_], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """events @ weights, by BLAS: the sums are integers far below 2**53."""
    return (events.astype(np.float64) @ weights.astype(np.float64)).astype(np.int64)

"""Adversarial vectors: few samples at which a wrong network is likely to show itself.

Samples are not drawn but searched: candidates run through the reference, which says what each neuron did; those are kept
that add most, and good ones are mutated toward what has not happened yet. No float decides, so the same call gives the same
vectors on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.integer import IntegerNetwork
from qleaky.verification.vectors.candidates import picked
from qleaky.verification.vectors.cover import Cover
from qleaky.verification.vectors.observing import EVENTS
from qleaky.verification.vectors.search import Pool, searched

GroupName = Literal[
    "all_spikes",
    "all_lowest",
    "maximum_weights",
    "threshold",
    "saturation_low",
    "saturation_high",
    "reset_chain",
    "random",
    "given",
]
AIMS: dict[GroupName, tuple[str, ...]] = {
    "threshold": ("threshold", "above", "classes"),
    "saturation_low": ("low",),
    "saturation_high": ("high",),
    "reset_chain": ("chain",),
}


@dataclass(frozen=True)
class VectorGroup:
    """Samples ``first`` to ``first + count - 1``, and what they are for."""

    name: GroupName
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class Vectors:
    """Encoded inputs by name, (T, B, ...) or (B, ...) of a static input, and which samples of them belong to which group."""

    codes: dict[str, NDArray[Any]]
    groups: tuple[VectorGroup, ...]

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(group.count for group in self.groups)


def vectors(network: IntegerNetwork, *, samples: int = 64, seed: int = 0) -> Vectors:
    """Inputs that bring a network to where arithmetic breaks.

    Groups, in this order; one that nothing was found for is left out:

    - "all_spikes", "all_lowest": every input at its highest, and at its lowest code.
    - "maximum_weights": what drives the channels with the largest sums of weights furthest up and down. Of the layers that
      sum inputs these are the proof's witnesses; of deeper layers, and of decay and step, the largest integers that were found.
    - "threshold": membranes that equal the threshold when they are compared with it, or exceed it by one code; two classes
      that are equal.
    - "saturation_low", "saturation_high": sums that leave the state's format below, above.
    - "reset_chain": neurons that fire in many steps on end.
    - "random": densities from 0 to 1, and mutations of what came close; of many, those that add most: also events at steps
      at which no sample had them, sums that the least more would round otherwise, weights that no sample felt.

    Args:
        network: the contract.
        samples: how many, at least 1.
        seed: of everything that is drawn.

    Raises:
        InputError: ``samples`` < 1, or a network that has no integers.
        LoweringError: sums that 64-bit integers cannot hold.
    """
    if samples < 1:
        raise InputError(f"vectors: samples={samples}; ask for at least 1.")
    pool = searched(network, samples, seed)
    chosen = _Choice(pool, samples).groups()
    groups, taken = list[VectorGroup](), list[int]()
    for name, found in chosen.items():
        if found:
            groups.append(VectorGroup(name, len(taken), len(found)))
        taken += found
    return Vectors(pool.inputs.ordered(picked(pool.batch, taken)), tuple(groups))


def _shares(samples: int) -> dict[GroupName, int]:
    """How many samples each group may have; the rest is random."""
    few, some = max(samples // 10, samples >= 8), 3 * samples // 16
    return {
        "all_spikes": 1,
        "all_lowest": int(samples > 1),
        "maximum_weights": samples // 4,
        "threshold": some,
        "saturation_low": few,
        "saturation_high": few,
        "reset_chain": few,
    }


class _Choice:
    """Every group takes from the pool what adds most to it, up to its share."""

    def __init__(self, pool: Pool, samples: int) -> None:
        self._pool, self._samples = pool, samples
        self._cover = Cover(pool.found, pool.places)

    def groups(self) -> dict[GroupName, list[int]]:
        """Numbers of the pool's samples by group, in order."""
        found: dict[GroupName, list[int]] = {}
        for name, share in (_shares(self._samples) | {"random": self._samples}).items():
            before = len(self._cover.taken)
            for sample in self._wanted(name, min(share, self._samples - before)):
                self._cover.take(sample)
            found[name] = self._cover.taken[before:]
        return found

    def _wanted(self, name: GroupName, share: int) -> Iterator[int]:
        if name in ("all_spikes", "all_lowest"):
            yield from self._pool.families[name][:share]
        elif name == "maximum_weights":
            yield from self._furthest(share)
        elif name == "random":
            yield from self._random(share)
        else:
            for place in range(share):
                best = self._cover.best(AIMS[name])
                if best is None and place == 0:
                    best = self._cover.fullest(AIMS[name])
                if best is None:
                    return
                yield best

    def _furthest(self, share: int) -> list[int]:
        """The first layers' witnesses; up to half are left to what reached further toward a bound than all of these do."""
        witnesses = [int(sample) for sample in self._pool.families["witness"]]
        leading, further = witnesses[: share - share // 2], list[int]()
        for values in self._pool.found.reached.values():
            best, before = int(values.argmax()), [*self._cover.taken, *leading, *further]
            if values[best] > values[before].max():
                further.append(best)
        further = further[: share - len(leading)]
        leading = witnesses[: share - len(further)]
        return [*leading, *(sample for sample in further if sample not in leading)]

    def _random(self, share: int) -> Iterator[int]:
        """What adds most of anything, every fourth of the random ones alone; then these as they were drawn, then whatever."""
        families, events = self._pool.families, (*EVENTS, *self._pool.found.goals)
        drawn = np.concatenate([families["random"], families["timed"]])
        order = iter([*drawn.tolist(), *range(len(self._pool.found.closest))])
        for place in range(share):
            best = self._cover.best(events, drawn if place % 4 == 3 else None)
            yield next(sample for sample in order if sample not in self._cover.taken) if best is None else best

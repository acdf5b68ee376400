"""The pool of candidates from which adversarial vectors are chosen, and what happens in each."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import Conv, IntegerNetwork, Linear
from qleaky.verification.vectors import candidates as make
from qleaky.verification.vectors.influence import linear_fronts
from qleaky.verification.vectors.moments import elsewhere
from qleaky.verification.vectors.observing import FAR, Observation, Observer
from qleaky.verification.vectors.places import Place
from qleaky.verification.vectors.targets import AIMS, ThresholdSearch
from qleaky.verification.vectors.textures import patched, textured

EFFORT, BYTES, NEURONS = 6_000_000_000, 1 << 27, 1 << 22
POOL, ROUNDS, WORK = 4, 6, 64
GENERATIONS, PARENTS = 6, 2
MOST = 1 << 16  # inputs that are all taken
LARGE_POOL, CHEAP = 16, 64  # of networks that cost next to nothing
Indices = NDArray[np.intp]


def searched(network: IntegerNetwork, samples: int, seed: int) -> Pool:
    """Candidates of every kind, then mutated ones, as many as are cheap, and at least ``samples``."""
    pool = Pool(network, samples, seed)
    pool.populate()
    pool.aim()
    pool.climb()
    if not pool.take_every_input():
        for _ in range(pool.rounds):
            pool.improve()
    return pool


class Pool:
    """A pool of candidates with what happened in each."""

    def __init__(self, network: IntegerNetwork, samples: int, seed: int) -> None:
        self.network, self.samples = network, samples
        self.observer = Observer(network)
        self.inputs = make.Inputs(network.inputs, network.num_steps)
        self.draw = np.random.Generator(np.random.PCG64(seed))
        most = _affordable(network, self.observer.neurons)
        self.size = int(max(np.clip(most // 2, samples, POOL * samples), np.clip(most // CHEAP, samples, LARGE_POOL * samples)))
        self.rounds = int(np.clip((most - self.size) // max(self.size // 2, 1), 0, ROUNDS))
        self.batch: make.Batch = {}
        self._found: Observation | None = None
        self.families: dict[str, Indices] = {}

    def populate(self) -> None:
        """The first candidates: fixed ones, witnesses, textures, patterns in time, random ones."""
        most, fronts = max(self.samples // 4, 1), make.first_weighted(self.network)
        deeper = [layer.name for layer in self.network.layers if isinstance(layer, Linear | Conv) and layer.name not in fronts]
        parts = {
            "all_spikes": self.inputs.filled(1, "highest"),
            "all_lowest": self.inputs.filled(1, "lowest"),
            "witness": make.worst_cases(self.network, self.inputs, most, fronts),
            "deeper": make.worst_cases(self.network, self.inputs, max(most // 2, 2), deeper),
            "mixed": make.mixed(self.network, self.inputs, most, self.draw),
        }
        parts["textured"] = textured(self.inputs, most * min(2, 1 + self.rounds), self.draw)
        left = max(self.size - sum(map(_count, parts.values())), self.samples // 2)
        parts["random"] = make.random(self.inputs, (left + 1) // 2, self.draw)
        patterns = make.joined(
            *(parts[name] for name in ("witness", "deeper", "mixed", "random", "textured", "all_spikes", "all_lowest"))
        )
        parts["timed"] = make.in_time(self.inputs, patterns, left // 2, self.draw)
        self._add(parts)

    def aim(self) -> None:
        """Drive neurons of the first layers to theta where no candidate brought them, and all sums to the edges of rounding."""
        for lif, event in itertools.product(linear_fronts(self.network), AIMS):
            search = ThresholdSearch(self.network, lif, self.inputs, event)
            there = self.found.events[event][:, self.observer.places[lif.name, "mem"].span]
            missing = np.asarray(~there.any(axis=0) | (event != "threshold"))
            if lif.synapse is None and missing.any() and search.possible:
                most = self.samples // 5 if event == "threshold" else min(self.samples // 16, -(-len(missing) // search.steps))
                self._add({"aimed": search.batch(missing, min(max(most, 1), int(missing.sum())))})

    def take_every_input(self) -> bool:
        """All inputs that there are, where they are few; whether they are."""
        few = math.prod(self.inputs.choices()) <= MOST
        if few:
            self._add({"every": self.inputs.every()})
        return few

    def improve(self) -> None:
        """One round of mutations of the candidates that came closest to what is missing, and that reached furthest."""
        found, count = self.found, max(self.size // 2, 1)
        lacking = ~(found.events["threshold"].any(axis=0) & found.events["above"].any(axis=0))
        missing = np.flatnonzero(lacking & (found.closest.min(axis=0) < FAR))
        near = found.closest[:, missing].argmin(axis=0) if len(missing) else np.zeros(0, np.intp)
        furthest = np.array([values.argmax() for values in found.reached.values()], np.intp)
        busy = [found.events[name].sum(axis=1).argsort(kind="stable")[-4:] for name in ("low", "high", "chain", "fired")]
        tied = [gap.argsort(kind="stable")[: max(count // 8, 1)] for gap in found.gaps.T if gap.all()]
        moved = elsewhere(found.goals["moments"], self.network.num_steps)
        goals = [
            *tied,
            self.draw.permutation(moved)[: count // 4],
            self.draw.permutation(near)[: count // 2],
            np.tile(furthest, 4),
            *busy,
        ]
        parents = np.resize(np.concatenate(goals), count)
        self._add({"mutated": make.mutated(self.inputs, self.batch, parents, self.draw)})

    def climb(self) -> None:
        """Generations of patched candidates, toward neurons of the last layer that never fired; where textures are."""
        for _ in range(GENERATIONS if self.rounds and self.families["textured"].size else 0):
            never = ~self.found.events["fired"][:, self.observer.last.span].any(axis=0)
            if not never.any():
                return
            furthest = (-self.found.pushed[:, never]).argsort(axis=0, kind="stable")[:PARENTS].ravel()
            parents = np.resize(furthest, max(self.samples // 4, 1))
            self._add({"mutated": patched(self.inputs, self.batch, parents, self.draw)})

    @property
    def found(self) -> Observation:
        """What happens in the candidates."""
        assert self._found is not None
        return self._found

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each layer's neurons stand in it."""
        return tuple(self.observer.places.values())

    def _add(self, parts: dict[str, make.Batch]) -> None:
        """Families of candidates, observed in one go: a step of the reference costs about the same for few samples."""
        start = _count(self.batch)
        for family, batch in parts.items():
            numbers = np.arange(start, start + _count(batch))
            self.families[family] = np.concatenate([self.families.get(family, numbers[:0]), numbers])
            start += _count(batch)
        whole = make.joined(*parts.values())
        found = self.observer.observe(self.inputs.ordered(whole))
        self._found = found if self._found is None else self._found.joined(found)
        self.batch = make.joined(self.batch, whole) if self.batch else whole


def _count(batch: make.Batch) -> int:
    return len(next(iter(batch.values()))) if batch else 0


def _affordable(network: IntegerNetwork, neurons: int) -> int:
    """How many candidates the effort, their bytes and what is kept of each neuron allow, mutated ones included."""
    steps, signals = network.num_steps, network.signals
    numbers = sum(math.prod(signal.shape) for signal in signals.values())
    products = 0
    for layer in network.layers:
        if isinstance(layer, Linear | Conv):
            products += math.prod(signals[layer.name].shape) * math.prod(layer.weight.shape[1:])
    held = sum(math.prod(source.shape) * source.format.dtype.itemsize for source in network.inputs) * steps
    return min(EFFORT // (steps * (WORK * numbers + products) + 1), BYTES // held, NEURONS // neurons)

"""Inputs among which adversarial vectors are chosen: worst cases, patterns in time, random ones, and mutations of good ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import Conv, Input, IntegerNetwork, Linear
from qleaky.integer.signals import Signal
from qleaky.verification.vectors.influence import influence, linear_fronts, one_hot

Codes = NDArray[Any]
Batch = dict[str, Codes]
Draw = np.random.Generator
CHUNK = 16


@dataclass(frozen=True)
class Inputs:
    """The inputs of a network, with batches of samples kept sample first: (N, T, ...), or (N, 1, ...) of a static input."""

    sources: tuple[Input, ...]
    num_steps: int

    def steps(self, source: Input) -> int:
        """How many steps a sample of an input holds."""
        return self.num_steps if source.time == "sequence" else 1

    def choices(self) -> list[int]:
        """How many codes each input can have at each place of a sample, in order."""
        return [s.format.highest - s.format.lowest + 1 for s in self.sources for _ in range(self.steps(s) * math.prod(s.shape))]

    def every(self) -> Batch:
        """All samples that there are."""
        choices, batch, start = self.choices(), dict[str, Codes](), 0
        digits = np.unravel_index(np.arange(math.prod(choices)), choices)
        for source in self.sources:
            shape = self.steps(source), *source.shape
            part = np.stack(digits[start : start + math.prod(shape)], axis=1) + source.format.lowest
            batch[source.name] = part.reshape(-1, *shape).astype(source.format.dtype)
            start += math.prod(shape)
        return batch

    def filled(self, count: int, what: str) -> Batch:
        """Samples of one code everywhere: "highest", "lowest" or "zero_point"."""
        return {
            s.name: np.full((count, self.steps(s), *s.shape), getattr(s.format, what), s.format.dtype) for s in self.sources
        }

    def ordered(self, batch: Batch) -> Batch:
        """As a network takes them: (T, N, ...), or (N, ...)."""
        return {
            s.name: np.ascontiguousarray(batch[s.name].swapaxes(0, 1)) if s.time == "sequence" else batch[s.name][:, 0]
            for s in self.sources
        }


def picked(batch: Batch, samples: Sequence[int] | NDArray[np.intp]) -> Batch:
    """Some samples of a batch."""
    return {name: array[np.asarray(samples, np.intp)] for name, array in batch.items()}


def joined(*batches: Batch) -> Batch:
    """The samples of all batches."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def random(inputs: Inputs, count: int, draw: Draw) -> Batch:
    """Densities from 0 to 1; where a code is not at rest it is any, the highest, or one end of the range."""
    densities, styles = draw.integers(0, 257, count), draw.integers(0, 3, count)
    batch = inputs.filled(count, "zero_point")
    for source in inputs.sources:
        fmt, codes = source.format, batch[source.name]
        for start in range(0, count, CHUNK):
            part = codes[start : start + CHUNK]
            chosen = slice(start, start + CHUNK)
            axes = (-1, *(1,) * (part.ndim - 1))
            ends = np.where(draw.integers(0, 2, part.shape) == 1, fmt.highest, fmt.lowest)
            style = styles[chosen].reshape(axes)
            values = np.where(style == 0, draw.integers(fmt.lowest, fmt.highest + 1, part.shape), ends)
            values = np.where(style == 1, fmt.highest, values)
            active = draw.integers(0, 256, part.shape) < densities[chosen].reshape(axes)
            part[...] = np.where(active, values, fmt.zero_point)
    return batch


def worst_cases(network: IntegerNetwork, inputs: Inputs, most: int, layers: Sequence[str] | None = None) -> Batch:
    """What drives output channels furthest up, then furthest down, at every step; ``most`` samples of each layer at most.

    Of every layer with weights, or of ``layers``, the channels whose sums can be largest.
    """
    batches = [inputs.filled(0, "lowest")]
    for layer in network.layers:
        if not isinstance(layer, Linear | Conv) or (layers is not None and layer.name not in layers):
            continue
        channels = np.argsort(-_furthest(layer, network.signals[layer.name]), kind="stable")[: (most + 1) // 2]
        batches.append(
            driven(inputs, influence(network, layer.name, one_hot(layer, network.signals[layer.name].shape, channels)))
        )
        batches[-1] = picked(batches[-1], np.arange(min(most, 2 * len(channels))))
    return joined(*batches)


def _furthest(layer: Linear | Conv, emitted: Signal) -> NDArray[Any]:
    """The largest sum, up or down, that every channel can reach."""
    both = np.maximum(*(np.abs(ends) for ends in emitted.full()))
    return np.asarray(
        np.moveaxis(both, -1 if isinstance(layer, Linear) else 0, 0).reshape(layer.weight.shape[0], -1).max(axis=1)
    )


def mixed(network: IntegerNetwork, inputs: Inputs, most: int, draw: Draw) -> Batch:
    """What drives several neurons of a layer at once, some up and some down; ``most`` samples of each layer of neurons."""
    batches = [inputs.filled(0, "lowest")]
    for lif in network.lif_layers:
        shape = network.signals[lif.input].shape
        size = int(np.prod(shape, dtype=np.int64))
        wanted = np.zeros(((most + 1) // 2, size), np.int64)
        for row in wanted:
            neurons = draw.integers(0, size, 1 + int(draw.integers(0, 8)))
            row[neurons] = draw.integers(0, 2, len(neurons)) * 2 - 1
        batches.append(driven(inputs, influence(network, lif.input, wanted.reshape(-1, *shape))))
    return joined(*batches)


def first_weighted(network: IntegerNetwork) -> list[str]:
    """Layers with weights that sum inputs alone, whose bounds have exact witnesses."""
    behind: dict[str, set[str]] = {}
    for layer in network.layers:
        behind[layer.name] = {layer.name}.union(*(behind.get(name, set()) for name in layer.inputs))
    fronts = set().union(*(behind[lif.name] for lif in linear_fronts(network)), set())
    weighted = [layer for layer in network.layers if isinstance(layer, Linear | Conv)]
    found = [layer.name for layer in weighted if layer.name in fronts]
    return [name for name in found if not any(other.name in behind[name] - {name} for other in weighted)]


def driven(inputs: Inputs, asked: Batch) -> Batch:
    """Of every pattern the sample that drives it up, then the one that drives it down."""
    batch = {}
    for source in inputs.sources:
        fmt, signs = source.format, np.sign(asked[source.name])
        both = np.stack([signs, -signs], axis=1).reshape(-1, *source.shape)
        codes = np.where(both > 0, fmt.highest, np.where(both < 0, fmt.lowest, fmt.zero_point)).astype(fmt.dtype)
        batch[source.name] = np.repeat(codes[:, None], inputs.steps(source), axis=1)
    return batch


def in_time(inputs: Inputs, patterns: Batch, count: int, draw: Draw) -> Batch:
    """Patterns, and thinned ones, switched on at one step and off, or to another pattern, at a later one; some in turns."""
    total = len(next(iter(patterns.values())))
    batch, steps = inputs.filled(count, "zero_point"), inputs.num_steps
    for sample in range(count):
        one, other = draw.integers(0, total, 2)
        first, last = sorted(int(t) for t in draw.integers(0, steps + 1, 2))
        period, after, thinning = (int(n) for n in draw.integers(0, (4, 3, 4)))
        density = int(draw.integers(16, 256))
        for source in inputs.sources:
            codes, t = batch[source.name][sample], np.arange(inputs.steps(source))
            on = (t >= first) & (t < max(last, first + 1)) & ((t // (period + 1)) % 2 == 0 if period else True)
            on = on if source.time == "sequence" else np.ones(1, np.bool_)
            codes[on] = patterns[source.name][one][on]
            if after and source.time == "sequence":
                codes[t >= last] = patterns[source.name][other][t >= last] if after == 1 else source.format.lowest
            if thinning:
                kept = draw.integers(0, 256, source.shape) < density
                codes[...] = np.where(kept, codes, source.format.zero_point)
    return batch


def mutated(inputs: Inputs, batch: Batch, parents: NDArray[np.intp], draw: Draw) -> Batch:
    """One child of each parent: a few other codes, a step held or left out, a shift in time, or a cross with another parent."""
    children = picked(batch, parents)
    for child in range(len(parents)):
        how, mate = (int(n) for n in draw.integers(0, (5, len(parents))))
        cut, hold = (int(t) for t in draw.integers(0, inputs.num_steps, 2))
        for source in inputs.sources:
            codes, other = children[source.name][child], batch[source.name][parents[mate]]
            steps = len(codes)
            if steps == 1 or how == 0:
                _some_codes(source, codes, draw)
            elif how == 1:
                codes[cut : cut + hold + 1] = codes[cut].copy()
            elif how == 2:
                codes[...] = np.roll(codes, 1 + hold, axis=0)
            elif how == 3:
                codes[cut:] = other[cut:]
            else:
                codes[cut : cut + 1 + hold // 2] = source.format.zero_point
    return children


def _some_codes(source: Input, codes: Codes, draw: Draw) -> None:
    """Other codes at a few places: any, an end, or one more or less."""
    fmt, size = source.format, codes.size
    places = draw.integers(0, size, 1 + int(draw.integers(0, max(2, min(size // 8, 64)))))
    flat, how = codes.reshape(-1), int(draw.integers(0, 3))
    if how == 0:
        values: Any = draw.integers(fmt.lowest, fmt.highest + 1, len(places))
    elif how == 1:
        values = np.where(flat[places] == fmt.highest, fmt.lowest, fmt.highest)
    else:
        values = np.clip(flat[places].astype(np.int64) + draw.integers(-1, 2, len(places)), fmt.lowest, fmt.highest)
    flat[places] = values

"""Inputs for checks: random ones, and the ones at which arithmetic breaks first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import Conv, Input, IntegerNetwork, Linear, Reshape
from qleaky.integer.graph import whole
from qleaky.integer.signals import as_integers


def synthetic_inputs(network: IntegerNetwork, samples: int = 64, seed: int = 0) -> Any:
    """Input codes (T, B, ...), or (B, ...): all highest, all lowest, the worst cases of the first layers, then random ones.

    The worst case of an output channel drives every positive weight with the highest code and every negative one with
    the lowest, or the other way round, at every step: accumulators come closest to their bounds. The random samples have
    densities from 0 to 1. A network with several inputs gets a dict of them.
    """
    rng = np.random.default_rng(seed)
    return whole({source.name: _codes(network, source, samples, rng) for source in network.inputs})


def _codes(network: IntegerNetwork, source: Input, samples: int, rng: np.random.Generator) -> NDArray[Any]:
    fmt, shape = source.format, source.shape
    patterns = [np.full(shape, fmt.highest), np.full(shape, fmt.lowest), *_worst_cases(network, source, samples // 4)]
    steps = network.num_steps if source.time == "sequence" else 1
    fixed = [np.broadcast_to(pattern, (steps, *shape)) for pattern in patterns]
    while len(fixed) < samples:
        density = rng.random()
        values = rng.integers(fmt.lowest, fmt.highest + 1, (steps, *shape))
        fixed.append(np.where(rng.random((steps, *shape)) < density, values, fmt.zero_point))
    codes = np.stack(fixed[:samples], axis=1).astype(fmt.dtype)
    return codes if source.time == "sequence" else codes[0]


def _worst_cases(network: IntegerNetwork, source: Input, most: int) -> list[NDArray[Any]]:
    """What drives the output channels with the largest weights, of the first layer with weights behind an input."""
    names = {source.name}
    for layer in network.layers:
        if layer.inputs[0] not in names:
            continue
        if isinstance(layer, Reshape):
            names.add(layer.name)
        elif isinstance(layer, (Linear, Conv)):
            shape = network.signals[layer.input].shape
            sums = np.abs(as_integers(layer.weight)).reshape(layer.weight.shape[0], -1).sum(axis=1)
            placed = [_placed(layer, int(channel), shape) for channel in np.argsort(-sums, kind="stable")[:most]]
            return [_driven(source, weights, up) for weights in placed for up in (True, False)][:most]
    return []


def _placed(layer: Linear | Conv, channel: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """The weights of one output channel where they meet the input, zero elsewhere."""
    weights = np.zeros(shape, np.int64)
    if isinstance(layer, Linear):
        weights[...] = np.sign(layer.weight[channel])
        return weights
    per_group, rows = layer.weight.shape[1], layer.weight.shape[0] // layer.groups
    first = channel // rows * per_group
    spans = zip(layer.dilation, layer.weight.shape[2:], strict=True)
    window = tuple(slice(0, min(d * (k - 1) + 1, s), d) for (d, k), s in zip(spans, shape[1:], strict=True))
    target = weights[(slice(first, first + per_group), *window)]
    target[...] = np.sign(layer.weight[channel])[(slice(None), *(slice(0, n) for n in target.shape[1:]))]
    return weights


def _driven(source: Input, signs: NDArray[Any], up: bool) -> NDArray[Any]:
    fmt = source.format
    high, low = (fmt.highest, fmt.lowest) if up else (fmt.lowest, fmt.highest)
    return np.where(signs > 0, high, np.where(signs < 0, low, fmt.zero_point)).reshape(source.shape)

"""Inputs for checks: random ones, and the ones at which arithmetic breaks first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import IntegerNetwork, Linear


def synthetic_inputs(network: IntegerNetwork, samples: int = 64, seed: int = 0) -> NDArray[Any]:
    """Input codes (T, B, ...), or (B, ...): all highest, all lowest, the worst cases of the first layer, then random ones.

    The worst case of an output channel drives every positive weight with the highest code and every negative one with
    the lowest, or the other way round, at every step: accumulators come closest to their bounds. The random samples have
    densities from 0 to 1.
    """
    fmt, shape = network.input.format, network.input.shape
    rng = np.random.default_rng(seed)
    patterns = [np.full(shape, fmt.highest), np.full(shape, fmt.lowest), *_worst_cases(network, samples // 4)]
    steps = network.num_steps if network.input.time == "sequence" else 1
    fixed = [np.broadcast_to(pattern, (steps, *shape)) for pattern in patterns]
    while len(fixed) < samples:
        density = rng.random()
        values = rng.integers(fmt.lowest, fmt.highest + 1, (steps, *shape))
        fixed.append(np.where(rng.random((steps, *shape)) < density, values, fmt.zero_point))
    codes = np.stack(fixed[:samples], axis=1).astype(fmt.dtype)
    return codes if network.input.time == "sequence" else codes[0]


def _worst_cases(network: IntegerNetwork, most: int) -> list[NDArray[Any]]:
    fmt = network.input.format
    first = next((layer for layer in network.layers if layer.input == "input" and isinstance(layer, Linear)), None)
    if first is None or len(network.input.shape) != 1:
        return []
    channels = np.argsort(-np.abs(first.weight.astype(np.int64)).sum(axis=1))[:most]
    rows = [first.weight[channel] for channel in channels]
    return [np.where((row > 0) == up, fmt.highest, fmt.lowest) for row in rows for up in (True, False)][:most]

"""How often each element of what feeds weights is not zero: the activity that decides what an event-driven step costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import Conv, IntegerNetwork, Linear
from qleaky.reference import run
from qleaky.verification.emissions import Emissions


def spike_rates(network: IntegerNetwork, codes: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """By name of each signal that feeds a layer with weights, the share of samples and steps in which an element was not 0.

    Args:
        network: the contract.
        codes: encoded inputs by name, (T, B, ...), or (B, ...) of a static input.
    """
    recording = run(network, dict(codes))
    wanted = {layer.input for layer in network.layers if isinstance(layer, (Linear, Conv))}
    counts = {name: np.zeros(network.signals[name].shape) for name in wanted}
    for _, values in Emissions(network, recording, codes, wanted):
        for name in wanted & set(values):
            counts[name] += np.count_nonzero(values[name], axis=0)
    samples = next(iter(recording.spikes.values())).shape[1]
    return {name: count / (samples * (network.num_steps if name in network.moving else 1)) for name, count in counts.items()}

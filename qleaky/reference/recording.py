"""What a run of a network leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer.layers import Readout


@dataclass(frozen=True)
class Recording:
    """Every spike and membrane code of a run.

    ``spikes`` and ``membranes`` map LIF layers, in order, to integer arrays (T, B, ...); ``outputs`` maps the readout's
    names to integer arrays.
    """

    spikes: dict[str, NDArray[Any]]
    membranes: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


def read_out(readout: Readout, spikes: NDArray[Any], membranes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The readout from the spikes and membranes (T, B, ...) of its layer, and the class if it asks for one.

    Integers add up in int64; a float network's numbers in float64, rounded to float32 once.
    """
    match readout.kind:
        case "spikes":
            values = spikes
        case "spike_count":
            values = _sum(spikes)
        case "membrane_mean":
            values = _sum(membranes)
        case "last_membrane":
            values = membranes[-1]
    outputs = {readout.output_name: values}
    if readout.argmax:
        outputs["class"] = values.argmax(axis=-1)
    return outputs


def _sum(values: NDArray[Any]) -> NDArray[Any]:
    wide, narrow = (np.int64, np.int64) if values.dtype.kind in "iu" else (np.float64, np.float32)
    return np.asarray(values.sum(axis=0, dtype=wide), dtype=narrow)

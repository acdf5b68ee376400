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
    """The readout's integers from the spikes and membranes (T, B, ...) of its layer, and the class if it asks for one."""
    match readout.kind:
        case "spikes":
            values = spikes
        case "spike_count":
            values = spikes.sum(axis=0, dtype=np.int64)
        case "membrane_mean":
            values = membranes.sum(axis=0, dtype=np.int64)
        case "last_membrane":
            values = membranes[-1]
    outputs = {readout.output_name: values}
    if readout.argmax:
        outputs["class"] = values.argmax(axis=-1)
    return outputs

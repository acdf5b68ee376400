"""What a run of a network leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer.float_network import FloatNetwork
from qleaky.integer.layers import Readout
from qleaky.integer.network import IntegerNetwork


@dataclass(frozen=True)
class Recording:
    """Every spike and every state code of a run.

    ``spikes`` (what layers emit: 0 and 1, counts, or graded integers) and ``membranes`` map LIF layers, in order, to integer
    arrays (T, B, ...); ``synapses`` those that have a synaptic current. ``outputs`` maps the names of the network's outputs.
    """

    spikes: dict[str, NDArray[Any]]
    membranes: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    synapses: dict[str, NDArray[Any]] = field(default_factory=dict)

    def part(self, samples: slice) -> Recording:
        """Some of the samples, without outputs."""
        spikes, membranes, synapses = (
            {name: array[:, samples] for name, array in arrays.items()}
            for arrays in (self.spikes, self.membranes, self.synapses)
        )
        return Recording(spikes, membranes, {}, synapses)


def read_out(
    network: IntegerNetwork | FloatNetwork, spikes: dict[str, NDArray[Any]], membranes: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """All outputs of a network from the spikes and membranes (T, B, ...) of the layers that its readouts name.

    Integers add up in int64; a float network's numbers in float64, rounded to float32 once.
    """
    outputs = {}
    for readout in network.readouts:
        values = _values(readout, spikes, membranes)
        outputs[network.output_name(readout)] = values
        if readout.argmax:
            outputs[network.output_name(readout, "class")] = values.argmax(axis=-1)
    return outputs


def _values(readout: Readout, spikes: dict[str, NDArray[Any]], membranes: dict[str, NDArray[Any]]) -> NDArray[Any]:
    match readout.kind:
        case "spikes":
            return spikes[readout.layer]
        case "spike_count":
            return _sum(spikes[readout.layer])
        case "membrane_mean":
            return _sum(membranes[readout.layer])
        case "last_membrane":
            last: NDArray[Any] = membranes[readout.layer][-1]
            return last


def _sum(values: NDArray[Any]) -> NDArray[Any]:
    wide, narrow = (np.int64, np.int64) if values.dtype.kind in "iu" else (np.float64, np.float32)
    return np.asarray(values.sum(axis=0, dtype=wide), dtype=narrow)

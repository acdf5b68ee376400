"""Where the neurons of each layer stand, when all of them are in one row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qleaky.integer import IntegerNetwork


@dataclass(frozen=True)
class Place:
    """Where the neurons of a layer, or its synaptic currents ("syn"), stand in the flat axis of an observation."""

    layer: str
    kind: str
    shape: tuple[int, ...]
    span: slice


def places(network: IntegerNetwork) -> tuple[Place, ...]:
    """Membranes of all layers in order, then synaptic currents."""
    found, start = [], 0
    for kind, lifs in (("mem", network.lif_layers), ("syn", [lif for lif in network.lif_layers if lif.synapse is not None])):
        for lif in lifs:
            shape = network.signals[lif.name].shape
            size = int(np.prod(shape, dtype=np.int64))
            found.append(Place(lif.name, kind, shape, slice(start, start + size)))
            start += size
    return tuple(found)

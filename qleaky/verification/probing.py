"""Every spike and membrane that an artefact computes in ONNX Runtime, through its probe twin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.export import twin
from qleaky.export.forms import probe_name
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.verification.runners import Runner

Arrays = dict[str, NDArray[Any]]


class ProbedRunner:
    """Runs the twin of ``model``; settings as :class:`Runner`'s.

    Raises:
        ArtefactError: the graph does not hold the network's spikes and membranes.
    """

    def __init__(self, model: Any, network: IntegerNetwork | FloatNetwork, **settings: Any) -> None:
        self._layers = tuple(lif.name for lif in network.lif_layers)
        self._steps = range(network.num_steps)
        self._runner = Runner(twin.with_probes(model, self._layers, network.num_steps), **settings)

    def record(self, inputs: NDArray[Any]) -> tuple[Arrays, Arrays, Arrays]:
        """Spikes and membranes (T, B, ...) of every layer, and the shipped outputs as the twin computes them."""
        found = self._runner.run(inputs)
        return self._stacked(found, "spk"), self._stacked(found, "mem"), found

    def _stacked(self, found: Arrays, kind: str) -> Arrays:
        return {name: np.concatenate([found[probe_name(name, kind, t)] for t in self._steps]) for name in self._layers}

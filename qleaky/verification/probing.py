"""Every spike and membrane that an artefact computes in a runtime, through its probe twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import ArtefactError
from qleaky.export import twin
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.reference import Recording
from qleaky.verification.compare import converted
from qleaky.verification.runners import Runner

Arrays = dict[str, NDArray[Any]]


class WholeRunner(Protocol):
    """What runs whole sequences: a :class:`qleaky.Runner`, or another runtime's."""

    def run(self, arrays: Arrays) -> Arrays:
        """All outputs for whole sequences, by name."""


class ProbedRunner:
    """Runs the twin of ``model`` in what ``load`` makes of its bytes, by default a :class:`qleaky.Runner`.

    Raises:
        ArtefactError: the graph does not hold the network's spikes and membranes.
    """

    def __init__(
        self, model: Any, network: IntegerNetwork | FloatNetwork, load: Callable[[bytes], WholeRunner] = Runner
    ) -> None:
        self._network = network
        form = twin.metadata(model).get("qleaky.form", "unrolled")
        self._offsets = {} if isinstance(network, FloatNetwork) else twin.membrane_offsets(model)
        kinds = {
            lif.name: ("mem", "syn", "spk") if getattr(lif, "synapse", None) else ("mem", "spk") for lif in network.lif_layers
        }
        data, self._probes = twin.with_probes(model, kinds, form, network.num_steps)
        self._runner = load(data)

    def record(self, inputs: Any) -> tuple[Recording, Arrays]:
        """Every spike and state (T, B, ...) of every layer, and the shipped outputs as the twin computes them."""
        found = self._runner.run(inputs)
        arrays: dict[str, Arrays] = {"mem": {}, "syn": {}, "spk": {}}
        for name, kind in self._probes:
            arrays[kind][name] = self._stacked(found, name, kind)
        membranes = {name: mem + self._offsets.get(name, 0) for name, mem in arrays["mem"].items()}
        return Recording(arrays["spk"], membranes, {}, arrays["syn"]), found

    def _stacked(self, found: Arrays, name: str, kind: str) -> NDArray[Any]:
        """The steps of one layer, from one output or from one for each step.

        In the reference's type, unless a number would become another there: that is no code, and rounding would hide it.
        """
        pieces = [np.asarray(found[output]) for output in self._probes[name, kind]]
        floats = isinstance(self._network, FloatNetwork)
        shape = self._network.shapes[name] if isinstance(self._network, FloatNetwork) else self._network.signals[name].shape
        (first, *others) = shapes = [piece.shape for piece in pieces]
        if any(each != first for each in others) or first[len(first) - len(shape) :] != tuple(shape):
            found_shapes = ", ".join(map(str, dict.fromkeys(shapes)))
            raise ArtefactError(
                f"the {kind} of layer {name!r} has the shape {found_shapes}, where one ending in {tuple(shape)} is due."
            )
        whole = (np.concatenate(pieces) if others else pieces[0]).reshape(self._network.num_steps, -1, *shape)
        return converted(whole, np.float32 if floats else np.int64)

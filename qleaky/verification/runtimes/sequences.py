"""Whole sequences in any runtime: at once, or step by step from states of zero where the graph is one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from qleaky.errors import ArtefactError
from qleaky.export import twin
from qleaky.verification.runners import decoded
from qleaky.verification.runtimes.protocol import Arrays, Executor
from qleaky.verification.stepping import whole_sequence


class SequenceRunner:
    """Runs an executor of ``model`` as :meth:`qleaky.Runner.run` does: what a graph of the whole sequence gives."""

    def __init__(self, model: onnx.ModelProto, executor: Executor) -> None:
        self._executor = executor
        metadata = twin.metadata(model)
        self._is_step = metadata.get("qleaky.form") == "step"
        self._times = {name: time for name, (_, time) in decoded(metadata, "inputs", dict[str, tuple[str, str]]).items()}
        self._num_steps = max(decoded(metadata, "num_steps", int), 1)
        self._sequences = decoded(metadata, "sequences", list[str])
        self._made = {output.name: _dtype(output) for output in model.graph.output}
        self._states = {value.name: value for value in model.graph.input if f"{value.name}.next" in self._made}

    @property
    def assigned(self) -> dict[str, int] | None:
        """Nodes by provider, where the executor knows them."""
        return getattr(self._executor, "assigned", None)

    def run(self, arrays: Arrays) -> Arrays:
        """All outputs of whole sequences, for inputs (T, B, ...), or (B, ...) where they are the same in all steps.

        Raises:
            ArtefactError: the executor gives other outputs than the graph has.
        """
        if not self._is_step:
            return self._checked(self._executor.run(arrays))
        steps = self.steps(arrays)
        outputs = [name for name in self._made if not name.endswith(".next")]
        return whole_sequence(steps, outputs, self._states, self._sequences)

    def steps(self, arrays: Arrays) -> list[Arrays]:
        """Every output of every step of a step graph, from states of zero."""
        moving = [array.shape[0] for name, array in arrays.items() if self._moves(name)]
        found: list[Arrays] = []
        for t in range(moving[0] if moving else self._num_steps):
            found.append(self._checked(self._executor.run(self.entering(arrays, t, found[-1] if found else None))))
        return found

    def entering(self, arrays: Arrays, step: int, before: Arrays | None) -> Arrays:
        """What goes into a step of a step graph: its part of the inputs, and the states as the step before left them."""
        taken = {name: array[step] if self._moves(name) else array for name, array in arrays.items()}
        batch = next(iter(taken.values())).shape[0]
        return taken | {
            name: before[f"{name}.next"] if before else _zeros(value, batch) for name, value in self._states.items()
        }

    def _moves(self, name: str) -> bool:
        return self._times.get(name, "sequence") == "sequence"

    def _checked(self, found: Mapping[str, Any]) -> Arrays:
        arrays = {name: np.asarray(found[name]) for name in self._made if name in found}
        if missing := [name for name in self._made if name not in arrays]:
            raise ArtefactError(f"it gives no output {missing[0]!r}, which the graph has.")
        for name, array in arrays.items():
            if array.dtype != self._made[name]:
                raise ArtefactError(f"it gives {name!r} as {array.dtype}, and the graph as {self._made[name]}.")
        return arrays


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _zeros(value: onnx.ValueInfoProto, batch: int) -> NDArray[Any]:
    dims = value.type.tensor_type.shape.dim
    return np.zeros([dim.dim_value if dim.HasField("dim_value") else batch for dim in dims], _dtype(value))

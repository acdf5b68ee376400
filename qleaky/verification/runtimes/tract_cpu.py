"""tract, an inference engine in Rust."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from qleaky.errors import ArtefactError
from qleaky.verification.runtimes.protocol import Arrays, Runtime, Setting
from qleaky.verification.runtimes.requirements import require


class Tract(Runtime):
    """tract through its Python package.

    Raises:
        MissingDependencyError: tract is not installed.
    """

    name = "tract"

    def __init__(self) -> None:
        self._tract = require(self.name, "tract")

    def versions(self) -> dict[str, str]:
        """As :meth:`Runtime.versions`."""
        return {"tract": version("tract")}

    def load(self, data: bytes, setting: Setting) -> Runnable:
        """As :meth:`Runtime.load`.

        Raises:
            ArtefactError: tract cannot load it; the first line and the last cause of its error, which has a stack of its own.
        """
        with tempfile.TemporaryDirectory(prefix="qleaky-") as folder:
            path = Path(folder) / "model.onnx"  # it loads files alone
            path.write_bytes(data)
            try:
                runnable = self._tract.onnx().load(str(path)).into_model().into_runnable()
            except self._tract.TractError as error:
                raise ArtefactError(shortened(str(error))) from error
        graph = onnx.load_model_from_string(data).graph
        return Runnable(runnable, [i.name for i in graph.input], [o.name for o in graph.output])


class Runnable:
    """A model that takes and gives tensors in the graph's order."""

    def __init__(self, runnable: Any, inputs: list[str], outputs: list[str]) -> None:
        self._runnable, self._inputs, self._outputs = runnable, inputs, outputs

    def run(self, arrays: Arrays) -> Mapping[str, Any]:
        """As :meth:`Executor.run`."""
        found = self._runnable.run([np.ascontiguousarray(arrays[name]) for name in self._inputs])
        return dict(zip(self._outputs, (np.array(value.to_numpy()) for value in found), strict=True))


def shortened(message: str) -> str:
    """The first line of an error of tract, and the last of its causes, which says what is wrong."""
    lines = [line.strip() for line in message.partition("Stack backtrace")[0].splitlines() if line.strip()]
    return lines[0] if len(lines) < 2 else f"{lines[0]}: {lines[-1].partition(': ')[2] or lines[-1]}"

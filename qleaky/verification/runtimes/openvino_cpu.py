"""OpenVINO's CPU plug-in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from qleaky.errors import ArtefactError
from qleaky.verification.runtimes.protocol import Arrays, Runtime, Setting
from qleaky.verification.runtimes.requirements import require


class OpenVino(Runtime):
    """OpenVINO on the CPU, told to compute float32 in float32, by 1 and 2 threads.

    Raises:
        MissingDependencyError: openvino is not installed.
    """

    name = "openvino"
    settings: ClassVar[tuple[Setting, ...]] = (Setting(threads=1), Setting(threads=2))

    def __init__(self) -> None:
        self._openvino = require(self.name, "openvino")

    def versions(self) -> dict[str, str]:
        """As :meth:`Runtime.versions`."""
        return {"openvino": version("openvino")}

    def load(self, data: bytes, setting: Setting) -> Compiled:
        """As :meth:`Runtime.load`.

        Raises:
            ArtefactError: OpenVINO cannot load it.
        """
        core = self._openvino.Core()
        # By default it may compute in bfloat16 where the processor can.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": setting.threads, "NUM_STREAMS": 1}
        try:
            return Compiled(core.compile_model(core.read_model(data), "CPU", options))
        except RuntimeError as error:
            raise ArtefactError(shortened(str(error))) from error


class Compiled:
    """A compiled model, whose tensors have several names each: the graph's among them."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = compiled.outputs

    def run(self, arrays: Arrays) -> Mapping[str, Any]:
        """As :meth:`Executor.run`."""
        self._request.infer(arrays)
        found = [np.array(self._request.get_output_tensor(i).data) for i in range(len(self._outputs))]
        return {name: array for output, array in zip(self._outputs, found, strict=True) for name in output.names}


def shortened(message: str) -> str:
    """The line of an error of OpenVINO that says what is wrong: the last one before its summary."""
    lines = [line.strip() for line in message.partition("\nSummary:")[0].splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing."

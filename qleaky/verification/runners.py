"""ONNX Runtime behind a small face."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from qleaky._files import read_file
from qleaky.errors import ArtefactError, InputError

MANY_NODES = 1_000


class Runner:
    """Runs an ONNX file, or its bytes, on whole sequences.

    Args:
        artefact: path or bytes.
        optimize: graph optimisation, all or none.
        threads: intra-op threads.

    Raises:
        ArtefactError: ONNX Runtime cannot load it.
    """

    def __init__(self, artefact: str | os.PathLike[str] | bytes, *, optimize: bool = True, threads: int = 1) -> None:
        data = artefact if isinstance(artefact, bytes) else read_file(artefact, "ONNX file")
        options = ort.SessionOptions()
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # The buffer-reuse planner of ONNX Runtime 1.32 is quadratic in the number of nodes.
        try:
            options.enable_mem_reuse = len(onnx.load_model_from_string(data).graph.node) < MANY_NODES
            self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own unrelated types
            where = "the model" if isinstance(artefact, bytes) else str(artefact)
            raise ArtefactError(f"ONNX Runtime cannot load {where}: {str(error).splitlines()[0][:200]}.") from error
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Any) -> dict[str, NDArray[Any]]:
        """All outputs for a batch of inputs in the graph's own dtype; see :func:`qleaky.export_onnx` for names and shapes.

        Raises:
            InputError: inputs of another dtype or shape.
        """
        array = np.asarray(inputs)
        try:
            return dict(zip(self.outputs, self._session.run(None, {"input": array}), strict=True))
        except Exception as error:  # onnxruntime raises its own unrelated types
            wanted = self._session.get_inputs()[0]
            raise InputError(
                f"ONNX Runtime refused inputs of shape {array.shape}, dtype {array.dtype}; the graph takes {wanted.type} "
                f"{wanted.shape}: {str(error).splitlines()[0][:200]}"
            ) from error


def versions() -> dict[str, str]:
    """Versions of the runtime, for certificates."""
    return {"onnxruntime": str(ort.__version__)}

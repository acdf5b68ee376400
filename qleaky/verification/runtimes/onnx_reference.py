"""The reference evaluator of ONNX, which computes its operators in NumPy as the specification says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import onnx
from onnx.reference import ReferenceEvaluator

from qleaky.verification.runtimes.protocol import Arrays, Runtime, Setting


class OnnxReference(Runtime):
    """``onnx.reference``: slow, and independent of ONNX Runtime."""

    name = "onnx-reference"
    settings: ClassVar[tuple[Setting, ...]] = (Setting(optimize=False),)
    exact = True

    def versions(self) -> dict[str, str]:
        """As :meth:`Runtime.versions`."""
        return {"onnx": str(onnx.__version__)}

    def load(self, data: bytes, setting: Setting) -> Evaluator:
        """As :meth:`Runtime.load`."""
        return Evaluator(onnx.load_model_from_string(data))


class Evaluator:
    """A model in the reference evaluator."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._names = [output.name for output in model.graph.output]
        self._evaluator = ReferenceEvaluator(model)

    def run(self, arrays: Arrays) -> Mapping[str, Any]:
        """As :meth:`Executor.run`."""
        return dict(zip(self._names, self._evaluator.run(None, arrays), strict=True))

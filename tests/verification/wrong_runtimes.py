"""Runtimes that compute one operator wrongly, on top of ONNX's reference evaluator."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from qleaky.verification.runtimes import Executor, Runtime, Setting


class RightClip(OpRun):
    op_domain = ""

    def _run(self, data: Any, low: Any = None, high: Any = None) -> tuple[Any]:
        return (np.clip(data, low, high).astype(data.dtype),)


class WrongClip(RightClip):
    """One below the highest number, where that is reached."""

    def _run(self, data: Any, low: Any = None, high: Any = None) -> tuple[Any]:
        return (np.clip(data, low, high - 1 if high is not None else None).astype(data.dtype),)


class AwayFromZero(OpRun):
    """Round that takes halves away from zero, as C's does."""

    op_domain = ""

    def _run(self, data: Any) -> tuple[Any]:
        return ((np.sign(data) * np.floor(np.abs(data) + 0.5)).astype(data.dtype),)


def named(kind: type[OpRun], op_type: str) -> type[OpRun]:
    """The class under the name of the operator that it computes, by which the evaluator finds it."""
    return type(op_type, (kind,), {"op_domain": ""})


class Wrong(Runtime):
    """``hidden``: wrong only while what goes into the operator is no output, as where operations are computed as one."""

    name = "wrong"
    settings: ClassVar[tuple[Setting, ...]] = (Setting(optimize=True),)
    exact = True

    def __init__(self, op_type: str = "Clip", wrong: type[OpRun] = WrongClip, hidden: bool = False) -> None:
        self._op_type, self._wrong, self._hidden = op_type, wrong, hidden

    def versions(self) -> dict[str, str]:
        return {"wrong": "1"}

    def load(self, data: bytes, setting: Setting) -> Executor:
        model = onnx.load_model_from_string(data)
        outputs = {output.name for output in model.graph.output}
        looked_at = any(node.op_type == self._op_type and set(node.input) & outputs for node in model.graph.node)
        right = self._hidden and looked_at
        return Evaluated(model, [] if right else [named(self._wrong, self._op_type)])


class Evaluated:
    def __init__(self, model: onnx.ModelProto, operators: list[type[OpRun]]) -> None:
        self._names = [output.name for output in model.graph.output]
        self._evaluator = ReferenceEvaluator(model, new_ops=operators)

    def run(self, arrays: Any) -> Mapping[str, Any]:
        return dict(zip(self._names, self._evaluator.run(None, arrays), strict=True))

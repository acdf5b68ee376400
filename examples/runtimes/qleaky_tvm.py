"""Apache TVM as a runtime of qleaky's checks: Relax's ONNX front end, compiled for the CPU by LLVM."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import onnx
from qleaky_fixed_shapes import Arrays, ByShape

from qleaky.verification.runtimes import Runtime, Setting, require


class Tvm(Runtime):
    """TVM, whose front end has no Scan."""

    name = "tvm"
    forms: ClassVar[tuple[str, ...]] = ("unrolled", "step")

    def __init__(self) -> None:
        self._tvm = require(self.name, "tvm", install="pip install apache-tvm")

    def versions(self) -> dict[str, str]:
        return {"tvm": str(self._tvm.__version__)}

    def load(self, data: bytes, setting: Setting) -> ByShape:
        return ByShape(onnx.load_model_from_string(data), self._compiled)

    def _compiled(self, model: onnx.ModelProto) -> Any:
        from tvm import relax
        from tvm.relax.frontend.onnx import from_onnx

        tvm = self._tvm
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it renames inputs, which are passed in order
            module = from_onnx(model, keep_params_in_input=False)
        machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
        inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))

        def run(arrays: Arrays) -> Mapping[str, Any]:
            found = machine["main"](*(tvm.runtime.tensor(arrays[name]) for name in inputs))
            found = [found] if len(outputs) == 1 and hasattr(found, "numpy") else found
            return {name: value.numpy() for name, value in zip(outputs, found, strict=True)}

        return run

"""IREE as a runtime of qleaky's checks: its ONNX importer, compiled for this CPU."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from qleaky_fixed_shapes import Arrays, ByShape

from qleaky.verification.runtimes import Runtime, Setting, require


class Iree(Runtime):
    """IREE by its llvm-cpu compiler and local-task runtime."""

    name = "iree"

    def __init__(self) -> None:
        install = "pip install iree-base-compiler iree-base-runtime"
        self._compiler = require(self.name, "iree.compiler", install=install)
        self._runtime = require(self.name, "iree.runtime", install=install)

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("iree-base-compiler", "iree-base-runtime")}

    def load(self, data: bytes, setting: Setting) -> ByShape:
        return ByShape(onnx.load_model_from_string(data), self._compiled)

    def _compiled(self, model: onnx.ModelProto) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            source, imported = Path(folder) / "model.onnx", Path(folder) / "model.mlir"
            source.write_bytes(model.SerializeToString())
            command = [sys.executable, "-m", "iree.compiler.tools.import_onnx", str(source), "-o", str(imported)]
            ran = subprocess.run(command, check=False, capture_output=True, text=True)
            if ran.returncode:
                raise RuntimeError(f"its importer refuses it: {_first_error(ran.stderr)}")
            try:
                machine_code = self._compiler.tools.compile_file(
                    str(imported),
                    input_type="onnx",
                    target_backends=["llvm-cpu"],
                    extra_args=["--iree-llvmcpu-target-cpu=host"],
                )
            except self._compiler.tools.CompilerToolError as error:
                raise RuntimeError(f"its compiler refuses it: {_first_error(str(error))}") from error
        context = self._runtime.SystemContext(config=self._runtime.Config("local-task"))
        context.add_vm_module(self._runtime.VmModule.copy_buffer(context.instance, machine_code))
        inputs = [value.name for value in model.graph.input]
        outputs = {value.name: _dtype(value) for value in model.graph.output}
        function = context.modules.module[model.graph.name]

        def run(arrays: Arrays) -> Mapping[str, Any]:
            found = function(*(arrays[name] for name in inputs))
            found = found if isinstance(found, list | tuple) else [found]
            # IREE's integers have no sign: they come as signed ones whatever the graph says.
            return {name: value.to_host().view(outputs[name]) for name, value in zip(outputs, found, strict=True)}

        return run


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "without a word")


def _first_error(text: str) -> str:
    return next((line.partition("error: ")[2] for line in text.splitlines() if "error: " in line), _last_line(text))

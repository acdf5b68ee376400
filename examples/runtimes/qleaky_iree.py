"""IREE as a runtime of qleaky's checks: its ONNX importer, compiled for this CPU."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
            subprocess.run(command, check=True, capture_output=True)
            machine_code = self._compiler.tools.compile_file(
                str(imported),
                input_type="onnx",
                target_backends=["llvm-cpu"],
                extra_args=["--iree-llvmcpu-target-cpu=host"],
            )
        context = self._runtime.SystemContext(config=self._runtime.Config("local-task"))
        context.add_vm_module(self._runtime.VmModule.copy_buffer(context.instance, machine_code))
        inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
        function = context.modules.module[model.graph.name]

        def run(arrays: Arrays) -> Mapping[str, Any]:
            found = function(*(arrays[name] for name in inputs))
            found = found if isinstance(found, list | tuple) else [found]
            return {name: value.to_host() for name, value in zip(outputs, found, strict=True)}

        return run

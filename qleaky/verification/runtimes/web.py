"""onnxruntime-web, the WebAssembly build that browsers run, under node."""

from __future__ import annotations

import json
import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qleaky._share import shared_folder
from qleaky.errors import ArtefactError, MissingDependencyError
from qleaky.verification.runtimes.node import Node
from qleaky.verification.runtimes.protocol import Arrays, Runtime, Setting

PACKAGE = "onnxruntime-web"
VARIABLE = "QLEAKY_ONNXRUNTIME_WEB"
TYPES = ("bool", "float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


class OnnxRuntimeWeb(Runtime):
    """onnxruntime-web (WASM, one thread) in a process of node, without graph optimisation and with it.

    Args:
        folder: of the npm package; by default the one that the environment variable ``QLEAKY_ONNXRUNTIME_WEB`` names, else
            ``node_modules/onnxruntime-web`` in the current folder.

    Raises:
        MissingDependencyError: node or the package is not installed.
    """

    name = PACKAGE
    settings: ClassVar[tuple[Setting, ...]] = (Setting(optimize=False), Setting(optimize=True))

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._folder = Path(folder or os.environ.get(VARIABLE) or Path("node_modules") / PACKAGE).resolve()
        self._version = _package_version(self._folder)
        command = shutil.which("node")
        if command is None:
            raise MissingDependencyError(
                f"runtime {PACKAGE!r} needs node, which is not installed; install Node.js 18 or later."
            )
        self._command = [command, str(shared_folder("export") / "web" / "run_model.mjs"), str(self._folder)]
        self._node: Node | None = None

    def versions(self) -> dict[str, str]:
        """As :meth:`Runtime.versions`."""
        return {PACKAGE: self._version}

    def load(self, data: bytes, setting: Setting) -> Loaded:
        """As :meth:`Runtime.load`; all models share a process, which ends with this object.

        Raises:
            ArtefactError: onnxruntime-web cannot load it, or node fails.
        """
        self._node = self._node or Node(self._command)
        answer, _ = self._node.ask({"command": "load", "optimize": setting.optimize}, data)
        return Loaded(self._node, answer["model"])


class Loaded:
    """A model inside the process."""

    def __init__(self, node: Node, model: int) -> None:
        self._node, self._model = node, model
        weakref.finalize(self, node.tell, {"command": "release", "model": model})

    def run(self, arrays: Arrays) -> Mapping[str, Any]:
        """As :meth:`Executor.run`."""
        tensors = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
        headers = [
            {"name": name, "type": tensor.dtype.name, "shape": tensor.shape, "bytes": tensor.nbytes}
            for name, tensor in tensors.items()
        ]
        request = {"command": "run", "model": self._model, "tensors": headers}
        answer, data = self._node.ask(request, b"".join(tensor.tobytes() for tensor in tensors.values()))
        return _tensors(answer["tensors"], data)


def _tensors(headers: list[dict[str, Any]], data: bytes) -> Arrays:
    found, start = {}, 0
    for header in headers:
        if header["type"] not in TYPES:
            raise ArtefactError(f"{header['name']!r} is of type {header['type']!r}, which is no type of a graph of qleaky's.")
        dtype = np.dtype(header["type"]).newbyteorder("<")
        piece = data[start : start + header["bytes"]]
        found[header["name"]] = np.frombuffer(piece, dtype).reshape(header["shape"]).astype(dtype.newbyteorder("="))
        start += header["bytes"]
    return found


def _package_version(folder: Path) -> str:
    try:
        package = json.loads((folder / "package.json").read_bytes())
        found = package["version"] if package["name"] == PACKAGE and (folder / "dist" / "ort.wasm.min.mjs").is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str):
        raise MissingDependencyError(
            f"runtime {PACKAGE!r} needs the npm package of that name, and {folder} holds none. Install it with "
            f"`npm install {PACKAGE}`, or name its folder in the environment variable {VARIABLE}."
        )
    return found

"""A small network with everything that a bundle describes, its bundle, and ways to change one."""

import functools
import hashlib
import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qleaky import IntegerNetwork, QFormat
from qleaky.bundling import bundle_of
from qleaky.dynamics import MulShift
from qleaky.integer import LIF, Add, Input, Linear, Readout, Synapse

ROOT = Path(__file__).resolve().parents[2]
VALIDATE = ROOT / "export" / "device" / "validate.py"
SPIKES, BYTES = QFormat(1, 0, signed=False), QFormat(8, 6, signed=False, zero_point=128)
Change = Callable[[dict[str, Any]], Any]


def network(theta: int = 9, **parts: Any) -> IntegerNetwork:
    """Two inputs, one of them static, a synapse, and two readouts, one with classes; T = 5."""
    r = np.random.default_rng(3)
    state = QFormat(8, 3)
    synapse = Synapse(state=QFormat(10, 3), decay=MulShift(n=4), multiplier=np.array(12))
    layers = (
        Linear(name="fc1", input="events", weight=r.integers(-9, 10, (4, 6)).astype(np.int8), weight_frac_bits=3),
        Linear(name="still", input="image", weight=r.integers(-3, 4, (4, 2)).astype(np.int8), weight_frac_bits=3),
        Add(name="sum", inputs=("fc1", "still"), signs=(1, 1)),
        LIF(name="hidden", input="sum", state=state, theta=np.array(theta), synapse=synapse),
        Linear(name="fc2", input="hidden", weight=r.integers(-9, 10, (3, 4)).astype(np.int8), weight_frac_bits=3),
        LIF(name="out", input="fc2", state=state, theta=np.array(7), decay=MulShift(n=3), multiplier=np.array(7)),
    )
    readouts = (Readout("out", "spike_count", argmax=True), Readout("hidden", "spikes"))
    inputs = (Input((6,), SPIKES, name="events"), Input((2,), BYTES, "static", "image"))
    return IntegerNetwork(inputs=inputs, num_steps=5, layers=layers, readouts=readouts, **parts)


@functools.cache
def bundle() -> bytes:
    """The network's bundle in all forms."""
    return bundle_of(network(), forms=("unrolled", "scan", "step"))


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def unpacked(folder: Path, data: bytes | None = None) -> Path:
    with zipfile.ZipFile(io.BytesIO(bundle() if data is None else data)) as archive:
        archive.extractall(folder)
    return folder


def changed_manifest(files: dict[str, bytes], change: Change) -> dict[str, bytes]:
    manifest = json.loads(files["manifest.json"])
    change(manifest)
    return files | {"manifest.json": json.dumps(manifest).encode()}


def resigned(files: dict[str, bytes], **changed: bytes) -> dict[str, bytes]:
    """With other files (``models__scan.onnx`` names ``models/scan.onnx``), whose digests the manifest then gives."""
    named = {name.replace("__", "/"): data for name, data in changed.items()}

    def sign(manifest: dict[str, Any]) -> None:
        for name, data in named.items():
            manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    return changed_manifest(files, sign) | named


@functools.cache
def device() -> Any:
    """validate.py as a module."""
    spec = importlib.util.spec_from_file_location("device_validate", VALIDATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["device_validate"] = module
    spec.loader.exec_module(module)
    return module


def validated(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code of validate.py on an unpacked bundle, and its report."""
    code = device().main(["--bundle", str(folder), "--quick", *arguments])
    path = folder / "report.json"
    return code, json.loads(path.read_bytes()) if path.exists() else {}

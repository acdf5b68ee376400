"""Unpacked bundles, what may be done to them, and the programs that check them, for the tests of export/web/."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import qleaky
from qleaky.bundling import bundle_of
from qleaky.models import load

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "export" / "web"


def trained(name: str) -> qleaky.IntegerNetwork:
    model = load(name)
    network = qleaky.lower(model.network, model.sample_input, input_format=model.input_format, readout=model.readout)
    assert isinstance(network, qleaky.IntegerNetwork)
    return network


def write_bundle(network: Any, folder: Path, forms: tuple[str, ...], package: Path) -> Path:
    data = bundle_of(network, web=True, forms=forms, onnxruntime_web=package)
    zipfile.ZipFile(io.BytesIO(data)).extractall(folder)
    return folder


def packed(bundle: Path) -> Path:
    """The zip that an unpacked bundle came from, or would have come from."""
    path = bundle.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("manifest.json", *manifest_of(bundle)["files"]):
            archive.write(bundle / name, name)
    return path


def manifest_of(bundle: Path) -> Any:
    return json.loads((bundle / "manifest.json").read_text("utf-8"))


def edit_manifest(bundle: Path, change: Callable[[Any], object]) -> None:
    manifest = manifest_of(bundle)
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def replace(bundle: Path, name: str, data: bytes) -> None:
    """Other bytes in place of a file, and a manifest that agrees with them."""
    (bundle / name).write_bytes(data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    edit_manifest(bundle, lambda manifest: manifest["files"].update({name: entry}))


def change_a_weight(data: bytes) -> bytes:
    """The same graph with one bit turned over in the first weight of its last matrix of int8."""
    model = onnx.load_model_from_string(data)
    matrices = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2]
    array = onnx.numpy_helper.to_array(matrices[-1]).copy()
    array.flat[0] ^= 1 << 6
    matrices[-1].CopyFrom(onnx.numpy_helper.from_array(array, matrices[-1].name))
    return bytes(model.SerializeToString(deterministic=True))


def corrupt(bundle: Path, form: str, files: tuple[str, ...] = ("onnx", "probe.onnx")) -> None:
    for ending in files:
        name = f"models/{form}.{ending}"
        replace(bundle, name, change_a_weight((bundle / name).read_bytes()))


def nonce_codes(network: qleaky.IntegerNetwork, nonce: str) -> dict[str, NDArray[Any]]:
    """The nonce's vectors, from unbounded integers and one digest after the other."""
    found = {}
    for i, source in enumerate(network.inputs):
        low, high, zero = source.format.lowest, source.format.highest, source.format.zero_point
        shape = (*((network.num_steps,) if source.time == "sequence" else ()), *source.shape)
        samples = [np.array(nonce_numbers(nonce, (i, s), (low, high, zero), math.prod(shape))).reshape(shape) for s in range(8)]
        found[source.name] = np.stack(samples, axis=1 if source.time == "sequence" else 0).astype(source.format.dtype)
    return found


def nonce_numbers(nonce: str, place: tuple[int, int], codes: tuple[int, int, int], count: int) -> list[int]:
    (i, s), (low, high, zero) = place, codes
    words: list[int] = []
    for block in range(count // 4 + 1):
        digest = hashlib.sha256(b"qleaky-nonce-1 %s %d %d %d\n" % (nonce.encode("ascii"), i, s, block)).digest()
        words += [int.from_bytes(digest[at : at + 4], "little") for at in range(0, 32, 4)]
    pairs = zip(words[0::2], words[1::2], strict=True)
    return [low + a * (high - low + 1) // 2**32 if b < (s + 1) * 2**29 else zero for a, b in pairs][:count]


def reference_digests(recording: Any) -> dict[tuple[str, str], list[str]]:
    """For each layer and kind, the digest of each step over the samples, from hashlib alone."""
    found = {}
    for kind, states in (("mem", recording.membranes), ("spk", recording.spikes)):
        for layer, array in states.items():
            shape = ",".join(str(size) for size in array.shape[2:])
            found[layer, kind] = [
                hashlib.sha256(
                    b"".join(
                        hashlib.sha256(
                            f"qleaky-digest-1 {layer} {kind} {t} {shape}\n".encode() + codes.astype("<i4").tobytes()
                        ).digest()
                        for codes in step
                    )
                ).hexdigest()
                for t, step in enumerate(array)
            ]
    return found


def output_digests(recording: Any) -> dict[str, str]:
    return {name: hashlib.sha256(array.astype("<i8").tobytes()).hexdigest() for name, array in recording.outputs.items()}


def said_digests(run: Any) -> dict[tuple[str, str], list[str]]:
    return {(entry["layer"], entry["kind"]): entry["steps"] for entry in run["step_digests"]}


def check_under_node(node: str, bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [node, str(bundle / "web" / "node.mjs"), *arguments]
    return subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False, timeout=120)

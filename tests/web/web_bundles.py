"""Bundles of shipped trained models, unpacked, for the tests of what runs in browsers and under node."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import qleaky
from qleaky.export.artefact import choose
from qleaky.export.bundle import Extras, GoldenVectors, bundle_bytes
from qleaky.export.web_files import web_files
from qleaky.models import load
from qleaky.verification.digests import state_digests
from qleaky.verification.golden import synthetic_inputs


def trained(name: str) -> qleaky.IntegerNetwork:
    model = load(name)
    network = qleaky.lower(model.network, model.sample_input, input_format=model.input_format, readout=model.readout)
    assert isinstance(network, qleaky.IntegerNetwork)
    return network


def write_bundle(network: Any, folder: Path, *, forms: tuple[str, ...], samples: int, carrier: str = "integer") -> Path:
    codes = network.encode_all(synthetic_inputs(network, samples))
    recording = qleaky.run(network, codes)
    vectors = GoldenVectors(codes, recording.outputs, state_digests(recording), [("random", samples)])
    choices = [choose(network, form, carrier, None, False) for form in forms]
    data = bundle_bytes(network, vectors, choices, Extras(web_files(None)))
    zipfile.ZipFile(io.BytesIO(data)).extractall(folder)
    return folder


def rewrite(bundle: Path, name: str, data: bytes, *, in_manifest: bool = True) -> None:
    """Put other bytes in place of a file; ``in_manifest`` makes the manifest agree with them."""
    (bundle / name).write_bytes(data)
    if in_manifest:
        entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        edit_manifest(bundle, lambda manifest: manifest["files"].update({name: entry}))


def edit_manifest(bundle: Path, change: Any) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), "utf-8")


def change_a_weight(data: bytes) -> bytes:
    """The same graph with one bit of every 8-bit matrix's first number turned over."""
    model = onnx.load_model_from_string(data)
    changed = 0
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).copy()
        if array.dtype == np.int8 and array.ndim == 2:
            array.flat[0] ^= 1 << 5
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
            changed += 1
    assert changed
    return bytes(model.SerializeToString(deterministic=True))

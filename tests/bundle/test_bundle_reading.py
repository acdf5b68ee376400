"""The host reads bundles of others: what is not as qleaky writes it is refused in one sentence, and nothing is unpacked."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_helpers import bundle, changed_manifest, members, network, resigned, zipped

from qleaky.errors import ArtefactError
from qleaky.export.bundle_arrays import npy_bytes
from qleaky.reference import run
from qleaky.verification.device import bundles
from qleaky.verification.device.bundles import Bundle

Files = dict[str, bytes]


def opened(folder: Path, data: bytes) -> Bundle:
    (folder / "a.zip").write_bytes(data)
    before = sorted(folder.rglob("*"))
    try:
        return Bundle.open(folder / "a.zip")
    finally:
        assert sorted(folder.rglob("*")) == before


def refused(folder: Path, data: bytes, message: str) -> None:
    with pytest.raises(ArtefactError, match=message) as caught:
        opened(folder, data)
    assert str(caught.value).isprintable()


def test_a_bundle_opens_and_gives_its_arrays(tmp_path: Path) -> None:
    found = opened(tmp_path, bundle())
    recording = run(network(), found.inputs())
    assert all(np.array_equal(found.outputs()[name], array) for name, array in recording.outputs.items())
    assert found.digests()["out", "spk"].shape == (5, 64, 32)


def with_member(name: str, **fields: Any) -> bytes:
    """The bundle with one more member."""
    stream = io.BytesIO(bundle())
    with zipfile.ZipFile(stream, "a") as archive:
        info = zipfile.ZipInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        archive.writestr(info, b"ab")
    return stream.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "a/../../b",
        "C:\\evil",
        "..\\evil",
        "a//b",
        "./a",
        "models/",
        ".hidden",
        "a\x1b[2Jb",
        "a\nb",
        "ü",
    ],
)
def test_names_that_lead_elsewhere_or_belong_to_no_bundle_are_refused(name: str, tmp_path: Path) -> None:
    refused(tmp_path, with_member(name), "has a name that could lead out of the folder|which its manifest does not list")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("models/link", {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link or no plain file"),
        ("models/pipe", {"external_attr": (stat.S_IFIFO | 0o777) << 16}, "is a link or no plain file"),
        ("README.txt", {}, "stands twice in it"),
        ("readme.TXT", {}, "stands twice in it"),
        ("extra.txt", {}, "holds extra.txt, which its manifest does not list"),
    ],
)
def test_odd_members_are_refused(name: str, fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    refused(tmp_path, with_member(name, **fields), message)


def directory(change: Callable[[list[int]], Any]) -> bytes:
    """The bundle with another entry for its first member in the central directory."""
    data = bytearray(bundle())
    start = struct.unpack("<I", data[-6:-2])[0]
    fields = list(struct.unpack("<4s6H3I5H2I", data[start : start + 46]))
    change(fields)
    data[start : start + 46] = struct.pack("<4s6H3I5H2I", *fields)
    return bytes(data)


def put(index: int, value: int) -> Callable[[list[int]], Any]:
    return lambda fields: fields.__setitem__(index, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(3, 1), "is encrypted"),
        (put(4, 12), "is compressed by method 12, which bundles do not use"),
        (put(9, (1 << 30) + 1), "expands to 1,073,741,825 bytes, more than the 1,073,741,824"),
        (put(9, 17 << 20), "expands more than 500-fold, to 17,825,792 bytes"),
        (put(8, 1 << 20), "overlaps another"),
        (put(7, 12345), "README.txt is damaged: Bad CRC-32"),
        (put(9, 3), "is damaged: Bad CRC-32|is not the file that the manifest describes"),
    ],
)
def test_what_a_directory_says_is_not_believed(change: Any, message: str, tmp_path: Path) -> None:
    refused(tmp_path, directory(change), message)


def test_a_bomb_is_refused_before_it_expands(tmp_path: Path) -> None:
    files = members(bundle()) | {"zeros.bin": bytes(64 << 20)}
    refused(tmp_path, zipped(files), "expands more than 500-fold, to 67,108,864 bytes")


def test_all_members_together_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", 100_000)
    refused(tmp_path, bundle(), "expands to more than 100,000 bytes")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not end as the zip files of qleaky do"),
        (b"PK\x03\x04" + bytes(100), "does not end as the zip files of qleaky do"),
        (bundle()[:-1], "does not end as the zip files of qleaky do"),
        (b"#!/bin/sh\n" + bundle(), "or holds more than a zip"),
        (zipped({"a.txt": b""}), "is no bundle: it has no manifest.json"),
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    refused(tmp_path, data, message)


def test_many_members_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    refused(tmp_path, zipped({f"f{i}": b"" for i in range(5000)}), "lists 5,000 members in .* a bundle has at most 4,097")


def test_a_missing_bundle_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"Cannot read bundle .*a\.zip: No such file"):
        Bundle.open(tmp_path / "a.zip")


def files() -> Files:
    return members(bundle())


def without(name: str) -> Files:
    return {other: data for other, data in files().items() if other != name}


def flipped(name: str) -> Files:
    data = bytearray(files()[name])
    data[-1] ^= 1
    return files() | {name: bytes(data)}


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (without("validate.py"), "lacks validate.py, which its manifest lists"),
        (flipped("models/scan.onnx"), "models/scan.onnx is not the file that the manifest describes"),
        (flipped("golden/inputs/0.npy"), "golden/inputs/0.npy is not the file that the manifest describes"),
        (files() | {"README.txt": b"longer than it was" * 1000}, "README.txt has more than the"),
    ],
)
def test_files_that_are_not_those_of_the_manifest_are_refused(held: Files, message: str, tmp_path: Path) -> None:
    refused(tmp_path, zipped(held), message)


def with_array(name: str, data: bytes) -> Files:
    return resigned(files(), **{name.replace("/", "__"): data})


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("golden/inputs/0.npy", files()["golden/inputs/0.npy"][:-1], "is cut short or too long: it has 1,919 bytes"),
        ("golden/inputs/0.npy", files()["golden/inputs/0.npy"][:9], r"is no .npy file of uint8 and shape \(5, 64, 6\)"),
        ("golden/inputs/0.npy", npy_bytes(np.zeros((5, 64, 7), np.uint8)), r"is no .npy file of uint8 and shape"),
        ("golden/digests/1.npy", npy_bytes(np.zeros((5, 64, 32), np.int8)), "is no .npy file of uint8 and shape"),
        ("golden/outputs/0.npy", b"", "is no .npy file of"),
        (
            "golden/outputs/0.npy",
            b"\x93NUMPY\x01\x00\x40\x00" + b"__import__('os').system('touch /tmp/owned')".ljust(63) + b"\n",
            "is no .npy file of",
        ),
    ],
)
def test_arrays_that_the_manifest_does_not_promise_are_refused(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    refused(tmp_path, zipped(with_array(name, data)), message)


def set_to(*path: Any, value: Any) -> Callable[[Any], Any]:
    """A change of the manifest: the entry at a path becomes ``value``."""

    def change(manifest: Any) -> None:
        for key in path[:-1]:
            manifest = manifest[key]
        manifest[path[-1]] = value

    return change


MANIFESTS: list[tuple[Callable[[Any], Any], str]] = [
    (set_to("version", value=2), "has version 2; this qleaky reads version 1. Update qleaky"),
    (set_to("version", value=0), "is damaged"),
    (set_to("version", value="1"), "is damaged"),
    (set_to("kind", value="qleaky-report"), "is no qleaky-bundle"),
    (set_to("colour", value="red"), "is damaged.*colour"),
    (lambda m: m.pop("samples"), "is damaged.*samples"),
    (set_to("samples", value=65), "has groups of 64 vectors, but 65 samples"),
    (set_to("samples", value=-1), "is damaged"),
    (set_to("vectors", 0, "first", value=1), "groups of vectors that do not follow one another"),
    (set_to("network", "num_steps", value=1.5), "is damaged"),
    (set_to("network", "digest", value="0" * 63), "is damaged"),
    (set_to("inputs", 0, "shape", value=[1 << 25] * 2), "declares more numbers than"),
    (set_to("inputs", 0, "shape", value=[0]), "is damaged"),
    (set_to("inputs", 0, "shape", value=[6] * 17), "is damaged"),
    (set_to("inputs", 0, "low", value=None), "gives integer inputs no range, or others one"),
    (set_to("inputs", 0, "zero", value=7), "has an input whose zero lies outside its range"),
    (set_to("inputs", 0, "golden", value="../../etc/passwd"), "is damaged"),
    (set_to("inputs", 0, "golden", value="golden/inputs/9.npy"), "uses golden/inputs/9.npy, which it does not list"),
    (set_to("inputs", 0, "golden", value="golden/inputs/1.npy"), "names a golden file or a graph twice"),
    (set_to("inputs", 0, "name", value="image"), "names an input twice"),
    (set_to("inputs", 0, "dtype", value="object"), "is damaged"),
    (set_to("files", "../x", value={"sha256": "0" * 64, "bytes": 1}), "is damaged"),
    (set_to("files", "MODELS/scan.onnx", value={"sha256": "0" * 64, "bytes": 1}), "names a file twice, or itself"),
    (set_to("files", "manifest.json", value={"sha256": "0" * 64, "bytes": 1}), "names a file twice, or itself"),
    (set_to("artefacts", 0, "probes", value=[]), "does not say where models/unrolled.onnx has every spike and state"),
    (set_to("artefacts", 0, "probes", 0, "outputs", value=["a", "b"]), "neither of all steps nor of each"),
    (set_to("artefacts", 0, "final_states", 0, "layer", value="other"), "names a final state of .* that no layer has"),
    (set_to("artefacts", 0, "form", value="step"), "of form step, the states of another form"),
    (set_to("artefacts", 2, "steps", 0, "shape", value=[1 << 25] * 4), "declares more numbers than"),
    (set_to("artefacts", value=[]), "is damaged"),
]


@pytest.mark.parametrize(("change", "message"), MANIFESTS)
def test_a_manifest_that_is_damaged_or_at_odds_with_itself_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    refused(tmp_path, zipped(changed_manifest(files(), change)), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is damaged: it is no JSON"),
        (b"\xff\xfe", "is damaged: it is no JSON"),
        (b"[" * 100_000, "nested too deeply|is damaged"),
        (b'{"kind": "qleaky-bundle", "version": ' + b"9" * 100_000 + b"}", "a number has too many digits"),
        (b'{"kind": "qleaky-bundle", "kind": "qleaky-bundle"}', "a key stands twice in one object"),
        (b'{"kind": "qleaky-bundle", "samples": NaN}', "NaN is no number of JSON"),
        (b'"qleaky-bundle"', "is no qleaky-bundle"),
        (b'{"kind": "qleaky-bundle", "created_by": "\\uD800"}', "'utf-8' codec can't encode character"),
    ],
)
def test_text_that_is_no_manifest_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    refused(tmp_path, zipped(files() | {"manifest.json": text}), message)


def test_a_manifest_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    refused(
        tmp_path, zipped(files() | {"manifest.json": bytes(range(256)) * (132 << 10)}), "has more than the 33,554,432 bytes"
    )

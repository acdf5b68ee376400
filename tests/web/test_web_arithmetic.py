"""What the JavaScript computes by itself, against hashlib, NumPy and unbounded integers."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_bundles import manifest_of, nonce_codes, nonce_numbers

import qleaky
from qleaky.verification.digests import state_digest

ANSWERS = Path(__file__).with_name("answers.mjs")
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**53,
    1e300,
    "",
    "\x1b[2J",
    "../x",
    "__proto__",
    [],
    [0],
    [[]],
    {},
    {"toString": 1},
)


def ask(node: str, *questions: tuple[str, Any]) -> list[Any]:
    ran = subprocess.run([node, ANSWERS], input=json.dumps(questions), capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found: list[Any] = json.loads(ran.stdout)
    return found


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), version=options.get("version", (1, 0)))
    return stream.getvalue()


def test_sha256_is_hashlibs_for_every_length_around_a_block_and_however_it_is_cut(node: str) -> None:
    rng = random.Random(0)
    data = [rng.randbytes(length) for length in (*range(200), 4096, 1_000_003)]
    cut = [[part.hex() for part in (each[: len(each) // 3], b"", each[len(each) // 3 :])] for each in data]
    assert ask(node, *(("sha256", pieces) for pieces in cut)) == [hashlib.sha256(each).hexdigest() for each in data]


def test_a_state_digest_is_that_of_the_reference(node: str) -> None:
    rng = np.random.default_rng(0)
    shapes = [(1,), (7,), (3, 4, 5), (2, 0x200)]
    cases = [
        ("lif 1/é"[:5], k, t, s, rng.integers(-(2**31), 2**31, s)) for t, s in enumerate(shapes) for k in ("mem", "spk", "syn")
    ]
    asked = [("stateDigest", [layer, kind, step, shape, codes.ravel().tolist()]) for layer, kind, step, shape, codes in cases]
    wanted = [state_digest(layer, kind, step, codes).hex() for layer, kind, step, _, codes in cases]  # type: ignore[arg-type]
    assert ask(node, *asked) == wanted


@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_an_npy_file_is_read_as_numpy_wrote_it(node: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    arrays = [
        np.frombuffer(rng.bytes(np.dtype(dtype).itemsize * size), dtype).reshape(shape)
        for size, shape in ((1, ()), (6, (2, 3)))
    ]
    arrays = [np.nan_to_num(a % 2).astype(dtype) if dtype in ("f4", "f8", "bool") else a for a in arrays]
    for array, found in zip(arrays, ask(node, *(("readNpy", npy(a).hex()) for a in arrays)), strict=True):
        assert found["dtype"] == array.dtype.name
        assert found["shape"] == list(array.shape)
        assert [float(x) for x in found["data"]] == [float(x) for x in array.ravel()]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "is no .npy file of version 1.0"),
        (npy(np.zeros(3), version=(2, 0)), "is no .npy file of version 1.0"),
        (npy(np.zeros((2, 2), order="F")), "is not that of plain numbers in C order"),
        (npy(np.zeros(2, [("a", "i4")])), "is not that of plain numbers in C order"),
        (npy(np.zeros(2, ">i4")), "is not that of plain numbers in C order"),
        (npy(np.zeros(2, "c8")), "holds <c8, which is no plain little-endian number"),
        (npy(np.zeros(2, "i4"))[:-1], "declares 8 bytes of numbers and holds 7"),
        (npy(np.zeros(2, "i4")) + b"x", "declares 8 bytes of numbers and holds 9"),
        (npy(np.zeros(2, "i4"))[:40], "is not that of plain numbers in C order"),
        (npy(np.zeros(2, "i4")).replace(b"(2,)", b"(-2)"), "is not that of plain numbers in C order"),
        (
            npy(np.zeros(20, "i4")).replace(b"(20,), }        ", b"(9999999999,), }"),
            "declares 39999999996 bytes of numbers and holds 80",
        ),
        (npy(np.array([{}], object)), "is not that of plain numbers in C order"),
    ],
)
def test_any_other_npy_file_is_refused(node: str, file: bytes, message: str) -> None:
    (found,) = ask(node, ("readNpy", file.hex()))
    assert found["refused"]
    assert message in found["message"]


def test_float_bits_have_one_zero_and_one_nan(node: str) -> None:
    patterns = [
        0,
        0x80000000,
        0x3F800000,
        0xBF800000,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0xFFC00001,
        0x7F800001,
        1,
        0x80000001,
    ]
    (found,) = ask(node, ("floatBits", struct.pack(f"<{len(patterns)}I", *patterns).hex()))
    wanted = [0 if p & 0x7FFFFFFF == 0 else 0x7FC00000 if p & 0x7FFFFFFF > 0x7F800000 else p for p in patterns]
    assert [bits % 2**32 for bits in found] == wanted


@pytest.mark.parametrize("nonce", ["a", "tea time~", "x" * 200])
def test_nonce_vectors_are_those_of_unbounded_integers(
    node: str, network: qleaky.IntegerNetwork, good_bundle: Path, nonce: str
) -> None:
    (found,) = ask(node, ("nonceInputs", [nonce, manifest_of(good_bundle)]))
    wanted = nonce_codes(network, nonce)
    assert found == [[str(code) for code in wanted[source.name].ravel()] for source in network.inputs]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "zero"),
    [
        ("uint8", 0, 1, 0),
        ("int8", -128, 127, 0),
        ("int32", -(2**31), 2**31 - 1, -5),
        ("int32", -(2**20), 2**20, 0),
        ("uint32", 0, 2**32 - 1, 9),
    ],
)
@pytest.mark.parametrize("time", ["static", "sequence"])
def test_nonce_codes_of_any_range_are_exact(node: str, dtype: str, low: int, high: int, zero: int, time: str) -> None:
    inputs = [{"dtype": dtype, "shape": [3, 2], "time": time, "low": low, "high": high, "zero": zero}] * 2
    found = ask(node, ("nonceInputs", ["n", {"network": {"num_steps": 4}, "inputs": inputs}]))[0]
    steps = 4 if time == "sequence" else 1
    for i, codes in enumerate(found):
        samples = [np.array(nonce_numbers("n", (i, s), (low, high, zero), steps * 6)).reshape(steps, 6) for s in range(8)]
        assert [int(code) for code in codes] == np.stack(samples, axis=1).ravel().tolist()


def test_no_manifest_makes_the_reader_stumble(node: str, good_bundle: Path) -> None:
    """Every value of a good manifest replaced by odd ones, or left out: it is read, or refused in one sentence."""
    manifest = manifest_of(good_bundle)
    manifest["artefacts"] = manifest["artefacts"][1:]
    changed = [json.dumps(each) for each in mutants(manifest)]
    found = ask(node, *(("readManifest", text) for text in changed))
    for text, answer in zip(changed, found, strict=True):
        assert answer is None or answer["refused"], (answer, text[:300])
        assert answer is None or (len(answer["message"]) < 400 and answer["message"].isprintable()), answer
    assert sum(answer is not None for answer in found) > len(found) // 2


def mutants(manifest: Any) -> Iterator[Any]:
    for path in places(manifest):
        for value in ODD:
            changed = copy.deepcopy(manifest)
            *parents, last = path
            holder = changed
            for key in parents:
                holder = holder[key]
            holder[last] = value
            yield changed
        del holder[last]
        yield changed


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is, but of long lists of the same only the first two."""
    entries = (
        list(value.items())[:12] if isinstance(value, dict) else list(enumerate(value))[:2] if isinstance(value, list) else []
    )
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "{", '"x"', "[" * 100_000, '{"kind": "qleaky-report", "version": 1}'])
def test_what_is_no_manifest_is_refused(node: str, text: str) -> None:
    (found,) = ask(node, ("readManifest", text))
    assert found["refused"]
    assert "manifest" in found["message"]

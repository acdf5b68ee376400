"""32-bit FNV-1a: the published values, and over whole runs the bytes that SHA-256 digests too."""

import numpy as np
import pytest
from tiny_c_models import network

from qleaky import run
from qleaky.verification.digests import code_bytes, digest_line
from qleaky.verification.mcu.fnv import fnv1a, fnv1a_rows, output_fnv, state_fnv
from qleaky.verification.vectors import vectors


@pytest.mark.parametrize(("text", "digest"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)])
def test_the_published_test_vectors(text: str, digest: int) -> None:
    assert fnv1a(text.encode()) == digest


def test_rows_are_hashed_as_little_endian_int32() -> None:
    rows = np.array([[-1, 0, 1 << 30], [-(1 << 31), (1 << 31) - 1, 7]])
    assert fnv1a_rows(rows).tolist() == [fnv1a(row.astype("<i4").tobytes()) for row in rows]


def test_every_state_is_digested_with_the_line_that_names_it() -> None:
    net = network()
    recording = run(net, vectors(net, samples=3).codes)
    found = state_fnv(recording)
    for (layer, kind), digests in found.items():
        codes = (recording.membranes if kind == "mem" else recording.spikes)[layer]
        for t, s in np.ndindex(digests.shape):
            assert digests[t, s] == fnv1a(digest_line(layer, kind, t, codes.shape[2:]) + code_bytes(codes[t, s]))
    assert set(found) == {("lif", "mem"), ("lif", "spk")}


def test_outputs_are_digested_with_their_name_and_size() -> None:
    assert output_fnv("class", np.array([3])).tolist() == [fnv1a(b"qleaky-output-1 class 1\n" + bytes([3, 0, 0, 0]))]

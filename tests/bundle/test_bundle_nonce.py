"""Vectors of a nonce: the host's and the device's are those of the definition, in Python's own integers."""

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest
from bundle_helpers import bundle, device, members, network

from qleaky.errors import InputError
from qleaky.export.bundle_manifest import Manifest
from qleaky.verification.device.nonce import nonce_inputs


def defined(nonce: str, i: int, s: int, shape: tuple[int, ...], ends: tuple[int, int, int]) -> Any:
    """One sample, number by number."""
    low, high, zero = ends

    def stream() -> Any:
        for block in itertools.count():
            digest = hashlib.sha256(f"qleaky-nonce-1 {nonce} {i} {s} {block}\n".encode("ascii")).digest()
            yield from (int.from_bytes(digest[at : at + 4], "little") for at in range(0, 32, 4))

    numbers, codes = stream(), []
    for _ in range(int(np.prod(shape))):
        a, b = next(numbers), next(numbers)
        codes.append(low + a * (high - low + 1) // 2**32 if b < (s + 1) * 2**29 else zero)
    return np.array(codes).reshape(shape)


def expected(nonce: str) -> dict[str, Any]:
    events = np.stack([defined(nonce, 0, s, (5, 6), (0, 1, 0)) for s in range(8)], axis=1)
    return {"events": events, "image": np.stack([defined(nonce, 1, s, (2,), (0, 255, 128)) for s in range(8)])}


@pytest.mark.parametrize("nonce", ["a", "two words", "~" * 200])
def test_host_and_device_draw_what_the_definition_says(nonce: str) -> None:
    manifest = Manifest.decode(members(bundle())["manifest.json"])
    import msgspec

    plain = msgspec.json.decode(msgspec.json.encode(manifest))
    for found in (nonce_inputs(network(), nonce), device().nonce_inputs(plain, nonce)):
        for name, array in expected(nonce).items():
            assert np.array_equal(found[name], array)
            assert found[name].dtype == np.uint8


def test_another_nonce_gives_other_vectors_and_the_last_sample_is_dense() -> None:
    one, other = (nonce_inputs(network(), nonce)["image"] for nonce in ("a", "b"))
    assert not np.array_equal(one, other)
    dense = nonce_inputs(network(), "a")["events"][:, 7]
    assert np.array_equal(dense, defined("a", 0, 7, (5, 6), (0, 1, 1)))  # nothing falls to zero where every b is below 2^32


@pytest.mark.parametrize("nonce", ["", "a" * 201, "tab\t", "ü", "line\n"])
def test_what_is_no_nonce_is_refused(nonce: str) -> None:
    with pytest.raises(InputError, match="a nonce is 1 to 200 printable ASCII characters"):
        nonce_inputs(network(), nonce)

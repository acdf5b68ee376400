"""idx files: read as their header says, refused where anything is off."""

import struct

import numpy as np
import pytest

from qleaky.datasets._idx import parse_idx
from qleaky.errors import ArtefactError


def idx(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 300)])
def test_an_array_comes_back_as_it_was_written(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(parse_idx(idx(array), "file"), array)


WHOLE = idx(np.zeros((3, 4), np.uint8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file is no idx file: it begins with nothing"),
        (b"PK\x03\x04" + WHOLE, "is no idx file: it begins with 50 4b 03 04"),
        (bytes([0, 0, 8, 0]), "is no idx file: it begins with 00 00 08 00"),
        (bytes([0, 0, 13, 1]) + WHOLE[4:], r"is an idx file of type 0x0d; only unsigned bytes, 0x08"),
        (WHOLE[:10], "is truncated: its header of 12 bytes has 10"),
        (WHOLE[:-1], r"is truncated or too long: an array of shape \(3, 4\) has 12 numbers, the file 11"),
        (WHOLE + b"\0", r"is truncated or too long: .*has 12 numbers, the file 13"),
    ],
)
def test_other_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        parse_idx(data, "file")

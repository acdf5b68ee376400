"""The idx format of the MNIST family: a big-endian header, then the numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import ArtefactError

UNSIGNED_BYTES = 0x08


def parse_idx(data: bytes, where: str) -> NDArray[Any]:
    """An array of unsigned bytes: 0, 0, 8, the number of dimensions, their sizes as uint32, and the numbers in C order.

    Source: http://yann.lecun.com/exdb/mnist, "The IDX file format".

    Raises:
        ArtefactError: another format or type, or fewer or more bytes than the header says.

    >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9]), "example").tolist()
    [[7, 9]]
    """
    if len(data) < 4 or data[:2] != b"\x00\x00" or not data[3]:
        raise ArtefactError(
            f"{where} is no idx file: it begins with {data[:4].hex(' ') or 'nothing'}, not with 00 00 08 and 1..255."
        )
    kind, dimensions = data[2], data[3]
    if kind != UNSIGNED_BYTES:
        raise ArtefactError(
            f"{where} is an idx file of type {kind:#04x}; only unsigned bytes, {UNSIGNED_BYTES:#04x}, are read."
        )
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise ArtefactError(f"{where} is truncated: its header of {start} bytes has {len(data)}.")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", dimensions, 4))
    if len(data) != start + math.prod(shape):
        raise ArtefactError(
            f"{where} is truncated or too long: an array of shape {shape} has {math.prod(shape):,} numbers, the file "
            f"{len(data) - start:,}."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()

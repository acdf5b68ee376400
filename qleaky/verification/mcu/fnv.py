"""32-bit FNV-1a, with which small devices digest their states.

It finds what is wrong by accident; it does not withstand one who looks for a collision (docs/microcontrollers-checks.md).
Source: G. Fowler, L. C. Noll, K.-P. Vo, D. Eastlake, The FNV Non-Cryptographic Hash Algorithm.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.export.c.interface import Kind
from qleaky.reference import Recording
from qleaky.verification.digests import digest_line, recorded_states

START, PRIME = 2166136261, 16777619
Hashes = NDArray[np.uint32]


def fnv1a(data: bytes, start: int = START) -> int:
    """h = (h XOR byte) * 16777619 modulo 2^32 for each byte, from h = ``start``.

    >>> hex(fnv1a(b"foobar"))
    '0xbf9cf968'
    """
    for byte in data:
        start = (start ^ byte) * PRIME & 0xFFFFFFFF
    return start


def fnv1a_rows(codes: NDArray[Any], start: int = START) -> Hashes:
    """The hash of every row (N, words) of integers, as little-endian int32.

    >>> int(fnv1a_rows(np.array([[1], [-1]]))[0]) == fnv1a(bytes([1, 0, 0, 0]))
    True
    """
    found = np.full(len(codes), start, np.uint32)
    for column in np.ascontiguousarray(codes.astype(np.int64).T).astype(np.uint32):
        for shift in (0, 8, 16, 24):
            found = (found ^ (column >> np.uint32(shift) & np.uint32(255))) * np.uint32(PRIME)
    return found


def state_fnv(recording: Recording) -> dict[tuple[str, Kind], Hashes]:
    """Digests (T, B) of a run by layer and kind: of the bytes that :func:`qleaky.verification.digests.state_digest` hashes."""
    return {(layer, kind): _over_time(layer, kind, codes) for layer, kind, codes in recorded_states(recording)}


def _over_time(layer: str, kind: Kind, codes: NDArray[Any]) -> Hashes:
    lines = (digest_line(layer, kind, t, codes.shape[2:]) for t in range(len(codes)))
    size = math.prod(codes.shape[2:])
    return np.stack([fnv1a_rows(step.reshape(-1, size), fnv1a(line)) for step, line in zip(codes, lines, strict=True)])


def output_fnv(name: str, numbers: NDArray[Any]) -> Hashes:
    """Digests (B,) of an output (B, ...): the line ``qleaky-output-1 <name> <elements>`` and a line feed, then its int32."""
    rows = numbers.reshape(len(numbers), -1)
    return fnv1a_rows(rows, fnv1a(f"qleaky-output-1 {name} {rows.shape[1]}\n".encode("utf-8", "backslashreplace")))

"""As much of ELF as an emulator and a table of sizes need: 32 bits, little-endian."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from qleaky.errors import ArtefactError

_LOAD, _NO_BITS, _ALLOCATED = 1, 8, 2


@dataclass(frozen=True)
class Program:
    """Where execution starts, and the bytes that are loaded, by physical address."""

    entry: int
    segments: tuple[tuple[int, bytes], ...]


def program_of(data: bytes) -> Program:
    """The program in an ELF file.

    Raises:
        ArtefactError: it is none of 32 bits.
    """
    _check(data)
    entry, table = struct.unpack_from("<II", data, 24)
    size, count = struct.unpack_from("<HH", data, 42)
    segments = []
    for i in range(count):
        kind, offset, _, address, length = struct.unpack_from("<IIIII", data, table + i * size)
        if kind == _LOAD and length:
            segments.append((address, data[offset : offset + length]))
    return Program(entry, tuple(segments))


def flash_of(data: bytes) -> int:
    """Bytes of code and constants of an object file.

    Raises:
        ArtefactError: it is none of 32 bits.
    """
    _check(data)
    (table,) = struct.unpack_from("<I", data, 32)
    size, count = struct.unpack_from("<HH", data, 46)
    headers = (struct.unpack_from("<IIIIII", data, table + i * size) for i in range(count))
    return sum(length for _, kind, flags, _, _, length in headers if flags & _ALLOCATED and kind != _NO_BITS)


def _check(data: bytes) -> None:
    if data[:7] != b"\x7fELF\x01\x01\x01" or len(data) < 52:
        raise ArtefactError("The compiler wrote no ELF file of 32 bits, little-endian.")

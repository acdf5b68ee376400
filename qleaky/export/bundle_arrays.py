"""Plain ``.npy`` files, written and read byte by byte: C order, little-endian, version 1.0, never a pickle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import ArtefactError

MAGIC = b"\x93NUMPY\x01\x00"
ALIGNMENT = 64


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The file of an array, the same bytes whatever version of NumPy there is."""
    array = np.asarray(array)
    return _header(array.dtype, array.shape) + array.astype(array.dtype.newbyteorder("<")).tobytes()


def npy_array(data: bytes, dtype: str, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """The array in a file that must have this type and shape; nothing of its text is evaluated.

    Raises:
        ArtefactError: it has not, or is cut short.
    """
    wanted = np.dtype(dtype)
    length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 2], "little")
    start = len(MAGIC) + 2 + length
    said = data[len(MAGIC) + 2 : start].rstrip(b" \n")
    if not data.startswith(MAGIC) or said != _text(wanted, shape):
        raise ArtefactError(f"{where} is no .npy file of {dtype} and shape {shape}, which the manifest promises.")
    numbers = math.prod(shape)
    if len(data) - start != numbers * wanted.itemsize:
        raise ArtefactError(
            f"{where} is cut short or too long: it has {len(data) - start:,} bytes of numbers, {numbers:,} of {dtype} take "
            f"{numbers * wanted.itemsize:,}."
        )
    return np.frombuffer(data, wanted.newbyteorder("<"), offset=start).astype(wanted).reshape(shape)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    text = _text(dtype, shape)
    padding = -(len(MAGIC) + 2 + len(text) + 1) % ALIGNMENT
    return MAGIC + (len(text) + padding + 1).to_bytes(2, "little") + text + b" " * padding + b"\n"


def _text(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    descr = dtype.newbyteorder("<").str
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}".encode("ascii")

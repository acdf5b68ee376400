"""Vectors that follow from a nonce: nobody can know what a network computes of them before the nonce is known."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.integer import Input, IntegerNetwork

SAMPLES = 8
PRINTABLE = re.compile(r"[\x20-\x7e]{1,200}\Z")
WORDS = 8  # uint32 in a SHA-256 digest


def check_nonce(nonce: str) -> str:
    """The nonce itself, if it is one.

    Raises:
        InputError: it is not 1 to 200 printable ASCII characters.
    """
    if not PRINTABLE.match(nonce):
        raise InputError(f"nonce {nonce[:40]!r}: a nonce is 1 to 200 printable ASCII characters, such as a random word.")
    return nonce


def nonce_inputs(network: IntegerNetwork, nonce: str) -> dict[str, NDArray[Any]]:
    """Eight samples of every input, codes (T, 8, ...), or (8, ...) of a static one.

    For input i and sample s the SHA-256 digests of ``qleaky-nonce-1 <nonce> <i> <s> <block>`` and a line feed, block = 0, 1,
    ..., are a stream of little-endian uint32. Each element, in C order of (T, ...), takes two of them, a and b::

        code = low + floor(a * (high - low + 1) / 2**32)   if b < (s + 1) * 2**29, else the code of zero

    so that sample s has a density of (s + 1) / 8.

    Raises:
        InputError: as :func:`check_nonce`.
    """
    check_nonce(nonce)
    return {source.name: _input(network, nonce, i) for i, source in enumerate(network.inputs)}


def _input(network: IntegerNetwork, nonce: str, i: int) -> NDArray[Any]:
    source = network.inputs[i]
    sequence = source.time == "sequence"
    shape = (network.num_steps, *source.shape) if sequence else source.shape
    samples = [_sample(source, f"qleaky-nonce-1 {nonce} {i} {s}", s, math.prod(shape)).reshape(shape) for s in range(SAMPLES)]
    return np.stack(samples, axis=1 if sequence else 0).astype(source.format.dtype)


def _sample(source: Input, label: str, s: int, size: int) -> NDArray[np.int64]:
    fmt = source.format
    pairs = _stream(label, 2 * size).reshape(size, 2)
    scaled = pairs[:, 0] * np.uint64(fmt.highest - fmt.lowest + 1) >> np.uint64(32)
    kept = pairs[:, 1] < np.uint64((s + 1) << 29)
    return np.where(kept, scaled.astype(np.int64) + fmt.lowest, fmt.zero_point)


def _stream(label: str, count: int) -> NDArray[np.uint64]:
    """The first ``count`` numbers of a stream."""
    blocks = -(-count // WORDS)
    digests = (hashlib.sha256(f"{label} {block}\n".encode("ascii")).digest() for block in range(blocks))
    return np.frombuffer(b"".join(digests), "<u4")[:count].astype(np.uint64)

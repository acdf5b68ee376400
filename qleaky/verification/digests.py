"""Digests of every state tensor: two devices compare whole runs without shipping tensors (docs/models.md)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qleaky.reference import Recording

Kind = Literal["mem", "spk", "syn"]
BYTES = 32
NOT_A_NUMBER = 0x7FC00000


def state_digest(layer: str, kind: Kind, step: int, codes: NDArray[Any]) -> bytes:
    """SHA-256 of one sample's codes of one layer at one time step.

    The line ``qleaky-digest-1 <layer> <kind> <step> <shape, comma separated>`` and a line feed, in UTF-8 (ASCII, where the
    layer's name is), then the codes as little-endian int32 in C order; the first step is 0. Of float32 numbers the codes are
    their bit patterns, where -0.0 counts as 0.0 and every NaN as 0x7fc00000.

    >>> state_digest("lif1", "spk", 0, np.array([0, 1])).hex()[:16]
    '6ac313c0be238569'
    """
    return hashlib.sha256(digest_line(layer, kind, step, codes.shape) + code_bytes(codes)).digest()


def digest_line(layer: str, kind: Kind, step: int, shape: tuple[int, ...]) -> bytes:
    """The line before the codes: ``shape`` is that of a sample."""
    return f"qleaky-digest-1 {layer} {kind} {step} {','.join(map(str, shape))}\n".encode("utf-8", "backslashreplace")


def vectors_digest(codes: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256, as hex, of encoded inputs, in the network's order.

    For each the line ``qleaky-vectors-1 <name> <shape, comma separated>`` and a line feed, then its codes as in
    :func:`state_digest`.
    """
    found = hashlib.sha256()
    for name, array in codes.items():
        line = f"qleaky-vectors-1 {name} {','.join(map(str, array.shape))}\n"
        found.update(line.encode("utf-8", "backslashreplace") + code_bytes(array))
    return found.hexdigest()


def code_bytes(codes: NDArray[Any]) -> bytes:
    """Codes as little-endian int32 in C order; float32 numbers by their bits.

    >>> code_bytes(np.array([-1])).hex(), code_bytes(np.array([-0.0, 1.0], np.float32)).hex()
    ('ffffffff', '000000000000803f')
    """
    return (float_codes(codes) if codes.dtype == np.float32 else codes).astype("<i4").tobytes()


def float_codes(array: NDArray[Any]) -> NDArray[Any]:
    """The bit patterns of float32 numbers as int32, -0.0 taken as 0.0 and every NaN as 0x7fc00000; integers unchanged."""
    if array.dtype.kind != "f":
        return array
    values = array.astype(np.float32) + np.float32(0)
    return np.where(np.isnan(values), np.int32(NOT_A_NUMBER), np.ascontiguousarray(values).view(np.int32))


def state_digests(recording: Recording) -> dict[tuple[str, Kind], NDArray[np.uint8]]:
    """The digests of a run, uint8 (T, B, 32), by layer and kind: of each sample what :func:`state_digest` says."""
    return {
        (layer, kind): np.stack([_of_samples(layer, kind, step, samples) for step, samples in enumerate(states)])
        for layer, kind, states in recorded_states(recording)
    }


def _of_samples(layer: str, kind: Kind, step: int, samples: NDArray[Any]) -> NDArray[np.uint8]:
    """The digests of one step, (B, 32): what is the same for all samples is hashed once."""
    head = hashlib.sha256(digest_line(layer, kind, step, samples.shape[1:]))
    data, size = code_bytes(samples), 4 * math.prod(samples.shape[1:])
    found = bytearray()
    for i in range(len(samples)):
        digest = head.copy()
        digest.update(data[i * size : (i + 1) * size])
        found += digest.digest()
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, BYTES)


def step_digests(recording: Recording) -> dict[tuple[str, Kind], list[str]]:
    """One digest for each layer, kind and step over all samples of a run: T hex strings by layer and kind.

    SHA-256 over the samples' 32-byte digests of that step (:func:`state_digest`), in the samples' order.

    >>> steps = np.array([[[0, 1], [1, 1]]])                       # 1 step, 2 samples of 2 neurons
    >>> found = step_digests(Recording({"lif1": steps}, {}, {}))["lif1", "spk"]
    >>> samples = state_digest("lif1", "spk", 0, steps[0, 0]) + state_digest("lif1", "spk", 0, steps[0, 1])
    >>> found == [hashlib.sha256(samples).hexdigest()]
    True
    """
    return {
        place: [hashlib.sha256(samples.tobytes()).hexdigest() for samples in digests]
        for place, digests in state_digests(recording).items()
    }


class RunDigest:
    """One digest for each layer and kind over any number of samples, which may come in pieces.

    SHA-256 over the digests of every step of the first sample, then of the second, and so on.
    """

    def __init__(self) -> None:
        self._hashes: dict[tuple[str, Kind], Any] = {}

    def add(self, recording: Recording) -> None:
        """Take the samples of a run, which follow those before."""
        for place, digests in state_digests(recording).items():
            self._hashes.setdefault(place, hashlib.sha256()).update(digests.transpose(1, 0, 2).tobytes())

    def digests(self) -> dict[tuple[str, Kind], bytes]:
        """The digests so far."""
        return {place: found.digest() for place, found in self._hashes.items()}


def recorded_states(recording: Recording) -> Iterator[tuple[str, Kind, NDArray[Any]]]:
    """Layer, kind and codes (T, B, ...) of everything that is digested."""
    kinds: tuple[tuple[Kind, dict[str, NDArray[Any]]], ...] = (
        ("mem", recording.membranes),
        ("spk", recording.spikes),
        ("syn", recording.synapses),
    )
    for kind, states in kinds:
        for layer, codes in states.items():
            yield layer, kind, codes

"""Golden vectors of a released network: synthetic inputs with what comes out, and digests of the real test set.

No recording or image of a data set is among them: of the test set there are the classes and one digest for each layer and kind.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky._files import read_file
from qleaky.datasets import DataSet
from qleaky.errors import ArtefactError
from qleaky.integer import IntegerNetwork
from qleaky.reference import Recording, run
from qleaky.verification.digests import BYTES, Kind, RunDigest, state_digests
from qleaky.verification.golden import synthetic_inputs

Arrays = dict[str, NDArray[Any]]
Digests = dict[tuple[str, Kind], NDArray[np.uint8]]
Execute = Callable[[NDArray[Any]], Recording]
SAMPLES = 16
PIECE = 100


@dataclass(frozen=True, eq=False)
class Golden:
    """What a device that runs the network must find.

    Attributes:
        inputs: codes (T, B, ...), or (B, ...) of a static input: the worst cases, then random ones.
        outputs: by name.
        digests: of every layer and kind, uint8 (T, B, 32) (:func:`~qleaky.verification.digests.state_digest`).
        test_classes: of the data set's test samples, uint8 (N,).
        test_digests: one for each layer and kind over all test samples, uint8 (32,)
            (:class:`~qleaky.verification.digests.RunDigest`).
    """

    inputs: NDArray[Any]
    outputs: Arrays
    digests: Digests
    test_classes: NDArray[np.uint8]
    test_digests: Digests

    @classmethod
    def record(cls, network: IntegerNetwork, data: DataSet, tell: Callable[[int, int], None] | None = None) -> Golden:
        """By the reference, on Python's own and NumPy's integers, in pieces of the test set."""
        inputs = synthetic_inputs(network, SAMPLES)
        recording = run(network, inputs)
        classes, digests = on_test_set(data, lambda codes: run(network, codes), tell)
        return cls(inputs, recording.outputs, state_digests(recording), classes, digests)

    def encode(self) -> bytes:
        """The bytes of ``golden.npz``, the same for the same vectors."""
        arrays: Arrays = {"inputs": self.inputs, "test/classes": self.test_classes}
        arrays |= {f"outputs/{name}": values for name, values in self.outputs.items()}
        for part, digests in (("digests", self.digests), ("test/digests", self.test_digests)):
            arrays |= {f"{part}/{layer}/{kind}": found for (layer, kind), found in digests.items()}
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
        return stream.getvalue()

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read ``golden.npz``.

        Raises:
            ArtefactError: it is missing or damaged.
        """
        try:
            with np.load(io.BytesIO(read_file(path, "golden vectors")), allow_pickle=False) as loaded:
                arrays: Arrays = dict(loaded)
            outputs = {name.removeprefix("outputs/"): array for name, array in arrays.items() if name.startswith("outputs/")}
            digests, test_digests = (_digests(arrays, part) for part in ("digests/", "test/digests/"))
            return cls(arrays["inputs"], outputs, digests, arrays["test/classes"], test_digests)
        except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ArtefactError(f"{path} holds no golden vectors, or is damaged: {error}. Get it again.") from error

    def correct(self, labels: NDArray[Any]) -> int:
        """How many test samples are classified rightly."""
        return int((self.test_classes == labels).sum())


def on_test_set(
    data: DataSet, execute: Execute, tell: Callable[[int, int], None] | None = None
) -> tuple[NDArray[np.uint8], Digests]:
    """Classes and digests of a whole test set, as ``execute`` computes them: a piece of codes -> its recording with outputs.

    Args:
        data: the data set.
        execute: the reference, or what is compared with it.
        tell: called with the samples done and those there are.
    """
    whole, classes = RunDigest(), []
    for codes in pieces(data):
        recording = execute(codes)
        whole.add(recording)
        classes.append(recording.outputs["class"])
        if tell is not None:
            tell(sum(map(len, classes)), len(data.test_labels))
    digests: Digests = {place: np.frombuffer(found, np.uint8) for place, found in whole.digests().items()}
    return np.concatenate(classes).astype(np.uint8), digests


def pieces(data: DataSet) -> Iterator[NDArray[Any]]:
    """The test set, a few samples at a time, in order."""
    for start in range(0, len(data.test_labels), PIECE):
        piece = slice(start, start + PIECE)
        yield data.test_codes[:, piece] if data.time == "sequence" else data.test_codes[piece]


def _digests(arrays: Arrays, part: str) -> Digests:
    found: Digests = {}
    for name, array in arrays.items():
        if name.startswith(part):
            layer, _, kind = name.removeprefix(part).rpartition("/")
            if kind not in ("mem", "spk", "syn") or array.shape[-1:] != (BYTES,):
                raise ValueError(f"{name} of shape {array.shape}")
            found[layer, kind] = array  # type: ignore[index]
    return found

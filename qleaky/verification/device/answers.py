"""What a device must answer, computed anew by the host: digests of every step and output, and single tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.export.artefact import sequences
from qleaky.export.bundle_entries import GoldenVectors, Network, narrowed
from qleaky.export.bundle_manifest import Kind
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.reference import Recording, run
from qleaky.verification.device.report_file import MAX_CODES, Answers, DeviceRun, Place
from qleaky.verification.device.vectors import as_codes, golden_recording
from qleaky.verification.digests import float_codes, state_digests

Arrays = dict[str, NDArray[Any]]
Spot = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class Expected:
    """The reference's run on some vectors: codes of every state, and digests."""

    network: Network
    recording: Recording
    digests: Mapping[tuple[str, Kind], NDArray[np.uint8]]

    @classmethod
    def on(cls, network: IntegerNetwork, codes: Arrays) -> Expected:
        """By the reference."""
        return cls._of(network, run(network, codes))

    @classmethod
    def golden(cls, network: Network, codes: Arrays) -> Expected:
        """Of a bundle's golden inputs; those of a FloatNetwork must be the recorded ones.

        Raises:
            InputError: they are not, or the network cannot take them.
        """
        return cls._of(network, golden_recording(network, codes))

    @classmethod
    def _of(cls, network: Network, recording: Recording) -> Expected:
        coded = as_codes(recording)
        return cls(network, coded, state_digests(coded))

    def same(self, golden: GoldenVectors) -> bool:
        """Whether a bundle's golden outputs and digests are these."""
        outputs = {name: narrowed(np.asarray(array)) for name, array in self.recording.outputs.items()}
        return (
            set(golden.outputs) == set(outputs)
            and set(golden.digests) == set(self.digests)
            and all(np.array_equal(float_codes(golden.outputs[n]), float_codes(array)) for n, array in outputs.items())
            and all(np.array_equal(golden.digests[place], found) for place, found in self.digests.items())
        )

    def first_wrong(self, answers: DeviceRun | Answers) -> Spot | None:
        """The first step at which a digest is another: layer or output, kind or "out", and step; None if all are right.

        A digest that is missing, one of nothing that the network has, or one that stands twice is another.
        """
        said: dict[tuple[str, Kind], tuple[str, ...]] = {}
        for each in answers.step_digests:
            if said.setdefault((each.layer, each.kind), each.steps) is not each.steps:
                return each.layer, each.kind, 0
        wrong = []
        for order, place in enumerate(self.digests):
            steps = self._steps(place, answers.samples)
            given = said.pop(place, ())
            for t, digest in enumerate(steps):
                if t >= len(given) or given[t] != digest:
                    wrong.append((t, order, *place))
                    break
            if len(given) > len(steps):
                wrong.append((len(steps), order, *place))
        if wrong or said:
            t, _, layer, kind = min(wrong) if wrong else (0, 0, *next(iter(said)))
            return layer, kind, t
        return self._wrong_output(answers)

    def _wrong_output(self, answers: DeviceRun | Answers) -> Spot | None:
        right = {name: self._output_digest(name, answers.samples) for name in self.recording.outputs}
        names = [name for name in (*right, *answers.output_digests) if answers.output_digests.get(name) != right.get(name)]
        return (names[0], "out", 0) if names else None

    def _steps(self, place: tuple[str, Kind], samples: int) -> list[str]:
        return [hashlib.sha256(step[:samples].tobytes()).hexdigest() for step in self.digests[place]]

    def _output_digest(self, name: str, samples: int) -> str:
        array = float_codes(np.asarray(self.recording.outputs[name]))
        cut = array[:, :samples] if name in sequences(self.network) else array[:samples]
        floats = self.recording.outputs[name].dtype.kind == "f"
        return hashlib.sha256(np.ascontiguousarray(cut).astype("<i4" if floats else "<i8").tobytes()).hexdigest()

    def tensor(self, place: Place) -> NDArray[Any] | None:
        """The codes of one tensor, of one sample's shape; None if the run has no such tensor."""
        kinds = {"mem": self.recording.membranes, "spk": self.recording.spikes, "syn": self.recording.synapses}
        arrays = self.recording.outputs if place.kind == "out" else kinds[place.kind]
        if place.layer not in arrays:
            return None
        array = float_codes(np.asarray(arrays[place.layer]))
        if place.kind == "out" and place.layer not in sequences(self.network):
            array = array[None]
        if place.step >= array.shape[0] or place.sample >= array.shape[1]:
            return None
        found: NDArray[Any] = array[place.step, place.sample]
        return found

    def is_float(self, place: Place) -> bool:
        """Whether the codes of a tensor are the bits of float32 numbers."""
        if place.kind != "out":
            return isinstance(self.network, FloatNetwork)
        return bool(self.recording.outputs[place.layer].dtype.kind == "f")

    def element(self, place: Place) -> tuple[tuple[int, ...], int, int] | None:
        """The first element of a tensor that a device has otherwise, with both codes; None where those it shows are right.

        Raises:
            LookupError: there is no such tensor, or it has another number of codes.
        """
        tensor = self.tensor(place)
        if tensor is None or len(place.got) != min(tensor.size, MAX_CODES) or place.truncated != (tensor.size > MAX_CODES):
            raise LookupError
        flat = tensor.reshape(-1)
        for i, code in enumerate(place.got):
            if code != int(flat[i]):
                return tuple(int(n) for n in np.unravel_index(i, tensor.shape)), int(flat[i]), code
        return None

"""Digests are those that docs/models.md defines, written here a second time with struct and hashlib."""

import hashlib
import struct

import numpy as np
import pytest

from qleaky.reference import Recording
from qleaky.verification.digests import RunDigest, state_digest, state_digests, step_digests


def by_the_page(layer: str, kind: str, step: int, codes: np.ndarray) -> bytes:  # type: ignore[type-arg]
    shape = ",".join(str(size) for size in codes.shape)
    numbers = b"".join(struct.pack("<i", int(code)) for code in codes.ravel())
    return hashlib.sha256(f"qleaky-digest-1 {layer} {kind} {step} {shape}\n".encode() + numbers).digest()


@pytest.fixture
def recording() -> Recording:
    """Two layers, 3 steps, 4 samples."""
    rng = np.random.default_rng(0)
    membranes = {"lif1": rng.integers(-128, 128, (3, 4, 2, 5)), "lif2": rng.integers(-128, 128, (3, 4, 6))}
    return Recording({name: (mem > 0).astype(np.uint8) for name, mem in membranes.items()}, membranes, {})


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_a_digest_is_the_same_for_every_type_that_holds_the_codes(dtype: type) -> None:
    codes = np.array([[-128, 127], [0, -1]])
    assert state_digest("lif1", "mem", 7, codes.astype(dtype)) == by_the_page("lif1", "mem", 7, codes)


def test_every_sample_layer_kind_and_step_has_its_own(recording: Recording) -> None:
    found = state_digests(recording)
    assert list(found) == [("lif1", "mem"), ("lif2", "mem"), ("lif1", "spk"), ("lif2", "spk")]
    for (layer, kind), digests in found.items():
        states = recording.membranes if kind == "mem" else recording.spikes
        assert (digests.shape, digests.dtype) == ((3, 4, 32), np.uint8)
        for step in range(3):
            for sample in range(4):
                assert digests[step, sample].tobytes() == by_the_page(layer, kind, step, states[layer][step, sample])


def test_a_step_is_digested_over_its_samples_in_order(recording: Recording) -> None:
    found = step_digests(recording)
    assert list(found) == [("lif1", "mem"), ("lif2", "mem"), ("lif1", "spk"), ("lif2", "spk")]
    for (layer, kind), steps in found.items():
        states = recording.membranes if kind == "mem" else recording.spikes
        assert len(steps) == 3
        for step, digest in enumerate(steps):
            expected = hashlib.sha256()
            for sample in range(4):
                expected.update(by_the_page(layer, kind, step, states[layer][step, sample]))
            assert digest == expected.hexdigest()


def test_a_run_is_the_same_in_one_piece_and_in_several(recording: Recording) -> None:
    whole, pieces = RunDigest(), RunDigest()
    whole.add(recording)
    for part in (slice(0, 3), slice(3, 4)):
        spikes, membranes = (
            {name: array[:, part] for name, array in states.items()} for states in (recording.spikes, recording.membranes)
        )
        pieces.add(Recording(spikes, membranes, {}))
    assert whole.digests() == pieces.digests()
    membranes = recording.membranes["lif2"]
    expected = hashlib.sha256()
    for sample in range(4):
        for step in range(3):
            expected.update(by_the_page("lif2", "mem", step, membranes[step, sample]))
    assert whole.digests()["lif2", "mem"] == expected.digest()


def test_one_changed_code_changes_its_digest_alone(recording: Recording) -> None:
    before = state_digests(recording)
    recording.membranes["lif2"][1, 2, 3] ^= 1
    after = state_digests(recording)
    changed = [(place, *where) for place in before for where in np.argwhere((before[place] != after[place]).any(-1)).tolist()]
    assert changed == [(("lif2", "mem"), 1, 2)]

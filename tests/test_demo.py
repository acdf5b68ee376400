"""The demo's recordings are the published ones, and its networks recognise the speakers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from qleaky.datasets import japanese_vowels
from qleaky.datasets._japanese_vowels import CHANNELS, NUM_STEPS, SPEAKERS
from qleaky.demo import FILES, run_demo
from qleaky.fixed import QFormat

SPLITS = {"train": 270, "test": 370}


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_exported_network_recognises_nineteen_of_twenty_recordings(seed: int, tmp_path: Path) -> None:
    result = run_demo(tmp_path, seed)
    assert result.runtime_accuracy >= 95
    assert result.torch_accuracy == result.runtime_accuracy
    assert (result.report.verdict, result.report.mismatches) == ("proved", 0)


def test_a_short_demo_leaves_threads_and_random_state_as_they_were(tmp_path: Path) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    told: list[tuple[str, int, int]] = []
    result = run_demo(tmp_path, epochs=1, progress=lambda stage, epoch, epochs, loss: told.append((stage, epoch, epochs)))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert told == [("float training", 1, 1), ("8-bit training", 1, 1)]
    assert [path.name for path in result.files] == list(FILES)
    assert result.report.verdict == "proved"


@pytest.mark.parametrize("split", SPLITS)
def test_codes_are_the_published_numbers_rounded_half_up_and_saturated(split: str, shared: Path) -> None:
    data = japanese_vowels()
    with np.load(shared / "data" / "japanese-vowels" / "japanese_vowels.npz") as arrays:
        values, lengths = arrays[f"x_{split}"].astype(np.float64), arrays[f"len_{split}"]
        labels = arrays[f"y_{split}"]
    expected = np.clip(np.floor(64 * values + 0.5) + 128, 0, 255).astype(np.uint8)
    spoken = np.arange(NUM_STEPS) < lengths[:, None]
    codes = getattr(data, f"{split}_codes").transpose(1, 0, 2)
    assert np.array_equal(codes[spoken], expected[spoken])
    assert (codes[~spoken] == 128).all()
    assert np.array_equal(getattr(data, f"{split}_lengths"), lengths)
    assert np.array_equal(getattr(data, f"{split}_labels"), labels)


@pytest.mark.parametrize("split", SPLITS)
def test_the_shapes_of_the_data(split: str) -> None:
    data = japanese_vowels()
    codes, labels, lengths = (getattr(data, f"{split}_{part}") for part in ("codes", "labels", "lengths"))
    assert (codes.shape, codes.dtype) == ((NUM_STEPS, SPLITS[split], CHANNELS), np.uint8)
    assert set(labels.tolist()) == set(range(SPEAKERS))
    assert lengths.min() >= 7
    assert lengths.max() <= NUM_STEPS
    padding = np.arange(NUM_STEPS)[:, None] >= lengths
    assert (codes[padding] == data.format.zero_point).all()
    assert data.format == QFormat(8, 6, signed=False, zero_point=128)

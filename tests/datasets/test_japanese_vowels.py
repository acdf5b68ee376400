"""The recordings of Japanese Vowels are the published ones."""

from pathlib import Path

import numpy as np
import pytest

from qleaky.datasets import japanese_vowels
from qleaky.fixed import QFormat

NUM_STEPS, CHANNELS, SPEAKERS = 29, 12, 9
SPLITS = {"train": 270, "test": 370}


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

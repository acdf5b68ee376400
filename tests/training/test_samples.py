"""Samples in memory, and the validation split: stratified, by seed, from the training set alone."""

import numpy as np
import pytest
import torch

from qleaky.datasets import DataSet, digits, japanese_vowels
from qleaky.errors import InputError
from qleaky.fixed import QFormat
from qleaky.training.samples import split


def small(dtype: type = np.uint8, fmt: QFormat | None = None) -> DataSet:
    """Nine samples of class 0, three of class 1, one of class 2; a sample is its own number."""
    codes = np.arange(13, dtype=dtype)[:, None]
    labels = np.array([0] * 9 + [1] * 3 + [2])
    return DataSet("small", codes, labels, codes + 100, labels, fmt or QFormat(8, 3, signed=False), "static", None, 3)


def test_each_class_gives_its_share() -> None:
    splits = split(small(), 1 / 3, seed=0)
    assert splits.validation.labels.bincount().tolist() == [3, 1, 1]
    together = torch.cat([splits.train.codes, splits.validation.codes]).flatten()
    assert sorted(together.tolist()) == list(range(13))
    assert splits.test.codes.flatten().tolist() == list(range(100, 113))


def test_a_class_gives_at_least_one_and_without_a_share_nothing() -> None:
    assert split(small(), 0.01, seed=0).validation.labels.bincount().tolist() == [1, 1, 1]
    assert len(split(small(), 0, seed=0).validation) == 0


def test_the_seed_decides_which() -> None:
    first, again, other = (split(japanese_vowels(), 0.2, seed).validation.codes for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_left_to_train_with_is_an_error() -> None:
    data = small()
    few = DataSet(
        "few",
        data.train_codes[[0, 12]],
        np.array([0, 2]),
        *(data.test_codes, data.test_labels),
        *(data.format, "static", None, 3),
    )
    with pytest.raises(InputError, match=r"data\.validation = 0\.5 holds back all 2 training samples of few; choose less"):
        split(few, 0.5, seed=0)


@pytest.mark.parametrize("load", [digits, japanese_vowels])
def test_values_are_the_format_s(load: type) -> None:
    data = load()
    splits = split(data, 0, seed=0)
    assert np.array_equal(splits.train.values().numpy(), data.format.decode(data.train_codes))
    assert np.array_equal(splits.test.values().numpy(), data.format.decode(data.test_codes))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_codes_of_every_type(dtype: type) -> None:
    fmt = QFormat(8, 3, signed=dtype is np.int8)
    samples = split(small(dtype, fmt), 0, seed=0).train[torch.tensor([2, 0])]
    assert samples.values().flatten().tolist() == [0.25, 0.0]
    assert samples.labels.tolist() == [0, 0]

"""A data set's parts fit together, or it is not made."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qleaky import QFormat
from qleaky.datasets import DataSet
from qleaky.errors import FormatError, InputError

FORMAT = QFormat(4, 2, signed=False)


def small(**changes: Any) -> DataSet:
    """Five training and three test sequences of four steps of 2 numbers, two classes."""
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 16, (4, n, 2), dtype=np.uint8) for n in (5, 3))
    labels = (np.array([0, 1, 0, 1, 0]), np.array([1, 0, 1]))
    return replace(DataSet("small", train, labels[0], test, labels[1], FORMAT, "sequence", 4, 2), **changes)


def test_the_shape_of_a_sample_is_what_follows_time_and_number() -> None:
    assert small().sample_shape == (2,)
    images = {"train_codes": np.zeros((5, 1, 6, 7), np.uint8), "test_codes": np.zeros((3, 1, 6, 7), np.uint8)}
    assert small(**images, time="static", num_steps=None).sample_shape == (1, 6, 7)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train_codes": [[1]]}, InputError, "small: train_codes is a list; pass a NumPy array of integers"),
        ({"test_labels": (0, 1, 0)}, InputError, "small: test_labels is a tuple; pass a NumPy array of integers"),
        (
            {"format": "spikes"},
            InputError,
            r"small: format='spikes'; pass a qleaky\.QFormat\. That of spikes is QFormat\(1, 0, ",
        ),
        ({"classes": 2.5}, InputError, r"small: classes=2\.5; it is a whole number"),
        ({"time": "moving"}, InputError, r"small: time='moving'; it is 'static' or 'sequence'"),
        (
            {"test_codes": np.zeros((4, 3, 5), np.uint8)},
            InputError,
            r"shapes \(4, 5, 2\) and \(4, 3, 5\); they are \(T, N, \.\.\.\)",
        ),
        ({"train_codes": np.zeros((4, 5, 2))}, InputError, "training samples: codes have dtype float64; they are integers"),
        ({"test_labels": np.array([0, 1])}, InputError, r"test samples: 3 samples and labels of shape \(2,\); one label each"),
        (
            {"test_labels": np.array([0, 2, 1])},
            InputError,
            "test samples: labels are int64 from 0 to 2; they are int64 from 0 to 1",
        ),
        ({"train_labels": np.array([0, 1, 0, 1, -1])}, InputError, "training samples: labels are int64 from -1 to 1"),
        ({"test_labels": np.array([0, 1, 1], np.uint8)}, InputError, "labels are uint8 from 0 to 1; they are int64"),
        ({"test_codes": np.full((4, 3, 2), 16, np.uint8)}, FormatError, r"small, test samples hold code 16, outside UQ2\.2"),
        ({"num_steps": 5}, InputError, "num_steps=5; it is 4, as the codes' shape and time='sequence' say"),
        ({"time": "static"}, InputError, r"shapes \(4, 5, 2\) and \(4, 3, 2\); they are \(N, \.\.\.\)"),
        ({"test_lengths": np.array([1, 4, 5])}, InputError, "lengths are one for each sequence, from 1 to 4 steps"),
        ({"test_lengths": np.array([1, 4])}, InputError, "lengths are one for each sequence"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        small(**changes)


def test_no_samples_are_no_data_set() -> None:
    with pytest.raises(InputError, match=r"test samples: 0 samples .* at least one sample"):
        small(test_codes=np.zeros((4, 0, 2), np.uint8), test_labels=np.zeros(0, np.int64))

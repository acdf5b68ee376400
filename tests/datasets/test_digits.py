"""The digits are scikit-learn's, and each class has its share in both splits."""

import numpy as np
import pytest

from qleaky import QFormat
from qleaky.datasets import digits


def test_a_quarter_of_every_class_is_for_the_test() -> None:
    data = digits()
    assert (data.train_codes.shape, data.test_codes.shape) == ((1347, 64), (450, 64))
    train, test = (np.bincount(labels) for labels in (data.train_labels, data.test_labels))
    assert (train + test).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (np.abs(4 * test - (train + test)) < 4).all()


def test_values_are_sixteenths() -> None:
    data = digits()
    assert data.format == QFormat(5, 4, signed=False)
    assert (data.train_codes.max(), data.test_codes.max()) == (16, 16)
    assert data.format.decode(16) == 1.0


def test_the_pixels_are_the_published_ones() -> None:
    """Sums of the whole file, and its first image, a 0, which is the first one of its class and so a test sample."""
    data = digits()
    codes = np.concatenate([data.train_codes, data.test_codes]).astype(np.int64)
    labels = np.concatenate([data.train_labels, data.test_labels])
    assert (codes.sum(), labels.sum()) == (561718, 8070)
    assert data.test_labels[0] == 0
    assert data.test_codes[0, :16].tolist() == [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]


def test_both_splits_together_are_scikit_learns_copy() -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="compares with scikit-learn's copy")
    images = sklearn.load_digits()
    data = digits()
    test = np.argsort(images.target, kind="stable")[::4]
    assert np.array_equal(images.data[np.sort(test)], data.test_codes)
    assert np.array_equal(np.delete(images.data, test, 0), data.train_codes)

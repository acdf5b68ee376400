"""Handwritten digits of 8 x 8 pixels (UCI 80, CC BY 4.0; see NOTICE)."""

from __future__ import annotations

import numpy as np

from qleaky.datasets._data_set import DataSet
from qleaky.datasets._sources import packaged
from qleaky.fixed import QFormat

FORMAT = QFormat(5, 4, signed=False)
SHA256 = "f10b077e7e3037d11006b85b6b71a63e15b2bf746d91c4e4122e42d304e5e54b"
CLASSES = 10
EVERY = 4


def digits() -> DataSet:
    """1,797 images of 64 pixels, value = code / 16 with codes 0 to 16: 1,347 to train with and 450 to test.

    The data set has no official split. Here the samples are sorted by class, in file order within a class, and each fourth
    one, beginning with the first, is a test sample: so all classes have their share, and nothing is drawn.

    Raises:
        ArtefactError: the file in the package is damaged.

    >>> digits().test_codes.shape
    (450, 64)
    """
    arrays = packaged("digits.npz", SHA256)
    codes, labels = arrays["x"], arrays["y"].astype(np.int64)
    is_test = np.zeros(len(labels), bool)
    is_test[np.argsort(labels, kind="stable")[::EVERY]] = True
    return DataSet(
        "digits", codes[~is_test], labels[~is_test], codes[is_test], labels[is_test], FORMAT, "static", None, CLASSES
    )

"""Free Spoken Digit Dataset, as 32 bands of a log-mel spectrogram (CC BY-SA 4.0)."""

from __future__ import annotations

import os

import numpy as np

from qleaky.datasets._data_set import DataSet
from qleaky.datasets._sources import Source, arrays
from qleaky.fixed import QFormat

FORMAT = QFormat(8, 6, signed=False, zero_point=128)
NUM_STEPS = 40
DIGITS = 10
TEST_INDICES = 5
SOURCE = Source(
    "fsdd/fsdd_logmel_u8.npz",
    "9903a95a1b61d14c6e423b54d7398408f26afb36a0728561a9ef84cfab0d5347",
    "Download https://github.com/Jakobovski/free-spoken-digit-dataset at commit 26eb9aa (Z. Jackson et al., CC BY-SA 4.0), and "
    "make the file with `python -m qleaky.datasets.log_mel RECORDINGS DATA_FOLDER`.",
)


def fsdd(folder: str | os.PathLike[str] | None = None) -> DataSet:
    """Recordings 0 to 4 of each speaker and digit test (300), 5 to 49 train (2,700): the official split.

    Codes (40, N, 32) of a log-mel spectrogram (:func:`~qleaky.datasets.log_mel.log_mel`), value = (code - 128) / 64. The
    padding is code 0, as silence is.

    Args:
        folder: holds ``fsdd/fsdd_logmel_u8.npz``; None takes the environment variable QLEAKY_DATA.

    Raises:
        InputError: no folder is named.
        ArtefactError: the file is missing or damaged.
    """
    found = arrays(SOURCE.read(folder), SOURCE.path)
    labels, frames = found["digit"].astype(np.int64), found["frames"].astype(np.int64)
    test = found["index"] < TEST_INDICES
    train_codes, test_codes = (np.ascontiguousarray(found["x"][part].transpose(1, 0, 2)) for part in (~test, test))
    return DataSet(
        *("fsdd", train_codes, labels[~test], test_codes, labels[test], FORMAT, "sequence", NUM_STEPS, DIGITS),
        *(frames[~test], frames[test]),
    )

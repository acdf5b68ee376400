"""Japanese Vowels: nine speakers saying /ae/, as 12 LPC cepstrum channels (UCI 128, CC BY 4.0; see NOTICE)."""

from __future__ import annotations

import numpy as np

from qleaky.datasets._data_set import DataSet
from qleaky.datasets._sources import packaged
from qleaky.fixed import QFormat

FORMAT = QFormat(8, 6, signed=False, zero_point=128)
SHA256 = "d8a5dcfb784e874aac1b99e85718b410ddc6dcfff102088a4b22b00186abdc24"
NUM_STEPS = 29
SPEAKERS = 9


def japanese_vowels() -> DataSet:
    """The official split: 270 training and 370 test recordings of 12 channels; value = (code - 128) / 64, saturated to 0..255.

    Recordings are padded to 29 steps with code 128, the value 0.

    Raises:
        ArtefactError: the file in the package is damaged.

    >>> japanese_vowels().train_codes.shape
    (29, 270, 12)
    """
    arrays = packaged("japanese_vowels.npz", SHA256)
    train, test = (np.ascontiguousarray(arrays[f"x_{split}"].transpose(1, 0, 2)) for split in ("train", "test"))
    train_labels, test_labels = (arrays[f"y_{split}"].astype(np.int64) for split in ("train", "test"))
    return DataSet(
        *("japanese-vowels", train, train_labels, test, test_labels, FORMAT, "sequence", NUM_STEPS, SPEAKERS),
        *(arrays[f"len_{split}"].astype(np.int64) for split in ("train", "test")),
    )

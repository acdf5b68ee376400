"""Japanese Vowels: nine speakers saying /ae/, as 12 LPC cepstrum channels (UCI 128, CC BY 4.0; see NOTICE)."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import ArtefactError
from qleaky.fixed import QFormat

FORMAT = QFormat(8, 6, signed=False, zero_point=128)
SHA256 = "d8a5dcfb784e874aac1b99e85718b410ddc6dcfff102088a4b22b00186abdc24"
NUM_STEPS = 29
CHANNELS = 12
SPEAKERS = 9


@dataclass(frozen=True)
class JapaneseVowels:
    """Codes uint8 (T, N, 12), time first, T = 29, padded with the code of 0; labels int64 (N,), lengths int64 (N,)."""

    train_codes: NDArray[Any]
    train_labels: NDArray[Any]
    test_codes: NDArray[Any]
    test_labels: NDArray[Any]
    train_lengths: NDArray[Any]
    test_lengths: NDArray[Any]
    format: QFormat = FORMAT


def japanese_vowels() -> JapaneseVowels:
    """The official split: 270 training and 370 test recordings; value = (code - 128) / 64, saturated to 0..255.

    Raises:
        ArtefactError: the file in the package is damaged.

    >>> japanese_vowels().train_codes.shape
    (29, 270, 12)
    """
    data = files("qleaky.datasets").joinpath("japanese_vowels.npz").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ArtefactError("japanese_vowels.npz in the qleaky package is damaged. Install qleaky again.")
    with np.load(io.BytesIO(data)) as arrays:
        parts = {
            split: (
                np.ascontiguousarray(arrays[f"x_{split}"].transpose(1, 0, 2)),
                arrays[f"y_{split}"].astype(np.int64),
                arrays[f"len_{split}"].astype(np.int64),
            )
            for split in ("train", "test")
        }
    (train, train_labels, train_lengths), (test, test_labels, test_lengths) = parts["train"], parts["test"]
    return JapaneseVowels(train, train_labels, test, test_labels, train_lengths, test_lengths)

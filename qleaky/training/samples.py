"""A data set in memory: codes as they are stored, batches of values cut out of them, and the validation split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qleaky.datasets import DataSet
from qleaky.errors import InputError
from qleaky.fixed import QFormat


@dataclass(frozen=True, eq=False)
class Samples:
    """Codes, (T, N, ...) of sequences or (N, ...) of static inputs, with labels (N,); ``dim`` is where the samples lie."""

    codes: Tensor
    labels: Tensor
    format: QFormat
    dim: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, picked: Tensor) -> Samples:
        return Samples(self.codes.index_select(self.dim, picked), self.labels[picked], self.format, self.dim)

    def values(self) -> Tensor:
        """(code - zero_point) * 2^-frac_bits in float32, exact for formats of up to 24 bits."""
        return (self.codes.float() - self.format.zero_point) * self.format.step

    def to(self, device: torch.device) -> Samples:
        """The same samples on a device."""
        return Samples(self.codes.to(device), self.labels.to(device), self.format, self.dim)


@dataclass(frozen=True, eq=False)
class Splits:
    """What trains, what epochs and formats are chosen on, and what neither ever sees."""

    train: Samples
    validation: Samples
    test: Samples


def split(data: DataSet, share: float, seed: int) -> Splits:
    """The validation samples are ``share`` of the training set's, drawn by the seed, the same share of every class.

    Raises:
        InputError: nothing is left to train with.
    """
    dim = 1 if data.time == "sequence" else 0
    whole = Samples(_tensor(data.train_codes), torch.from_numpy(data.train_labels), data.format, dim)
    held = _held_back(data.train_labels, share, seed)
    if held.all():
        raise InputError(
            f"data.validation = {share:g} holds back all {len(held)} training samples of {data.name}; choose less."
        )
    train, validation = (torch.from_numpy(np.flatnonzero(part)) for part in (~held, held))
    test = Samples(_tensor(data.test_codes), torch.from_numpy(data.test_labels), data.format, dim)
    return Splits(whole[train], whole[validation], test)


def _held_back(labels: NDArray[Any], share: float, seed: int) -> NDArray[np.bool_]:
    """Which samples validate: of each class the nearest whole number to its share, at least one where there is a share."""
    held = np.zeros(len(labels), dtype=np.bool_)
    draw = np.random.default_rng(seed)
    for label in np.unique(labels):
        members = draw.permutation(np.flatnonzero(labels == label))
        held[members[: max(round(share * len(members)), int(share > 0))]] = True
    return held


def _tensor(codes: NDArray[Any]) -> Tensor:
    """Codes as they are where torch can index them; wider unsigned ones as signed ones of the next size."""
    wider = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64}
    return torch.from_numpy(np.ascontiguousarray(codes, dtype=wider.get(codes.dtype, codes.dtype)))

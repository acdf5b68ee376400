"""What every loader returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.fixed import QFormat


@dataclass(frozen=True, eq=False)
class DataSet:
    """Samples as integer codes of one format, with their classes, split into training and test samples.

    value = format.decode(code) = (code - format.zero_point) * 2**-format.frac_bits

    Attributes:
        name: as :func:`~qleaky.datasets.load` takes it.
        train_codes: integers, (T, N, ...) time first for "sequence", (N, ...) for "static".
        train_labels: int64 (N,), 0 to classes - 1.
        test_codes: as train_codes.
        test_labels: as train_labels.
        format: of the codes.
        time: "sequence" where samples change with time; "static" ones are the same input at each step.
        num_steps: T of a sequence; None for "static", where the network has its own.
        classes: how many there are.
        train_lengths: int64 (N,), the steps of each sequence before its padding; None where nothing is padded.
        test_lengths: as train_lengths.

    Raises:
        InputError: parts that do not fit together, a label out of range, or no samples.
        FormatError: a code that the format has not.
    """

    name: str
    train_codes: NDArray[Any]
    train_labels: NDArray[Any]
    test_codes: NDArray[Any]
    test_labels: NDArray[Any]
    format: QFormat
    time: Literal["static", "sequence"]
    num_steps: int | None
    classes: int
    train_lengths: NDArray[Any] | None = None
    test_lengths: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        for name in ("train_codes", "train_labels", "test_codes", "test_labels"):
            if not isinstance(array := getattr(self, name), np.ndarray):
                raise InputError(f"{self.name}: {name} is a {type(array).__name__}; pass a NumPy array of integers.")
        if not isinstance(self.format, QFormat):
            raise InputError(
                f"{self.name}: format={self.format!r}; pass a qleaky.QFormat. That of spikes is QFormat(1, 0, False)."
            )
        if not isinstance(self.classes, (int, np.integer)):
            raise InputError(f"{self.name}: classes={self.classes!r}; it is a whole number.")
        if self.time not in ("static", "sequence"):
            raise InputError(f"{self.name}: time={self.time!r}; it is 'static' or 'sequence'.")
        if self.train_codes.ndim <= self._lead or self.train_codes.shape[self._lead :] != self.test_codes.shape[self._lead :]:
            raise InputError(
                f"{self.name}: training and test codes have shapes {self.train_codes.shape} and {self.test_codes.shape}; they "
                f"are {'(T, N, ...)' if self.time == 'sequence' else '(N, ...)'} with the same '...' of at least one dimension."
            )
        for split, codes, labels, lengths in self._splits():
            self._check(split, codes, labels)
            self._check_steps(split, codes, lengths)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, of one time step of a sequence."""
        shape: tuple[int, ...] = self.train_codes.shape[self._lead :]
        return shape

    @property
    def _lead(self) -> int:
        return 2 if self.time == "sequence" else 1

    def _splits(self) -> Iterator[tuple[str, NDArray[Any], NDArray[Any], NDArray[Any] | None]]:
        yield "training", self.train_codes, self.train_labels, self.train_lengths
        yield "test", self.test_codes, self.test_labels, self.test_lengths

    def _check(self, split: str, codes: NDArray[Any], labels: NDArray[Any]) -> None:
        where = f"{self.name}, {split} samples"
        if codes.dtype.kind not in "iu":
            raise InputError(f"{where}: codes have dtype {codes.dtype}; they are integers, format.encode makes them.")
        count = codes.shape[self._lead - 1]
        if labels.shape != (count,) or count == 0:
            raise InputError(
                f"{where}: {count} samples and labels of shape {labels.shape}; one label each, at least one sample."
            )
        self.format.encode(codes, where=where)
        if labels.dtype != np.int64 or labels.min() < 0 or labels.max() >= self.classes:
            raise InputError(
                f"{where}: labels are {labels.dtype} from {labels.min()} to {labels.max()}; they are int64 from 0 to "
                f"{self.classes - 1}, for {self.classes} classes."
            )

    def _check_steps(self, split: str, codes: NDArray[Any], lengths: NDArray[Any] | None) -> None:
        where, steps = f"{self.name}, {split} samples", codes.shape[0] if self.time == "sequence" else None
        if self.num_steps != steps:
            raise InputError(
                f"{where}: num_steps={self.num_steps}; it is {steps}, as the codes' shape and time='{self.time}' say."
            )
        if lengths is not None and (
            steps is None or lengths.shape != (codes.shape[1],) or lengths.min() < 1 or lengths.max() > steps
        ):
            raise InputError(f"{where}: lengths are one for each sequence, from 1 to {steps} steps.")

"""SHD, N-MNIST and DVS-Gesture in their published formats, read by ``tonic`` where it is installed.

tonic is GPL-3.0: an extra (``pip install qleaky[events]``) that is imported when one of these is loaded, no part of qleaky.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.datasets._binning import Binning, channel_numbers
from qleaky.datasets._data_set import DataSet
from qleaky.datasets._sources import data_folder
from qleaky.errors import ArtefactError, MissingDependencyError

DAMAGED = (OSError, ValueError, KeyError, IndexError, RuntimeError, TypeError, AttributeError)


@dataclass(frozen=True)
class _Published:
    """How a data set is found in tonic.

    Attributes:
        name: ours.
        tonic: the class, which is also the name of the folder with its files.
        axes: the fields of an event that say where it was.
        shape: of the sensor, in the order of the axes.
        classes: how many there are.
        origin: where to get it, and under which licence.
        from_first: whether time begins with a sample's first event.
    """

    name: str
    tonic: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    classes: int
    origin: str
    from_first: bool = False

    def load(self, folder: str | os.PathLike[str] | None, binning: Binning) -> DataSet:
        """Both splits, binned."""
        (train, train_labels), (test, test_labels) = (self._split(folder, binning, train) for train in (True, False))
        return DataSet(
            *(self.name, train, train_labels, test, test_labels),
            *(binning.format, "sequence", binning.num_steps, self.classes),
        )

    def _split(self, folder: Any, binning: Binning, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        source = self._open(folder, train)
        paths = list(getattr(source, "data", ()))
        order = sorted(range(len(source)), key=lambda index: paths[index]) if paths else range(len(source))
        codes = np.zeros((binning.num_steps, len(source), *self.shape), np.uint8)
        labels = np.zeros(len(source), np.int64)
        for place, index in enumerate(order):
            where = f"{self.name}, {'training' if train else 'test'} sample {paths[index] if paths else index}"
            codes[:, place], labels[place] = self._sample(source, index, binning, where)
        return codes, labels

    def _sample(self, source: Any, index: int, binning: Binning, where: str) -> tuple[NDArray[np.uint8], int]:
        try:
            events, label = source[index]
            times, places = events["t"].astype(np.int64), tuple(events[axis] for axis in self.axes)
        except DAMAGED as error:
            raise ArtefactError(f"{where} is damaged: {type(error).__name__}: {error}. Get it again: {self.origin}") from error
        start = int(times.min()) if self.from_first and len(times) else 0
        return binning.codes(times - start, channel_numbers(places, self.shape, where), self.shape), int(label)

    def _open(self, folder: Any, train: bool) -> Any:
        """tonic's data set, which says what is missing where it would download."""
        kind = getattr(_tonic(self.name), self.tonic)
        root = data_folder(folder, f"{self.tonic}/")

        def refuse(self_: Any) -> None:
            raise ArtefactError(
                f"{self.name} is missing or incomplete in {root / self.tonic}, where {self_.filename} is expected as it is "
                f"downloaded, and beside it what it holds. {self.origin} qleaky downloads nothing; "
                f"tonic.datasets.{self.tonic}({str(root)!r}) does, and checks what it gets."
            )

        present = type(kind.__name__, (kind,), {"download": refuse})
        try:
            return present(save_to=str(root), train=train)
        except DAMAGED as error:
            raise ArtefactError(f"{self.name} in {root / self.tonic} cannot be read: {error}. {self.origin}") from error


def _tonic(name: str) -> Any:
    try:
        importlib.import_module("numpy.lib.recfunctions")  # tonic 1.7.0 uses it without importing it
        return importlib.import_module("tonic.datasets")
    except ImportError as error:
        raise MissingDependencyError(
            f"The data set {name!r} is read by the package tonic (GPL-3.0), which cannot be imported: {error}. Install it with "
            f"`pip install qleaky[events]`.",
            name=error.name,
        ) from error


def shd(
    folder: str | os.PathLike[str] | None = None, *, num_steps: int = 100, duration: int = 1_400_000, bits: int = 1
) -> DataSet:
    """Spiking Heidelberg Digits: 20 classes, 700 channels; codes (T, N, 700) (Cramer et al., IEEE TNNLS 2020).

    Args:
        folder: holds ``SHD/shd_train.h5`` and ``SHD/shd_test.h5``, with the .zip files they came in; None takes QLEAKY_DATA.
        num_steps: T.
        duration: of a sample in microseconds; later events are left out. The longest one of the set ends before 1.4 s.
        bits: of a code: 1 gives spikes, more give counts that saturate at 2**bits - 1.

    Raises:
        MissingDependencyError: tonic is not installed.
        InputError: no folder is named, or a number outside its range.
        ArtefactError: files are missing or damaged.
    """
    origin = (
        "Download shd_train.h5.zip and shd_test.h5.zip (CC BY 4.0) from https://zenkelab.org/datasets/ and unpack them there."
    )
    return _Published("shd", "SHD", ("x",), (700,), 20, origin).load(folder, Binning(num_steps, duration, bits))


def n_mnist(
    folder: str | os.PathLike[str] | None = None, *, num_steps: int = 30, duration: int = 300_000, bits: int = 1
) -> DataSet:
    """N-MNIST: the digits of MNIST before a moving sensor of 34 x 34 pixels; codes (T, N, 2, 34, 34), polarity first.

    Samples are in the order of their paths: by digit, then by number (Orchard et al., Frontiers in Neuroscience 2015). The
    codes of all 70,000 samples take T * 162 MB.

    Args:
        folder: holds ``NMNIST/Train/0/00002.bin`` and so on, and train.zip and test.zip; None takes QLEAKY_DATA.
        num_steps: T.
        duration: of a sample in microseconds; later events are left out. Three movements of 100 ms make a sample.
        bits: as in :func:`shd`.

    Raises:
        MissingDependencyError: tonic is not installed.
        InputError: no folder is named, or a number outside its range.
        ArtefactError: files are missing or damaged.
    """
    origin = (
        "Download train.zip and test.zip from https://data.mendeley.com/datasets/468j46mzdv, which names the licence, and "
        "unpack them there."
    )
    found = _Published("n-mnist", "NMNIST", ("p", "y", "x"), (2, 34, 34), 10, origin)
    return found.load(folder, Binning(num_steps, duration, bits))


def dvs_gesture(
    folder: str | os.PathLike[str] | None = None, *, num_steps: int = 24, duration: int = 6_000_000, bits: int = 1
) -> DataSet:
    """DVS-Gesture: 11 gestures of 29 people before a sensor of 128 x 128 pixels; codes (T, N, 2, 128, 128), polarity first.

    Time begins with a sample's first event; samples are in the order of their paths (Amir et al., CVPR 2017, in the form that
    is cut into samples, with times in milliseconds).

    Args:
        folder: holds ``DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy`` and so on, and the two .tar.gz files; None takes
            QLEAKY_DATA.
        num_steps: T.
        duration: of a sample in microseconds; later events are left out.
        bits: as in :func:`shd`.

    Raises:
        MissingDependencyError: tonic is not installed.
        InputError: no folder is named, or a number outside its range.
        ArtefactError: files are missing or damaged.
    """
    origin = (
        "Download ibmGestureTrain.tar.gz and ibmGestureTest.tar.gz (CC BY 4.0) from "
        "https://figshare.com/ndownloader/files/38022171 and /38020584 and unpack them there."
    )
    found = _Published("dvs-gesture", "DVSGesture", ("p", "y", "x"), (2, 128, 128), 11, origin, from_first=True)
    return found.load(folder, Binning(num_steps, duration, bits))

"""MNIST and Fashion-MNIST: images of 28 x 28 pixels in idx files."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from qleaky.datasets._data_set import DataSet
from qleaky.datasets._idx import parse_idx
from qleaky.datasets._sources import Source
from qleaky.errors import ArtefactError
from qleaky.fixed import QFormat

FORMAT = QFormat(8, 8, signed=False)
CLASSES = 10
SIDE = 28
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True)
class _Family:
    """A data set in the four files of MNIST."""

    name: str
    sha256: tuple[str, str, str, str]
    origin: str

    def load(self, folder: str | os.PathLike[str] | None) -> DataSet:
        """The official split of 60,000 and 10,000 images."""
        sources = [Source(f"{self.name}/{file}.gz", sha, self.origin) for file, sha in zip(FILES, self.sha256, strict=True)]
        train, train_labels, test, test_labels = (parse_idx(source.read(folder), source.path) for source in sources)
        for source, images in zip(sources[::2], (train, test), strict=True):
            if images.shape[1:] != (SIDE, SIDE):
                raise ArtefactError(f"{source.path} holds images of shape {images.shape[1:]}, not {SIDE} x {SIDE}.")
        train, test = (images[:, np.newaxis] for images in (train, test))
        labels = (train_labels.astype(np.int64), test_labels.astype(np.int64))
        return DataSet(self.name, train, labels[0], test, labels[1], FORMAT, "static", None, CLASSES)


def fashion_mnist(folder: str | os.PathLike[str] | None = None) -> DataSet:
    """Fashion-MNIST, 60,000 training and 10,000 test images: codes (N, 1, 28, 28), value = code / 256.

    Args:
        folder: holds ``fashion-mnist/`` with the four .gz files, the official ones or others of the same content; None takes
            the environment variable QLEAKY_DATA.

    Raises:
        InputError: no folder is named.
        ArtefactError: a file is missing or damaged.
    """
    sha256 = (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    )
    origin = (
        "Download the four .gz files of Fashion-MNIST (MIT, Copyright 2017 Zalando SE) from "
        "https://github.com/zalandoresearch/fashion-mnist, data/fashion, into fashion-mnist/."
    )
    return _Family("fashion-mnist", sha256, origin).load(folder)


def mnist(folder: str | os.PathLike[str] | None = None) -> DataSet:
    """MNIST, 60,000 training and 10,000 test images: codes (N, 1, 28, 28), value = code / 256.

    Args:
        folder: holds ``mnist/`` with the four .gz files, the official ones or others of the same content; None takes the
            environment variable QLEAKY_DATA.

    Raises:
        InputError: no folder is named.
        ArtefactError: a file is missing or damaged.
    """
    sha256 = (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    )
    origin = (
        "Download the four .gz files of MNIST (Y. LeCun, C. Cortes, C. Burges; usually given as CC BY-SA 3.0) from "
        "http://yann.lecun.com/exdb/mnist or a mirror, into mnist/."
    )
    return _Family("mnist", sha256, origin).load(folder)

"""Data sets as integer codes: two ship with the package, the others are read from a folder of yours."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from qleaky.datasets._data_set import DataSet
from qleaky.datasets._digits import digits
from qleaky.datasets._events import dvs_gesture, n_mnist, shd
from qleaky.datasets._fsdd import fsdd
from qleaky.datasets._japanese_vowels import japanese_vowels
from qleaky.datasets._mnist import fashion_mnist, mnist
from qleaky.errors import InputError

__all__ = [
    "DataSet",
    "digits",
    "dvs_gesture",
    "fashion_mnist",
    "fsdd",
    "japanese_vowels",
    "load",
    "mnist",
    "n_mnist",
    "names",
    "shd",
]


def load(name: str, folder: str | os.PathLike[str] | None = None) -> DataSet:
    """The data set of this name; see the function of the same name for its shapes, split and licence.

    Args:
        name: one of :func:`names`.
        folder: where the files of data sets are which do not ship with the package, laid out as each one's function says;
            None takes the environment variable QLEAKY_DATA.

    Raises:
        InputError: there is no such data set, or it needs a folder and none is named.
        ArtefactError: a file is missing (the message says where to get it and under which licence) or damaged.
        MissingDependencyError: shd, n-mnist and dvs-gesture need the package tonic.

    >>> load("digits").sample_shape
    (64,)
    """
    loaders = _loaders(folder)
    if name not in loaders:
        raise InputError(f"There is no data set {name!r}. Choose one of {', '.join(loaders)}.")
    return loaders[name]()


def names() -> tuple[str, ...]:
    """Those that :func:`load` knows."""
    return tuple(_loaders(None))


def _loaders(folder: str | os.PathLike[str] | None) -> Mapping[str, Callable[[], DataSet]]:
    return {
        "digits": digits,
        "japanese-vowels": japanese_vowels,
        "fsdd": lambda: fsdd(folder),
        "mnist": lambda: mnist(folder),
        "fashion-mnist": lambda: fashion_mnist(folder),
        "shd": lambda: shd(folder),
        "n-mnist": lambda: n_mnist(folder),
        "dvs-gesture": lambda: dvs_gesture(folder),
    }

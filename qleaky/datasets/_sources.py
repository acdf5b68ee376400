"""Files that data sets are read from: in the package, or in a folder of the user's; every byte of them is checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky._files import read_file
from qleaky.errors import ArtefactError, InputError

VARIABLE = "QLEAKY_DATA"


@dataclass(frozen=True)
class Source:
    """A file in the data folder.

    Attributes:
        path: relative to the folder, with slashes.
        sha256: of the content; of a .gz file of what is in it, of an .npz file as :func:`array_content` lays it out, since the
            same content compresses to many files.
        origin: where to get it, and under which licence, as the error about a missing file says it.
    """

    path: str
    sha256: str
    origin: str

    def read(self, folder: str | os.PathLike[str] | None) -> bytes:
        """The file's bytes, unpacked where it is a .gz.

        Raises:
            InputError: no folder is named.
            ArtefactError: the file is missing or unreadable, or is not the one that is meant.
        """
        path = data_folder(folder, self.path) / self.path
        if not path.is_file():
            raise ArtefactError(f"{self.path} is missing: there is no file {path.absolute()}. {self.origin}")
        data = read_file(path, "data file")
        if self.path.endswith(".gz"):
            data = _unpacked(data, path)
        content = array_content(arrays(data, str(path))) if self.path.endswith(".npz") else data
        check_sha256(content, self.sha256, f"{path}", f"Get it again: {self.origin}")
        return data


def data_folder(folder: str | os.PathLike[str] | None, wanted: str) -> Path:
    """The folder that data sets are in: the argument, or the one that the environment variable QLEAKY_DATA names.

    Raises:
        InputError: neither names one, or it is no folder.
    """
    named = folder if folder is not None else os.environ.get(VARIABLE)
    if not named:
        raise InputError(
            f"{wanted} is read from a folder of yours, and none is named. Pass folder=... (--data DIR on the command line), or "
            f"set the environment variable {VARIABLE}; the file is expected there as {wanted}."
        )
    if not Path(named).is_dir():
        where = f"the environment variable {VARIABLE}" if folder is None else "folder="
        raise InputError(f"{where} names {named}, which is no folder. Name the folder that holds {wanted}.")
    return Path(named)


def check_sha256(data: bytes, expected: str, where: str, fix: str) -> None:
    """Compare a digest.

    Raises:
        ArtefactError: it is another one.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ArtefactError(
            f"{where} is damaged or another file: the SHA-256 of its content is {found}, expected {expected}. {fix}"
        )


def _unpacked(data: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ArtefactError(f"{path} is no gzip file, or is truncated: {error}. Get it again.") from error


def packaged(name: str, sha256: str) -> Mapping[str, NDArray[Any]]:
    """The arrays of an .npz file that ships with the package.

    Raises:
        ArtefactError: it is damaged.
    """
    data = files("qleaky.datasets").joinpath(name).read_bytes()
    check_sha256(data, sha256, f"{name} in the qleaky package", "Install qleaky again.")
    return arrays(data, name)


def array_content(found: Mapping[str, NDArray[Any]]) -> bytes:
    """Every array in the order of the names: a line with name, type and shape, then its numbers in C order."""
    return b"".join(
        f"{name} {array.dtype.str} {','.join(map(str, array.shape))}\n".encode() + array.tobytes()
        for name, array in sorted(found.items())
    )


def arrays(data: bytes, where: str) -> Mapping[str, NDArray[Any]]:
    """All arrays of an .npz file; nothing in it is unpickled.

    Raises:
        ArtefactError: it is no such file.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
            return dict(loaded)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{where} is no .npz file of plain arrays: {error}. Get it again.") from error

"""Reading a bundle without unpacking it: every member checked against declared limits, and against the manifest."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky._files import read_file
from qleaky._strict_json import printable
from qleaky.errors import ArtefactError
from qleaky.export.bundle_arrays import npy_array
from qleaky.export.bundle_manifest import MAX_BUNDLE_BYTES, MAX_FILES, MAX_MANIFEST_BYTES, SAFE_NAME, Kind, Manifest

MANIFEST = "manifest.json"
MAX_MEMBER_BYTES = 1 << 30
DENSE_BYTES, MAX_RATIO = 16 << 20, 500
END, END64 = b"PK\x05\x06", b"PK\x06\x07"
END_BYTES, MAX_DIRECTORY_BYTES = 22, 4 << 20
PIECE = 1 << 20
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, struct.error)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle whose files are all what its manifest says; nothing of it was written anywhere, or run.

    Attributes:
        path: where it was read from.
        manifest: what it says of itself.
        manifest_sha256: SHA-256 of the manifest's bytes, which stands for the whole bundle.
    """

    path: str
    manifest: Manifest
    manifest_sha256: str
    _archive: zipfile.ZipFile

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read a zip that :func:`qleaky.export_bundle` wrote.

        Refused are: names that lead elsewhere, links, names that stand twice, encrypted members, members of more than 1 GiB or
        2 GiB together, members of more than 16 MiB that expand more than 500-fold, overlapping ones, members that the manifest
        does not list and files that it lists and the zip lacks, another SHA-256 or size than it says, arrays of another shape
        or cut short, and a manifest that is damaged or of a later version.

        Raises:
            ArtefactError: saying which, in one sentence.
        """
        where = os.fspath(path)
        archive = _archive(read_file(path, "bundle"), where)
        _check_members(archive, where)
        bundle = cls(where, *_manifest(archive, where), archive)
        bundle._check_files()
        return bundle

    def read(self, name: str) -> bytes:
        """The bytes of a file that the manifest lists.

        Raises:
            ArtefactError: they are not those that it describes.
        """
        said = self.manifest.files[name]
        data = _read(self._archive, name, said.bytes, self.path)
        if len(data) != said.bytes or hashlib.sha256(data).hexdigest() != said.sha256:
            raise ArtefactError(
                f"{self.path}: {name} is not the file that the manifest describes: its SHA-256 or size is another. Get the "
                f"bundle again."
            )
        return data

    def inputs(self) -> Arrays:
        """The golden inputs by name, (T, B, ...) or (B, ...)."""
        manifest = self.manifest
        return {e.name: self._array(e.golden, e.dtype, manifest.shape_of(e)) for e in manifest.inputs}

    def outputs(self) -> Arrays:
        """The golden outputs by name, (T, B, ...) or (B, ...)."""
        manifest = self.manifest
        return {e.name: self._array(e.golden, e.dtype, manifest.shape_of(e)) for e in manifest.outputs}

    def digests(self) -> dict[tuple[str, Kind], NDArray[np.uint8]]:
        """The golden digests of every layer and kind, (T, B, 32)."""
        manifest = self.manifest
        return {(e.layer, e.kind): self._array(e.digests, "uint8", manifest.shape_of(e)) for e in manifest.states}

    def _array(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        return npy_array(self.read(name), dtype, shape, f"{self.path}: {name}")

    def _check_files(self) -> None:
        found = {info.filename for info in self._archive.infolist()} - {MANIFEST}
        for what, names in (
            ("holds {}, which its manifest does not list", found - set(self.manifest.files)),
            ("lacks {}, which its manifest lists", set(self.manifest.files) - found),
        ):
            if names:
                raise ArtefactError(f"{self.path} {what.format(printable(min(names)))}. Get the bundle again.")
        arrays = [entry.golden for entry in (*self.manifest.inputs, *self.manifest.outputs)]  # type: ignore[attr-defined]
        arrays += [entry.digests for entry in self.manifest.states]
        for name in sorted(set(self.manifest.files) - set(arrays)):
            self.read(name)
        for read in (self.inputs, self.outputs, self.digests):
            read()


def _archive(data: bytes, where: str) -> zipfile.ZipFile:
    """The zip, whose directory is at its very end and of a bounded size."""
    end = data[-END_BYTES:]
    if len(end) < END_BYTES or not end.startswith(END) or data[-END_BYTES - 20 : -END_BYTES].startswith(END64):
        raise ArtefactError(f"{where} is no bundle: it does not end as the zip files of qleaky do. Get the bundle again.")
    members, size, start = struct.unpack("<4x2x2x2xHII2x", end)
    if members > MAX_FILES + 1 or size > MAX_DIRECTORY_BYTES or start + size + END_BYTES != len(data):
        raise ArtefactError(
            f"{where} lists {members:,} members in {size:,} bytes, or holds more than a zip; a bundle has at most "
            f"{MAX_FILES + 1:,} in {MAX_DIRECTORY_BYTES:,}. Get the bundle again."
        )
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except DAMAGE as error:
        raise ArtefactError(f"{where} is no zip, or is damaged: {printable(str(error))}. Get the bundle again.") from error


def _check_members(archive: zipfile.ZipFile, where: str) -> None:
    infos = archive.infolist()
    seen: set[str] = set()
    for info in infos:
        if problem := _problem(info, seen):
            raise ArtefactError(f"{where}: member '{printable(info.filename)}' {problem}. Get the bundle again.")
        seen.add(info.filename.casefold())
    if sum(info.file_size for info in infos) > MAX_BUNDLE_BYTES:
        raise ArtefactError(f"{where} expands to more than {MAX_BUNDLE_BYTES:,} bytes, the most a bundle may have.")
    infos = sorted(infos, key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in infos[1:]), archive.start_dir]
    for info, end in zip(infos, ends, strict=False):
        if info.header_offset + 30 + len(info.filename) + info.compress_size > end:
            raise ArtefactError(f"{where}: member '{printable(info.filename)}' overlaps another. Get the bundle again.")


def _problem(info: zipfile.ZipInfo, seen: set[str]) -> str | None:
    """What is wrong with a member before any of it is read."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not re.match(SAFE_NAME, info.filename) or info.orig_filename != info.filename:
        return "has a name that could lead out of the folder it is unpacked to, or that no file of a bundle has"
    if kind not in (0, stat.S_IFREG):
        return "is a link or no plain file"
    if info.filename.casefold() in seen:
        return "stands twice in it"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {info.compress_type}, which bundles do not use"
    if info.file_size > MAX_MEMBER_BYTES:
        return f"expands to {info.file_size:,} bytes, more than the {MAX_MEMBER_BYTES:,} a member may have"
    if info.file_size > DENSE_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return f"expands more than {MAX_RATIO}-fold, to {info.file_size:,} bytes"
    return None


def _manifest(archive: zipfile.ZipFile, where: str) -> tuple[Manifest, str]:
    if MANIFEST not in archive.namelist():
        raise ArtefactError(f"{where} is no bundle: it has no {MANIFEST}. Pass the zip that export_bundle wrote.")
    data = _read(archive, MANIFEST, MAX_MANIFEST_BYTES, where)
    return Manifest.decode(data), hashlib.sha256(data).hexdigest()


def _read(archive: zipfile.ZipFile, name: str, most: int, where: str) -> bytes:
    """A member; no more of it than ``most`` bytes and one, whatever its headers say."""
    pieces, left = [], most + 1
    try:
        with archive.open(name) as member:
            while left > 0 and (piece := member.read(min(left, PIECE))):
                pieces.append(piece)
                left -= len(piece)
    except DAMAGE as error:
        raise ArtefactError(f"{where}: {name} is damaged: {printable(str(error))}. Get the bundle again.") from error
    if left <= 0:
        raise ArtefactError(f"{where}: {name} has more than the {most:,} bytes it may have. Get the bundle again.")
    return b"".join(pieces)

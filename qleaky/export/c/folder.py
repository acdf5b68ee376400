"""Writing the folder of C: everything under temporary names first, then renamed; files of others are never touched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from qleaky._files import read_file
from qleaky.errors import InputError, OutputError
from qleaky.export.c.manifest import FILE, Manifest


def write_folder(directory: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Write ``files`` (MANIFEST.json among them) into a folder which is new, empty, or one that this wrote before.

    Of a folder written before, files that its manifest names and that are no longer made are removed, unless they were
    changed since; all others stay as they are.

    Raises:
        InputError: the folder holds files of these names, or a manifest, that qleaky did not write; or links that lead out.
        ArtefactError: its manifest is damaged.
        OutputError: it cannot be written.
    """
    folder = Path(directory)
    stale = check_folder(folder, files)
    created = _create(folder)
    staging: Path | None = None
    try:
        staging = Path(tempfile.mkdtemp(prefix=".qleaky.", suffix=".tmp", dir=folder))
        _write_all(staging, files)
        _replace_all(folder, staging, files, stale)
        created = None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        size = sum(map(len, files.values()))
        raise OutputError(
            f"Cannot write the folder {folder}: {cause}. Choose one that is writable and has {size:,} bytes free."
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        if created is not None:
            with contextlib.suppress(OSError):
                created.rmdir()


def check_folder(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Names of the files that will be removed: what an earlier export wrote, unchanged since, and this one does not make.

    Raises:
        InputError, ArtefactError, OutputError: as :func:`write_folder`, before anything is computed or written.
    """
    if not _is_there(folder):
        return []
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; the C goes into a folder, choose another name.")
    before = _written_before(folder)
    _refuse_others(folder, [name for name in files if name not in before and _exists(folder / name)])
    _refuse_links(folder, {*files, *before})
    return sorted(name for name, digest in before.items() if name not in files and _digest(folder / name) == digest)


def _is_there(folder: Path) -> bool:
    """Whether there is anything of this name.

    Raises:
        OutputError: no folder can have it, or it lies below what may not be read.
    """
    try:
        return _exists(folder)
    except OSError as error:
        cause = error.strerror or error
        name = f"{str(folder)[:60]}..." if len(str(folder)) > 60 else str(folder)
        raise OutputError(f"Cannot make the folder {name!r}: {cause}. Choose another name, in a folder of your own.") from error


def _written_before(folder: Path) -> dict[str, str]:
    """The files of an earlier export with their SHA-256, empty where there was none."""
    path = folder / FILE
    if not _exists(path):
        return {}
    manifest = Manifest.decode(read_file(path, "manifest"), where=str(path))
    return {name: entry.sha256 for name, entry in manifest.files.items()} | {FILE: ""}


def _refuse_others(folder: Path, names: list[str]) -> None:
    if names:
        raise InputError(
            f"{folder} holds {', '.join(sorted(names))}, which qleaky did not write and would replace. Choose an empty folder, "
            f"or move {'it' if len(names) == 1 else 'them'} away."
        )


def _refuse_links(folder: Path, names: set[str]) -> None:
    """Below the folder itself no part of a path may be a link, or a file where a folder belongs."""
    for name in sorted(names):
        for parent in list(Path(name).parents)[:-1]:
            place = folder / parent
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise InputError(
                    f"{place} is no folder of its own, and {name} goes there; remove it, or choose another folder."
                )
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            raise InputError(f"{folder / name} is a folder, and a file of this name is written; choose another folder.")


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _digest(path: Path) -> str | None:
    """SHA-256 of a plain file; None of anything else."""
    if path.is_symlink() or not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _create(folder: Path) -> Path | None:
    """Make the folder where it is missing; what was made, so that a failure can take it away again."""
    try:
        if folder.exists():
            return None
        folder.mkdir()
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise OutputError(
            f"Cannot make the folder {folder}: {cause}. Choose another name, in a place that exists and is writable."
        ) from error
    return folder


def _write_all(staging: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _replace_all(folder: Path, staging: Path, files: Mapping[str, bytes], stale: list[str]) -> None:
    """Nothing but renames from here: the manifest first, so that a folder left between two states is taken for ours."""
    for name in stale:
        (folder / name).unlink()
    for name in (FILE, *(name for name in files if name != FILE)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(folder / name)
    for name in stale:
        _remove_empty(folder, Path(name).parent)


def _remove_empty(folder: Path, parent: Path) -> None:
    """Folders that a removed file leaves empty."""
    while parent != Path():
        with contextlib.suppress(OSError):
            (folder / parent).rmdir()
        parent = parent.parent

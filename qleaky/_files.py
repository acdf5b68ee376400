"""Writing files so that nothing half-written is ever left behind, and reading them with clear errors."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from qleaky.errors import ArtefactError, OutputError

MAX_ARTEFACT_BYTES = 2 << 30


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to a temporary name beside ``path``, then rename: the old file or the whole new one, never a part.

    Raises:
        OutputError: the folder is missing, unwritable or full; ``path`` is as it was before.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            target.write_bytes(data)  # a device or a pipe: there is nothing to rename over
            return
        target = target.resolve() if target.is_symlink() else target
        descriptor, name = tempfile.mkstemp(prefix=".qleaky.", suffix=".tmp", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise OutputError(
            f"Cannot write {target}: {cause}. Nothing was changed; choose a folder that exists, is writable and has "
            f"{len(data):,} bytes free."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create an output folder, with its parents, if it is not there.

    Raises:
        OutputError: it cannot be created or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"Cannot write to folder {folder}: {error.strerror or error}. Choose another folder.") from error
    return folder


def read_file(path: str | os.PathLike[str], kind: str) -> bytes:
    """The bytes of a file that holds a ``kind``.

    Raises:
        ArtefactError: it is missing, unreadable or absurdly large.
    """
    try:
        status = Path(path).stat()
        size = status.st_size
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a device or a pipe may never end
            raise ArtefactError(f"{path} is no file, but a device or a pipe; write the {kind} to a file first.")
        if size > MAX_ARTEFACT_BYTES:
            raise ArtefactError(f"{path} has {size:,} bytes, more than the {MAX_ARTEFACT_BYTES:,} a {kind} may have.")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ArtefactError(f"Cannot read {kind} {path}: {getattr(error, 'strerror', None) or error}.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Compiling ``lif.c`` once per machine into a private cache. Never at import; a failure is a reason to do without it.

A shared library from this folder runs with the user's rights. So the folder must belong to the user and be writable by nobody
else, and a file's name holds the SHA-256 of its bytes, so that one that is truncated or foreign is never loaded. Files are
written under a temporary name and renamed: processes that build at the same time do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("lif.c")
# No contraction: a * b + c rounds twice, as torch's operations do. No errno, no traps: they change no bits, and let loops
# be vectorized.
FLAGS = ("-std=c99", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
# What gcc's -O3 gains here, in half of its time; then what every compiler takes.
TUNINGS = (
    ("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic", "-funswitch-loops", "-march=native"),
    ("-O3", "-march=native"),
    ("-O2",),
)
INEXACT = ("-ffast-math", "-Ofast", "-funsafe-math", "-fassociative-math", "-freciprocal-math", "-ffp-contract")
TIMEOUT = 60.0
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UnavailableError(Exception):
    """Why there is no compiled kernel; caught where the kernel is asked for, never shown to users as an error."""


@dataclass(frozen=True)
class Built:
    """A shared library that may be loaded, and the first line of its compiler's ``--version``."""

    path: Path
    compiler: str


def build(folder: Path | None = None) -> Built:
    """The compiled kernel in the cache, compiled first if it is not there.

    Raises:
        UnavailableError: no compiler, no private folder, or the compiler fails; its message says which.
    """
    if os.name != "posix":
        raise UnavailableError(f"kernels are compiled on POSIX systems only, and this is {platform.system()}")
    command = _compiler()
    version = _run([*command, "--version"]).stdout.partition("\n")[0].strip()
    try:
        cache = private_folder(folder or cache_folder())
        source = SOURCE.read_bytes()
        prefix = f"lif-{_key(source, command, version)}-"
        found = _cached(cache, prefix) or _compile(command, cache, prefix)
    except OSError as error:
        raise UnavailableError(f"the kernel could not be written to its cache: {error}") from error
    return Built(found, version)


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/qleaky, or ~/.cache/qleaky.

    Raises:
        UnavailableError: there is no home folder.
    """
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(configured):  # noqa: PTH117  (the specification of base directories ignores relative paths)
        return Path(configured) / "qleaky"
    try:
        return Path.home() / ".cache" / "qleaky"
    except RuntimeError as error:
        raise UnavailableError("there is no home folder for the cache; set XDG_CACHE_HOME") from error


def private_folder(folder: Path) -> Path:
    """``folder``, created with mode 0700 if it is not there, links followed.

    Raises:
        UnavailableError: it, or the folder that it is in, can be changed by other users.
        OSError: it cannot be created.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    resolved = folder.resolve()
    own, around = resolved.stat(), resolved.parent.stat()
    if own.st_uid != os.geteuid() or own.st_mode & OTHERS_WRITE:
        raise UnavailableError(f"the cache folder {folder} belongs to another user or is writable by others; make it private")
    shared = around.st_mode & stat.S_IWOTH and not around.st_mode & stat.S_ISVTX
    if around.st_uid not in (os.geteuid(), 0) or shared:
        raise UnavailableError(f"other users could replace the cache folder {folder}; let XDG_CACHE_HOME be your own")
    return resolved


def _compiler() -> list[str]:
    """$CC, which may hold arguments too, or the first of cc, gcc and clang."""
    try:
        configured = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise UnavailableError(f"CC={os.environ['CC']!r} is no command line: {error}") from error
    if inexact := [word for word in configured if word.startswith(INEXACT)]:
        raise UnavailableError(f"CC asks for {' '.join(inexact)}, which changes what floating point gives; leave it out")
    found = next((path for name in configured[:1] or ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if found is None:
        raise UnavailableError(f"there is no C compiler: {configured[0] if configured else 'cc, gcc or clang'} was not found")
    return [found, *configured[1:]]


def _key(source: bytes, command: list[str], version: str) -> str:
    """Everything that the compiled bytes depend on, the processor among it, for homes that several machines share."""
    known = [command, version, FLAGS, TUNINGS, platform.system(), platform.machine(), _processor()]
    return hashlib.sha256(source + repr(known).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor's model and instruction sets, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor()
    telling = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(telling)))


def _cached(cache: Path, prefix: str) -> Path | None:
    """A library whose bytes are those that its name promises; others are removed."""
    for path in sorted(cache.glob(f"{prefix}*.so")):
        if path.name == _name(prefix, path.read_bytes()):
            return path
        path.unlink(missing_ok=True)
    return None


def _name(prefix: str, library: bytes) -> str:
    return f"{prefix}{hashlib.sha256(library).hexdigest()}.so"


def _compile(command: list[str], cache: Path, prefix: str) -> Path:
    with tempfile.TemporaryDirectory(prefix=".build-", dir=cache) as folder:
        output = Path(folder) / "lif.so"
        _first_that_compiles(command, output)
        final = cache / _name(prefix, output.read_bytes())
        output.chmod(0o700)
        return output.replace(final)


def _first_that_compiles(command: list[str], output: Path) -> None:
    for tuning in TUNINGS:
        try:
            _run([*command, *FLAGS, *tuning, str(SOURCE), "-o", str(output), "-lm"])
            return
        except UnavailableError:
            if tuning is TUNINGS[-1]:
                raise


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace", "timeout": TIMEOUT}
        return subprocess.run(command, check=True, **options)  # type: ignore[call-overload,no-any-return]
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"the compiler {command[0]} did not run: {error}") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or f"exit code {error.returncode}").strip().splitlines()
        raise UnavailableError(f"the compiler {command[0]} failed: {said[-1] if said else error}") from error

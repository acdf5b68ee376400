"""Which kernel computes :meth:`qleaky.Leaky.sequence`, and why; loading the compiled one and checking it before first use."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from qleaky.kernels.build import UnavailableError, build

if TYPE_CHECKING:
    from qleaky.kernels.compiled import Kernel

SWITCH = "QLEAKY_NO_COMPILE"


@dataclass(frozen=True)
class Backend:
    """What computes sequences of float32 on the CPU: ``name`` is "c" or "torch"; prints as a sentence.

    ``reason`` says why it is not "c"; ``compiler`` is the first line that the compiler says of itself, and ``path`` the file
    that it made, where there is one.
    """

    name: str
    reason: str = ""
    compiler: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.name == "c":
            return f"Sequences are computed by a C kernel, built by {self.compiler} into {self.path}."
        return f"Sequences are computed by torch operations: {self.reason}."


@dataclass(frozen=True)
class Loaded:
    """The backend, and its library where it has one."""

    backend: Backend
    kernel: Kernel | None = None


def backend() -> Backend:
    """What computes :meth:`qleaky.Leaky.sequence` in float32 on the CPU, building the C kernel first if it is not built yet.

    Both backends give the same bits. "torch" where there is no C compiler, no private folder for what it builds
    ($XDG_CACHE_HOME or ~/.cache), the kernel fails its check, or QLEAKY_NO_COMPILE=1.

    >>> backend().name in ("c", "torch")
    True
    """
    return loaded().backend


def kernel() -> Kernel | None:
    """The compiled kernel, built on first use; None where there is none."""
    return loaded().kernel


def loaded() -> Loaded:
    """The same and why; the environment's switch is read at each call."""
    if os.environ.get(SWITCH, "0") not in ("", "0"):
        return Loaded(Backend("torch", f"{SWITCH}={os.environ[SWITCH]} says so"))
    return _loaded()


@cache
def _loaded() -> Loaded:
    return load()


def load(folder: Any = None) -> Loaded:
    """Build, load and check; what fails becomes the backend's reason."""
    from qleaky.kernels import compiled
    from qleaky.kernels.self_test import differs

    try:
        built = build(folder)
        library = compiled.declare(ctypes.CDLL(str(built.path)))
    except UnavailableError as error:
        return Loaded(Backend("torch", str(error)))
    except (OSError, AttributeError) as error:
        return Loaded(Backend("torch", f"the built kernel cannot be loaded: {error}"))
    if different := differs(library):
        reason = f"the kernel that {built.compiler} built differs from torch in its self-test ({different})"
        return Loaded(Backend("torch", reason, built.compiler, str(built.path)))
    return Loaded(Backend("c", "", built.compiler, str(built.path)), library)

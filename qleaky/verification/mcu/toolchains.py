"""Compilers for the host and for bare machines: clang with lld, gcc, or both in one Python package, ziglang."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

from qleaky.errors import InputError, MissingDependencyError
from qleaky.verification.mcu.machines import Machine, version_of

Compiler = Literal["auto", "clang", "gcc", "zig"]
HOW = "apt-get install clang lld, or `pip install 'qleaky[mcu]'`"
_VERSIONS = ("", *(f"-{number}" for number in range(25, 12, -1)))


@dataclass(frozen=True)
class Toolchain:
    """``compile`` and ``link`` are commands without files; on the host the compiler links too."""

    name: str
    compile: tuple[str, ...]
    link: tuple[str, ...]


def toolchain(machine: Machine, compiler: Compiler = "auto") -> Toolchain:
    """A compiler for a target: on the host gcc, else clang, else zig; for bare machines clang, else zig.

    Raises:
        MissingDependencyError: none is installed, with how to install one.
        InputError: gcc for a bare machine.
    """
    if compiler == "gcc" and machine.port != "host":
        raise InputError(f"compiler='gcc' compiles for the host only, not for {machine.target}; use clang or zig.")
    makers: dict[str, Callable[[Machine], Toolchain | None]] = {"gcc": _gcc, "clang": _clang, "zig": _zig}
    names = [compiler] if compiler != "auto" else [name for name in makers if name != "gcc" or machine.port == "host"]
    for name in names:
        if (found := makers[name](machine)) is not None:
            return found
    how = f"apt-get install gcc, or {HOW}" if machine.port == "host" else HOW
    raise MissingDependencyError(
        f"target {machine.target!r} needs a C compiler ({' or '.join(names)}), and none is installed: {how}."
    )


def _gcc(machine: Machine) -> Toolchain | None:
    if machine.port != "host" or (found := shutil.which("gcc")) is None:
        return None
    return Toolchain(version_of(found), (found,), (found,))


def _clang(machine: Machine) -> Toolchain | None:
    compiler, linker = _which("clang"), _which("ld.lld")
    if compiler is None or (linker is None and machine.port != "host"):
        return None
    if machine.port == "host":
        return Toolchain(version_of(compiler), (compiler,), (compiler,))
    return Toolchain(version_of(compiler), (compiler, f"--target={machine.triple}", *machine.flags), (str(linker),))


def _which(program: str) -> str | None:
    """A program of LLVM, whose packages may add a version to the name."""
    return next((found for number in _VERSIONS if (found := shutil.which(program + number)) is not None), None)


def _zig(machine: Machine) -> Toolchain | None:
    if find_spec("ziglang") is None:
        return None
    zig = (sys.executable, "-m", "ziglang")
    cc = (*zig, "cc", "-fno-sanitize=undefined")
    name = f"zig {version('ziglang')}"
    if machine.port == "host":
        return Toolchain(name, cc, cc)
    architecture, core = machine.zig
    return Toolchain(name, (*cc, "-target", architecture, f"-mcpu={core}"), (*zig, "ld.lld"))

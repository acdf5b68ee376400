"""What tests of generated C need: compilers and emulators. Without them they skip, but in CI they fail."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import pytest

from qleaky.verification.mcu.machines import MACHINES

BARE = tuple(target for target in MACHINES if target != "host")
UNICORN = tuple(target for target in BARE if MACHINES[target].unicorn)


def need(found: object, what: str, how: str) -> None:
    if found:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing: {how}")
    pytest.skip(f"{what} is missing: {how}")


def need_program(*names: str) -> None:
    packages = {"ld.lld": "lld", "llvm-nm": "llvm", "qemu-system-riscv32": "qemu-system-misc"}
    for name in names:
        need(shutil.which(name), name, f"apt-get install {packages.get(name, name)}")


def need_package(*names: str, extra: str = "mcu") -> None:
    for name in names:
        need(find_spec(name), f"the package {name}", f"pip install 'qleaky[{extra}]'")


def need_tools(target: str) -> None:
    """What a check on a target needs."""
    if target == "host":
        need(shutil.which("gcc") or shutil.which("clang"), "a C compiler", "apt-get install gcc")
    else:
        need_program("clang", "ld.lld", MACHINES[target].qemu[0])

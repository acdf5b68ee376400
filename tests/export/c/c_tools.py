"""Compilers and builds, called from tests."""

import shutil
import subprocess
from pathlib import Path

from mcu_tools import need_program

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-pedantic", "-Werror"]


def tool(name: str) -> str:
    """A program that must be there in CI, and is asked for elsewhere."""
    need_program(name)
    return shutil.which(name) or name


def call(*command: object, cwd: Path | None = None) -> str:
    ran = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr

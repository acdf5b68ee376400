"""Building a generated folder with its harness, outside the folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qleaky._strict_json import printable
from qleaky.errors import ArtefactError
from qleaky.verification.mcu.elf import flash_of
from qleaky.verification.mcu.machines import Machine
from qleaky.verification.mcu.toolchains import Toolchain

OPTIMIZE = "-O2"
_SECONDS = 300
_BARE = ("-ffreestanding", "-fno-builtin", "-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True)
class Built:
    """A program, and the bytes of flash that the model takes of it, where the target is a bare machine."""

    program: Path
    flash: int | None


def build(directory: Path, into: Path, machine: Machine, *, compiler: Toolchain, name: str, flags: Sequence[str] = ()) -> Built:
    """Compile and link the harness of a folder.

    Args:
        directory: the folder; nothing is written there.
        into: where objects and the program go.
        machine: the target.
        compiler: what compiles for it.
        name: the model's name.
        flags: of the compiler, after all others.

    Raises:
        ArtefactError: a file is missing, or the compiler or linker refuses, with what it says.
    """
    objects = {}
    for source in _sources(directory, machine):
        objects[source] = into / f"{source.parent.name}-{source.stem}.o"
        options = [
            "-std=c99",
            OPTIMIZE,
            "-I",
            str(directory),
            "-I",
            str(directory / "ports"),
            f"-DQLEAKY_VECTORS={name}_vectors",
        ]
        options += [] if machine.port == "host" else list(_BARE)
        command = [*compiler.compile, *options, *flags, "-c", str(source), "-o", str(objects[source])]
        _run(command, f"compiling {source.relative_to(directory)} for {machine.target}")
    program = into / "check.elf"
    _run(
        [*compiler.link, *_placed(directory, machine), *map(str, objects.values()), "-o", str(program)],
        f"linking for {machine.target}",
    )
    own = [path for source, path in objects.items() if source.name in ("qleaky_model.c", "qleaky_weights.c")]
    return Built(program, None if machine.port == "host" else sum(flash_of(path.read_bytes()) for path in own))


def _sources(directory: Path, machine: Machine) -> list[Path]:
    ports = directory / "ports"
    bare = [] if machine.port == "host" else [ports / "memory.c", ports / "start.c"]
    found = [directory / f"qleaky_{part}.c" for part in ("model", "weights", "vectors")]
    found += [ports / "check.c", ports / machine.port / "port.c", *bare]
    if missing := [str(path.relative_to(directory)) for path in found if not path.is_file()]:
        raise ArtefactError(f"{directory} is no folder that `qleaky-export c` wrote: it has no {', '.join(missing)}.")
    return found


def _placed(directory: Path, machine: Machine) -> list[str]:
    """The linker's options: on a bare machine the board's script, and only what is used."""
    if machine.port == "host":
        return []
    scripts = directory / "ports" / machine.port
    return ["--gc-sections", "-L", str(scripts), "-T", str(scripts / "boards" / f"{machine.board}.ld")]


def _run(command: list[str], doing: str) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise ArtefactError(f"{doing} took more than {_SECONDS} seconds and was stopped.") from error
    if found.returncode != 0:
        said = found.stderr.splitlines() or ["the compiler said nothing"]
        told = [line for line in said if "error" in line and "linker command failed" not in line]
        raise ArtefactError(f"{doing} failed: {printable((told or said)[0].strip(), 400)}")

"""Targets of checks: which core is compiled for, and which emulated board runs the program."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qleaky.errors import ArtefactError, InputError, MissingDependencyError
from qleaky.export.c.targets import MORE_TARGETS, TARGETS, Target
from qleaky.verification.mcu.output import LONGEST_OUTPUT

Port = Literal["host", "cortex_m", "riscv32"]
SECONDS = 300


@dataclass(frozen=True)
class Machine:
    """A target.

    Args:
        target: its name.
        port: the folder of ports/ with its start-up.
        triple: the compiler's name of the architecture, and ``flags`` of the core.
        zig: the same for zig: architecture, and the core's name.
        board: the linker script in ports/<port>/boards.
        qemu: QEMU's program and its name of the board.
        nanoseconds: of a tick of SysTick, in eighths: an emulated instruction takes one nanosecond.
        unicorn: the core as Unicorn names it; None where it has none.
    """

    target: str
    port: Port
    triple: str = ""
    flags: tuple[str, ...] = ()
    zig: tuple[str, str] = ("", "")
    board: str = ""
    qemu: tuple[str, str] = ("", "")
    nanoseconds: int = 8
    unicorn: str | None = None


def _machine(target: Target) -> Machine:
    """A bare machine, with what zig and Unicorn call it."""
    core, unicorn = target.name.removeprefix("cortex-"), target.name.replace("-", "_").upper()
    zig = (f"thumb-freestanding-{target.triple.rpartition('-')[2]}", f"cortex_{core}")
    return Machine(
        target.name,
        target.port,
        target.triple,
        tuple(target.flags.split()),
        zig if target.port == "cortex_m" else ("riscv32-freestanding", "generic_rv32+m+a+c"),
        target.board,
        target.qemu,
        target.eighths or 8,
        None if target.name == "cortex-m55" else unicorn,
    )


_BARE = {target.name: _machine(target) for target in (*TARGETS, *MORE_TARGETS)}
_CORTEX = sorted((name for name in _BARE if name != "riscv32"), key=lambda name: int(name.removeprefix("cortex-m")))
MACHINES = {"host": Machine("host", "host")} | {name: _BARE[name] for name in (*_CORTEX, "riscv32")}


def machine_of(target: str) -> Machine:
    """A target by name.

    Raises:
        InputError: there is none.
    """
    if target not in MACHINES:
        raise InputError(f"There is no target {target!r} for C; choose one of {', '.join(MACHINES)}.")
    return MACHINES[target]


@dataclass(frozen=True)
class Ran:
    """What a program printed, and its exit code."""

    output: bytes
    code: int


def has_qemu(machine: Machine) -> bool:
    """Whether the emulator of a target is installed."""
    return shutil.which(machine.qemu[0]) is not None


def run_on_host(program: Path) -> Ran:
    """Run a program of this computer."""
    return run_limited([str(program)])


def run_in_qemu(machine: Machine, program: Path) -> Ran:
    """Run a program on an emulated board, each instruction taking a nanosecond, so that counts repeat.

    Raises:
        MissingDependencyError: QEMU is not installed.
        ArtefactError: as :func:`run_limited`.
    """
    if not has_qemu(machine):
        raise MissingDependencyError(
            f"target {machine.target!r} needs {machine.qemu[0]}, which is not installed: apt-get install qemu-system-arm "
            f"qemu-system-misc, or use the emulator of `pip install 'qleaky[mcu]'`."
        )
    quiet = ["-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot", "-icount", "shift=0"]
    board = ["-M", machine.qemu[1], "-kernel", str(program), "-chardev", "stdio,id=out"]
    if machine.port == "cortex_m":
        out = ["-serial", "none", "-semihosting-config", "enable=on,target=native,chardev=out"]
    else:
        out = ["-bios", "none", "-serial", "chardev:out"]
    return run_limited([machine.qemu[0], *board, *quiet, *out])


def qemu_name(machine: Machine) -> str:
    """QEMU with its version, without the distribution's."""
    said = version_of(machine.qemu[0])
    found = re.search(r"version ([0-9.]+)", said)
    return said if found is None else f"QEMU {found[1]}"


def version_of(program: str) -> str:
    """The first line that a program says of its version."""
    found = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return found.stdout.partition("\n")[0].strip() or program


def host_name() -> str:
    """What this computer is."""
    return f"{platform.system()} on {platform.machine()}"


def run_limited(command: list[str], seconds: float = SECONDS) -> Ran:
    """Run a command that nobody vouches for: at most so long, and so much output.

    Raises:
        ArtefactError: it did not end in time.
    """
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            assert process.stdout is not None
            output = process.stdout.read(LONGEST_OUTPUT + 1)
            if len(output) > LONGEST_OUTPUT:
                process.kill()
            code = process.wait()
        finally:
            timer.cancel()
    if late.is_set():
        raise ArtefactError(
            f"The program did not end within {seconds:g} seconds and was stopped; it printed {len(output):,} bytes."
        )
    return Ran(output, code)

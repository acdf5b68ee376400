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


def _arm(core: str, triple: str, *, board: str, machine: str, **more: int | str | None) -> Machine:
    hard = "hf" if triple.endswith("hf") else ""
    zig = (f"thumb-freestanding-eabi{hard}", f"cortex_{core.removeprefix('cortex-')}")
    flags = (f"-mcpu={core}", "-mthumb", *(_NO_GATHERS if core == "cortex-m55" else ()))
    parts: dict[str, object] = {"zig": zig, "board": board, "qemu": ("qemu-system-arm", machine), **more}
    return Machine(core, "cortex_m", triple, flags, **parts)  # type: ignore[arg-type]


# clang 14 crashes in its lowering of vector gathers for some plain loops (pass "MVE gather/scatter lowering").
_NO_GATHERS = ("-mllvm", "-enable-arm-maskedgatscat=false")

_ALL = (
    Machine("host", "host"),
    _arm("cortex-m0", "thumbv6m-none-eabi", board="microbit", machine="microbit", nanoseconds=500, unicorn="CORTEX_M0"),
    _arm("cortex-m3", "thumbv7m-none-eabi", board="mps2", machine="mps2-an385", nanoseconds=320, unicorn="CORTEX_M3"),
    _arm("cortex-m4", "thumbv7em-none-eabihf", board="mps2", machine="mps2-an386", nanoseconds=320, unicorn="CORTEX_M4"),
    _arm("cortex-m7", "thumbv7em-none-eabihf", board="mps2", machine="mps2-an500", nanoseconds=320, unicorn="CORTEX_M7"),
    _arm(
        "cortex-m33",
        "thumbv8m.main-none-eabihf",
        board="mps2-an505",
        machine="mps2-an505",
        nanoseconds=400,
        unicorn="CORTEX_M33",
    ),
    _arm("cortex-m55", "thumbv8.1m.main-none-eabihf", board="mps3-an547", machine="mps3-an547", nanoseconds=250),
    Machine(
        "riscv32",
        "riscv32",
        "riscv32-unknown-elf",
        ("-march=rv32imac", "-mabi=ilp32"),
        ("riscv32-freestanding", "generic_rv32+m+a+c"),
        "virt",
        ("qemu-system-riscv32", "virt"),
        unicorn="RISCV32",
    ),
)
MACHINES = {machine.target: machine for machine in _ALL}


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

"""Unicorn as a microcontroller: a core and its memory from one Python package, with the few devices that ports/ use.

Counts are of instructions in the blocks that ran, each counted as a whole when it starts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qleaky.errors import ArtefactError, InputError, MissingDependencyError
from qleaky.verification.mcu.elf import Program, program_of
from qleaky.verification.mcu.machines import SECONDS, Machine, Ran
from qleaky.verification.mcu.output import LONGEST_OUTPUT

COUNTER = 0x50000000
_PAGE = 1 << 12
_LONGEST_TEXT = 256
_BREAKPOINT = 7  # EXCP_BKPT of its ARM cores
_WRITE0, _EXIT, _APPLICATION_EXIT = 4, 24, 0x20026
_PASS = 0x5555
_MEMORY = {
    "microbit": ((0x00000000, 256 << 10), (0x20000000, 16 << 10)),
    "mps2": ((0x00000000, 4 << 20), (0x20000000, 256 << 10)),
    "mps2-an505": ((0x10000000, 4 << 20), (0x38000000, 256 << 10)),
    "virt": ((0x80000000, 4 << 20), (0x80400000, 256 << 10)),
}


def unicorn_name() -> str:
    """Which emulator this is."""
    return f"Unicorn {version('unicorn')}"


def run_in_unicorn(machine: Machine, program: Path, seconds: float = SECONDS) -> Ran:
    """Run a program in Unicorn.

    Raises:
        MissingDependencyError: the package is not installed.
        InputError: a core that Unicorn lacks.
        ArtefactError: the program did not end in time, or did what no machine allows.
    """
    if machine.unicorn is None:
        raise InputError(f"Unicorn has no {machine.target}; check it with QEMU: apt-get install qemu-system-arm.")
    try:
        import unicorn
    except ImportError as error:
        raise MissingDependencyError(
            f"target {machine.target!r} without QEMU needs the package 'unicorn', which cannot be imported: {error}. Install "
            f"it with `pip install 'qleaky[mcu]'`, or QEMU with apt-get install qemu-system-arm qemu-system-misc."
        ) from error
    board = _Board(machine, unicorn)
    board.load(program_of(program.read_bytes()))
    return board.run(seconds)


@dataclass
class _Board:
    """A core with memory, a counter, and output."""

    machine: Machine
    unicorn: Any
    output: bytearray = field(default_factory=bytearray)
    code: int | None = None
    count: int = 0
    blocks: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        u = self.unicorn
        if self.machine.port == "cortex_m":
            self.core = u.Uc(u.UC_ARCH_ARM, u.UC_MODE_THUMB | u.UC_MODE_MCLASS)
            self.core.ctl_set_cpu_model(getattr(u.arm_const, f"UC_CPU_ARM_{self.machine.unicorn}"))
            self.core.hook_add(u.UC_HOOK_INTR, self._trap)
            self.core.mmio_map(0xE000E000, _PAGE, self._zero, None, self._ignore, None)
        else:
            self.core = u.Uc(u.UC_ARCH_RISCV, u.UC_MODE_RISCV32)
            self.core.mmio_map(0x10000000, _PAGE, self._uart_status, None, self._uart_write, None)
            self.core.mmio_map(0x100000, _PAGE, self._zero, None, self._test_device, None)
        self.core.mmio_map(COUNTER, _PAGE, self._counted, None, self._ignore, None)
        self.core.hook_add(u.UC_HOOK_BLOCK, self._block)

    def load(self, program: Program) -> None:
        """Memory with the program in it; the stack and the first instruction."""
        for start, size in _MEMORY[self.machine.board]:
            self.core.mem_map(start, size)
        for address, data in program.segments:
            self.core.mem_write(address, data)
        self.start = program.entry
        if self.machine.port == "cortex_m":
            table = _MEMORY[self.machine.board][0][0]
            stack, self.start = (int.from_bytes(self.core.mem_read(table + 4 * i, 4), "little") for i in range(2))
            self.core.reg_write(self.unicorn.arm_const.UC_ARM_REG_SP, stack)

    def run(self, seconds: float) -> Ran:
        """Run until the program leaves."""
        deadline = time.monotonic() + seconds
        try:
            self.core.emu_start(self.start, 0xFFFFFFFE, timeout=int(seconds * 1e6))
        except self.unicorn.UcError as error:
            raise ArtefactError(f"The program did what {self.machine.target} does not allow: {error}.") from error
        if self.code is None and time.monotonic() >= deadline:
            raise ArtefactError(
                f"The program did not end within {seconds:g} seconds and was stopped; it printed {len(self.output):,} bytes."
            )
        return Ran(bytes(self.output), 1 if self.code is None else self.code)

    def _leave(self, code: int) -> None:
        self.code = code
        self.core.emu_stop()

    def _write(self, data: bytes) -> None:
        self.output += data
        if len(self.output) > LONGEST_OUTPUT:
            self._leave(1)

    def _block(self, core: Any, address: int, size: int, _: Any) -> None:
        place = (address, size)
        if place not in self.blocks:
            self.blocks[place] = self._instructions(bytes(core.mem_read(address, size)))
        self.count += self.blocks[place]

    def _instructions(self, code: bytes) -> int:
        """How many instructions code has: its first halfword says how long each is."""
        count = at = 0
        while at < len(code):
            half = int.from_bytes(code[at : at + 2], "little")
            long = half >> 11 >= 0b11101 if self.machine.port == "cortex_m" else half & 3 == 3
            at += 4 if long else 2
            count += 1
        return count

    def _trap(self, core: Any, number: int, _: Any) -> None:
        """Semihosting, as ports/cortex_m asks for it; any other exception ends the run."""
        r = self.unicorn.arm_const
        operation, parameter, at = (core.reg_read(n) for n in (r.UC_ARM_REG_R0, r.UC_ARM_REG_R1, r.UC_ARM_REG_PC))
        if number != _BREAKPOINT or operation not in (_WRITE0, _EXIT):
            self._write(b"fault\n")
            self._leave(1)
        elif operation == _WRITE0:
            self._write(self._text(parameter))
            core.reg_write(r.UC_ARM_REG_PC, at + 2 | 1)
        else:
            self._leave(0 if parameter == _APPLICATION_EXIT else 1)

    def _text(self, address: int) -> bytes:
        """A string up to its zero: byte by byte, since memory may end behind it."""
        text = bytearray()
        while len(text) < _LONGEST_TEXT and (byte := bytes(self.core.mem_read(address + len(text), 1))) != b"\0":
            text += byte
        return bytes(text)

    def _counted(self, *_: Any) -> int:
        return self.count & 0xFFFFFFFF

    def _zero(self, *_: Any) -> int:
        return 0

    def _ignore(self, *_: Any) -> None:
        return None

    def _uart_status(self, core: Any, offset: int, *_: Any) -> int:
        return 0x20 if offset == 5 else 0

    def _uart_write(self, core: Any, offset: int, size: int, value: int, _: Any) -> None:
        if offset == 0:
            self._write(bytes([value & 255]))

    def _test_device(self, core: Any, offset: int, size: int, value: int, _: Any) -> None:
        self._leave(0 if value == _PASS else 1)

"""Cores: how clang compiles for each, and how QEMU runs it, an instruction a nanosecond.

The folder's Makefile knows ``TARGETS``; ``qleaky-export verify`` takes ``MORE_TARGETS`` too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_BARE = "-ffreestanding -fno-builtin -ffunction-sections -fdata-sections"
# clang 14 crashes in its lowering of vector gathers for some plain loops (pass "MVE gather/scatter lowering").
_NO_GATHERS = " -mllvm -enable-arm-maskedgatscat=false"
_QUIET = "-icount shift=0 -display none -monitor none -no-reboot"


@dataclass(frozen=True)
class Target:
    """A core and the board of QEMU's that has it.

    Args:
        name: the core.
        triple: clang's name of the architecture, and ``flags`` of the core.
        port: the folder of ports/ with its start-up, and ``board``, the linker script there.
        qemu: QEMU's program and its name of the board.
        eighths: of an instruction for each tick of the counter of cycles; None where the core counts instructions.
    """

    name: str
    triple: str
    flags: str
    port: Literal["cortex_m", "riscv32"]
    board: str
    qemu: tuple[str, str]
    eighths: int | None = None

    @property
    def variable(self) -> str:
        """The Makefile's variable with the compiler's options."""
        return self.name.upper().replace("-", "_")

    @property
    def compile(self) -> str:
        """What clang needs to compile for it."""
        counts = "" if self.eighths is None else f" -DQLEAKY_TICK_EIGHTHS={self.eighths}u '-DQLEAKY_UNIT=\"instructions\"'"
        return f"--target={self.triple} {self.flags} {_BARE}{counts}"

    @property
    def link(self) -> str:
        """What lld needs to link for it."""
        return f"--gc-sections -L ports/{self.port} -T ports/{self.port}/boards/{self.board}.ld"

    @property
    def emulate(self) -> str:
        """QEMU's command, but for the program."""
        program, board = self.qemu
        out = "-serial none -chardev stdio,id=out -semihosting-config enable=on,target=native,chardev=out"
        out = out if self.port == "cortex_m" else "-bios none -serial stdio"
        return f"{program} -M {board} {_QUIET} {out} -kernel"


def _cortex(name: str, triple: str, board: str, machine: str, eighths: int) -> Target:
    flags = f"-mcpu={name} -mthumb" + (_NO_GATHERS if name == "cortex-m55" else "")
    return Target(name, triple, flags, "cortex_m", board, ("qemu-system-arm", machine), eighths)


TARGETS = (
    _cortex("cortex-m0", "thumbv6m-none-eabi", "microbit", "microbit", 500),
    _cortex("cortex-m4", "thumbv7em-none-eabihf", "mps2", "mps2-an386", 320),
    _cortex("cortex-m33", "thumbv8m.main-none-eabihf", "mps2-an505", "mps2-an505", 400),
    _cortex("cortex-m55", "thumbv8.1m.main-none-eabihf", "mps3-an547", "mps3-an547", 250),
    Target(
        "riscv32",
        "riscv32-unknown-elf",
        "-march=rv32imac -mabi=ilp32",
        "riscv32",
        "virt",
        ("qemu-system-riscv32", "virt"),
    ),
)
MORE_TARGETS = (
    _cortex("cortex-m3", "thumbv7m-none-eabi", "mps2", "mps2-an385", 320),
    _cortex("cortex-m7", "thumbv7em-none-eabihf", "mps2", "mps2-an500", 320),
)

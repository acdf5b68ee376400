"""Cores that the folder's Makefile knows: how clang compiles for each, and how QEMU runs it, an instruction a nanosecond."""

from __future__ import annotations

from dataclasses import dataclass

_BARE = "-ffreestanding -fno-common -ffunction-sections -fdata-sections"
_LINK = "-nostdlib -fuse-ld=lld -Wl,--gc-sections"


@dataclass(frozen=True)
class Target:
    """A core and the board of QEMU's that has it: clang's options, the port, its linker script, and the emulator."""

    name: str
    machine: str
    port: str
    script: str
    emulator: str
    defines: str = ""

    @property
    def variable(self) -> str:
        """The Makefile's variable with the compiler's options."""
        return self.name.upper().replace("-", "_")

    @property
    def compile(self) -> str:
        """What clang needs to compile for it."""
        return " ".join(part for part in (self.machine, _BARE, self.defines) if part)

    @property
    def link(self) -> str:
        """What clang needs to link for it."""
        return f"{self.machine} {_LINK} -Wl,-L,ports/{self.port} -Wl,-T,ports/{self.port}/boards/{self.script}"

    @property
    def emulate(self) -> str:
        """The emulator, but for the program."""
        return self.emulator


def _cortex(name: str, triple: str, board: str, script: str, *, mhz: int, more: str = "") -> Target:
    machine = f"--target={triple}-none-eabi -mcpu={name} -mthumb{more}"
    counts = f"-DQLEAKY_TICK_EIGHTHS={8000 // mhz}u '-DQLEAKY_UNIT=\"instructions\"'"
    run = f"qemu-system-arm -M {board} -icount shift=0 -nographic -monitor none -serial none -semihosting-config enable=on,target=native -kernel"
    return Target(name, machine, "cortex_m", script, run, counts)


TARGETS = (
    _cortex("cortex-m0", "thumbv6m", "microbit", "microbit.ld", mhz=16),
    _cortex("cortex-m4", "thumbv7em", "mps2-an386", "mps2.ld", mhz=25),
    _cortex("cortex-m33", "thumbv8m.main", "mps2-an505", "mps2-an505.ld", mhz=20),
    _cortex("cortex-m55", "thumbv8.1m.main", "mps3-an547", "mps3-an547.ld", mhz=32),
    Target(
        "riscv32",
        "--target=riscv32-unknown-elf -march=rv32imac -mabi=ilp32",
        "riscv32",
        "virt.ld",
        "qemu-system-riscv32 -M virt -icount shift=0 -nographic -monitor none -bios none -kernel",
    ),
)

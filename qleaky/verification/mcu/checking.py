"""``check_folder``: a folder of generated C, built, run on a target, and judged against the reference."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qleaky._files import read_file
from qleaky.errors import ArtefactError
from qleaky.export.c.golden_inputs import golden_inputs
from qleaky.export.c.interface import CModel
from qleaky.export.c.manifest import FILE, Manifest
from qleaky.export.c.vectors import GoldenRuns, vectors_source
from qleaky.integer import IntegerNetwork
from qleaky.verification.mcu.building import build
from qleaky.verification.mcu.golden_runs import golden_of
from qleaky.verification.mcu.judging import judge
from qleaky.verification.mcu.machines import Machine, Ran, has_qemu, host_name, machine_of, qemu_name, run_in_qemu, run_on_host
from qleaky.verification.mcu.output import read_output
from qleaky.verification.mcu.report import McuReport
from qleaky.verification.mcu.toolchains import Compiler, toolchain

Emulator = Literal["auto", "qemu", "unicorn"]
LONGEST_VECTORS = 64 << 20
_HEAD = re.compile(r"/\* Golden vectors of ([A-Za-z][A-Za-z0-9_]{0,63}): .*\n \* contract ([0-9a-f]{64})\n")


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder of generated C, and what the reference computes of the inputs that it holds."""

    directory: Path
    model: CModel
    golden: GoldenRuns
    altered: bool

    @classmethod
    def open(cls, directory: str | os.PathLike[str], network: IntegerNetwork, model: CModel | None = None) -> Folder:
        """Read a folder's golden inputs and run the reference on them.

        Args:
            directory: the folder.
            network: its contract.
            model: the C model, where it was made already.

        Raises:
            ArtefactError: no folder that `qleaky-export c` wrote, or one of another contract.
        """
        folder = Path(directory)
        text = read_vectors(folder)
        head = _HEAD.match(text)
        if head is None:
            raise ArtefactError(f"{folder / 'qleaky_vectors.c'} is not what `qleaky-export c` writes; export the folder again.")
        if head[2] != network.digest:
            raise ArtefactError(
                f"{folder} was exported from the contract {head[2][:12]}; this network is {network.digest[:12]}. Pass the "
                f"contract that belongs to it."
            )
        _check_manifest(folder, network)
        model = _model(network, head[1]) if model is None else model
        golden = golden_of(network, golden_inputs(text, model))
        return cls(folder, model, golden, text != vectors_source(model, golden))

    def check(
        self, target: str, *, compiler: Compiler = "auto", emulator: Emulator = "auto", flags: Sequence[str] = ()
    ) -> McuReport:
        """Build, run and judge; :func:`check_folder` has the arguments and errors."""
        machine = machine_of(target)
        tools = toolchain(machine, compiler)
        unicorn = machine.port != "host" and (emulator == "unicorn" or (emulator == "auto" and not has_qemu(machine)))
        with tempfile.TemporaryDirectory(prefix="qleaky-") as into:
            how = [*_counter(machine, unicorn), *flags]
            built = build(self.directory, Path(into), machine, compiler=tools, name=self.model.name, flags=how)
            ran, where = _run(machine, built.program, unicorn)
        output = read_output(ran.output)
        judged = judge(output, ran.code, self.golden, self.model)
        altered = ("qleaky_vectors.c does not hold what the reference computes of its inputs.",) if self.altered else ()
        return McuReport(
            target=target,
            machine=where,
            compiler=tools.name,
            name=self.model.name,
            contract=self.model.digest,
            verdict="measured" if judged.equal and not altered else "differs",
            samples=self.golden.samples,
            compared=judged.compared,
            mismatches=judged.mismatches,
            first_divergence=judged.first,
            reasons=(*judged.reasons, *altered),
            unit=output.unit,
            cost=output.cost,
            stack=output.stack,
            flash=built.flash,
            state_size=output.state_size,
        )


def check_folder(
    directory: str | os.PathLike[str],
    target: str,
    network: IntegerNetwork,
    *,
    compiler: Compiler = "auto",
    emulator: Emulator = "auto",
    flags: Sequence[str] = (),
) -> McuReport:
    """Build a folder that ``qleaky-export c`` wrote, run its golden vectors, and compare every digest with the reference's.

    The reference runs again, here, on the inputs that stand in the folder: neither the digests there nor the program's word
    are believed. Nothing is written into the folder. On the host its code runs as any program of yours would, and QEMU lets it
    reach your files by semihosting: check folders that you trust, or use Unicorn.

    Args:
        directory: the folder.
        target: "host", "cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55" or "riscv32".
        network: its contract.
        compiler: "gcc" (host only), "clang" or "zig"; "auto" takes what is installed.
        emulator: "qemu" or "unicorn"; "auto" takes QEMU where it is installed.
        flags: more of the compiler's.

    Raises:
        ArtefactError: no such folder, another contract, what does not compile or link, or an output that is not the harness's.
        MissingDependencyError: no compiler or emulator, with how to install one.
        InputError: an unknown target, or one that the emulator lacks.
    """
    return Folder.open(directory, network).check(target, compiler=compiler, emulator=emulator, flags=flags)


def read_vectors(directory: Path) -> str:
    """The text of a folder's golden vectors.

    Raises:
        ArtefactError: there is none, or one that is no text or too long.
    """
    path = directory / "qleaky_vectors.c"
    if not path.is_file():
        raise ArtefactError(f"{directory} is no folder that `qleaky-export c` wrote: it has no {path.name}.")
    if path.stat().st_size > LONGEST_VECTORS:
        raise ArtefactError(f"{path} has {path.stat().st_size:,} bytes, more than the {LONGEST_VECTORS:,} it may have.")
    return read_file(path, "golden vectors").decode("ascii", "replace").replace("\r\n", "\n")


def _check_manifest(folder: Path, network: IntegerNetwork) -> None:
    """Refuse a manifest of another contract; a folder without one is checked all the same."""
    path = folder / FILE
    if path.is_file() and Manifest.decode(read_file(path, "manifest"), str(path)).network.digest != network.digest:
        raise ArtefactError(f"{path} is of another contract than the vectors beside it; export the folder again.")


def _model(network: IntegerNetwork, name: str) -> CModel:
    from qleaky.export.c.model import c_model

    return c_model(network, name)


def _counter(machine: Machine, unicorn: bool) -> list[str]:
    """What makes the counter one of instructions: an address of Unicorn's, or QEMU's nanoseconds."""
    if unicorn:
        from qleaky.verification.mcu.unicorn_machine import COUNTER

        return [f"-DQLEAKY_COUNTER={COUNTER:#x}u", '-DQLEAKY_UNIT="instructions"']
    if machine.port != "cortex_m":
        return []
    return [f"-DQLEAKY_TICK_EIGHTHS={machine.nanoseconds}u", '-DQLEAKY_UNIT="instructions"']


def _run(machine: Machine, program: Path, unicorn: bool) -> tuple[Ran, str]:
    if machine.port == "host":
        return run_on_host(program), host_name()
    if unicorn:
        from qleaky.verification.mcu.unicorn_machine import run_in_unicorn, unicorn_name

        return run_in_unicorn(machine, program), unicorn_name()
    return run_in_qemu(machine, program), f"{qemu_name(machine)}, {machine.qemu[1]}"

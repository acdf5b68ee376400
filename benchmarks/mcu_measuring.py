"""One workload on one emulated core: the generated folder built with its harness, run, compared, and counted."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcu_networks import Workload

from qleaky._share import shared_folder
from qleaky.errors import ArtefactError
from qleaky.export.c.interface import CModel
from qleaky.export.c.model import c_model
from qleaky.export.c.vectors import vectors_source
from qleaky.export.c.weights import weights_source
from qleaky.verification.mcu.building import OPTIMIZE
from qleaky.verification.mcu.checking import Folder
from qleaky.verification.mcu.golden_runs import golden_of
from qleaky.verification.mcu.machines import machine_of
from qleaky.verification.mcu.toolchains import toolchain

# Names of rows, each with its target and flags.
CORES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "M0": ("cortex-m0", ()),
    "M4": ("cortex-m4", ()),
    "M4 DSP": ("cortex-m4", ("-DQLEAKY_DSP",)),
    "M33": ("cortex-m33", ()),
    "M55": ("cortex-m55", ()),
    "RV32IMAC": ("riscv32", ()),
}
EXPORT = shared_folder("export") / "c"


@dataclass(frozen=True)
class Cost:
    """Instructions of a step, the average; bytes of flash (code and constants), of the state, and of the deepest stack."""

    instructions: int
    flash: int
    state: int
    stack: int

    @property
    def ram(self) -> int:
        """Bytes of state and stack."""
        return self.state + self.stack


def measured(
    work: Workload, core: str, *, replaced: Mapping[str, str] | None = None, flags: tuple[str, ...] = (), exact: bool = True
) -> Cost | None:
    """What a step costs; None where the program does not fit the emulated board.

    Args:
        work: the network and its inputs.
        core: of ``CORES``.
        flags: more of the compiler's.
        replaced: files in place of generated ones, or beside them.
        exact: refuse figures of a program whose digests are not the reference's.
    """
    target, own = CORES[core]
    flags = (*own, *flags)
    model = c_model(work.network, dsp=bool(own))
    with tempfile.TemporaryDirectory(prefix="qleaky-") as name:
        folder = Folder(Path(name), model, golden_of(work.network, work.codes), changed=())
        write(folder, replaced or {})
        try:
            report = folder.check(target, flags=flags)
        except ArtefactError as error:
            if "will not fit" in str(error):
                return None
            raise
        if exact and report.verdict != "measured":
            raise ArtefactError(f"{work.name} on {core}: {report}")
        assert report.instructions is not None
        assert report.flash is not None
        return Cost(report.instructions, report.flash, report.state_size, stack(folder.directory, target, flags))


def write(folder: Folder, replaced: Mapping[str, str]) -> None:
    """The files of the folder that a check needs."""
    model: CModel = folder.model
    texts = {"qleaky_model.h": model.header, "qleaky_model.c": model.source, "qleaky_weights.c": weights_source(model)}
    texts["qleaky_vectors.c"] = vectors_source(model, folder.golden)
    for name in (EXPORT / "runtime").glob("*.h"):
        shutil.copy(name, folder.directory)
    shutil.copytree(EXPORT / "ports", folder.directory / "ports")
    for name, text in (texts | dict(replaced)).items():
        (folder.directory / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.directory / name).write_text(text)


def stack(directory: Path, target: str, flags: tuple[str, ...]) -> int:
    """The deepest stack below a step: its own frame and the largest of the functions that it calls, as the compiler says.

    Generated functions call nothing themselves, which this checks.
    """
    compiler = toolchain(machine_of(target), "clang").compile
    source, made = directory / "qleaky_model.c", directory / "model.o"
    options = ["-std=c99", OPTIMIZE, "-ffreestanding", "-fno-builtin", "-fstack-usage", *flags, f"-I{directory}"]
    subprocess.run([*compiler, *options, "-c", str(source), "-o", str(made)], check=True)
    frames = {}
    for line in made.with_suffix(".su").read_text().splitlines():
        function, size, kind = line.split("\t")
        assert kind == "static", line
        frames[function.rpartition(":")[2]] = int(size)
    step = next(size for function, size in frames.items() if re.fullmatch(r"model_step(_i\d+)?", function))
    return step + max((size for function, size in frames.items() if function.endswith("_run")), default=0)


def compiler_name() -> str:
    """The compiler and its version, without what a distribution adds."""
    found = re.search(r"clang version (\d+\.\d+\.\d+)", toolchain(machine_of("cortex-m4"), "clang").name)
    assert found is not None
    return f"clang {found[1]}"

"""Fits what parts of a step cost on each core to runs in QEMU: python benchmarks/mcu_costs.py [--write] [CORE...].

Prints, for each core, how far the fit is from what was measured: of the networks that it learned from, of others, and of those
that ship. ``--write`` keeps the coefficients in export/c/costs.toml, of the cores that were measured. Counts repeat exactly.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mcu_costs_networks import SHIPPED, Case, held_out, learned, shipped

from qleaky._files import write_atomically
from qleaky.export.c.counting import code_parts, step_parts
from qleaky.export.c.estimate import DSP
from qleaky.export.c.interface import CModel
from qleaky.export.c.model import c_model
from qleaky.export.c.project import code_files, port_files
from qleaky.export.c.vectors import vectors_source
from qleaky.verification.mcu.checking import Folder
from qleaky.verification.mcu.golden_runs import golden_of
from qleaky.verification.rates import spike_rates

COSTS = Path(__file__).resolve().parents[1] / "export" / "c" / "costs.toml"
CORES = ("cortex-m0", "cortex-m4", "cortex-m4+dsp", "cortex-m33", "cortex-m33+dsp", "cortex-m55", "cortex-m55+dsp", "riscv32")
TOO_LARGE = {"cortex-m0": 14_000}  # bytes of state that the emulated board cannot hold
ROUNDING = 3
WEIGHT = 5  # of a network that ships, beside those that are made to learn from


@dataclass(frozen=True)
class Measured:
    """A network's parts, and what one core took."""

    name: str
    step: Mapping[str, float]
    code: Mapping[str, float]
    instructions: int
    code_bytes: int
    weights: int
    stack: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network as a folder that is ready to be built for any core."""

    name: str
    folder: Folder
    model: CModel
    step: Mapping[str, float]
    code: Mapping[str, float]

    def measure(self, core: str) -> Measured | None:
        """Build and run it; None where the emulated board is too small."""
        target, dsp = core.removesuffix(DSP), core.endswith(DSP)
        if self.model.state_size > TOO_LARGE.get(target, 1 << 30):
            return None
        report = self.folder.check(target, compiler="clang", emulator="qemu", flags=["-DQLEAKY_DSP"] if dsp else [])
        assert report.mismatches == 0, f"{self.name} on {core}: {report.reasons}"
        assert report.instructions is not None
        assert report.flash is not None
        assert report.stack is not None
        weights = sum(array.size for array in self.model.constants)
        return Measured(self.name, self.step, self.code, report.instructions, report.flash - weights, weights, report.stack)


def prepare(name: str, case: Case, into: Path) -> Prepared:
    """Write a network's C with its vectors."""
    network, codes = case
    model, golden = c_model(network), golden_of(network, codes)
    folder = into / name.replace(" ", "_").replace("%", "")
    for file, data in (code_files(model, vectors_source(model, golden)) | port_files()).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    rates = spike_rates(network, codes)
    return Prepared(name, Folder(folder, model, golden, changed=()), model, step_parts(network, rates), code_parts(network))


def fit(rows: list[Mapping[str, float]], wanted: list[int]) -> dict[str, float]:
    """Coefficients of at least 0 that make the largest part of the squares of relative errors vanish."""
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows]) / np.array(wanted, float)[:, None]
    scale = np.maximum(matrix.max(axis=0), 1e-12)
    solved = least_squares(matrix / scale, np.ones(len(rows))) / scale
    return {name: round(float(value), ROUNDING) for name, value in zip(names, solved, strict=True)}


def least_squares(a: Any, b: Any) -> Any:
    """min |a x - b| with x >= 0 (C. Lawson, R. Hanson, Solving Least Squares Problems, 1974, chapter 23)."""
    x, taken = np.zeros(a.shape[1]), np.zeros(a.shape[1], bool)
    for _ in range(3 * a.shape[1]):
        gradient = np.where(taken, -np.inf, a.T @ (b - a @ x))
        if gradient.max() <= 1e-9:
            break
        taken[gradient.argmax()] = True
        while True:
            trial = np.zeros_like(x)
            trial[taken] = np.linalg.lstsq(a[:, taken], b, rcond=None)[0]
            if (trial[taken] > 0).all():
                break
            bad = taken & (trial <= 0)
            share = (x[bad] / (x[bad] - trial[bad])).min()
            x += share * (trial - x)
            taken &= x > 1e-12
            x[~taken] = 0
        x = trial
    return x


def error(row: Mapping[str, float], cost: Mapping[str, float], measured: int) -> float:
    return sum(cost[name] * count for name, count in row.items() if count) / measured - 1


def flash_error(m: Measured, cost: Mapping[str, float]) -> float:
    """Of code and weights together, the latter exact."""
    return error(m.code, cost, m.code_bytes) * m.code_bytes / (m.code_bytes + m.weights)


def report(core: str, what: str, found: Iterable[tuple[str, float, float]]) -> None:
    rows = list(found)
    for i, part in ((1, "instructions"), (2, "flash")):
        worst = max(rows, key=lambda row: abs(row[i]))
        mean = sum(abs(row[i]) for row in rows) / len(rows)
        print(f"{core:15} {what:9} {part:12} {len(rows):3} networks, mean {mean:6.1%}, worst {worst[i]:+7.1%} ({worst[0]})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cores", nargs="*", default=CORES)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--all", action="store_true", help="print every network's error")
    options = parser.parse_args()
    kept = tomllib.loads(COSTS.read_text()) if COSTS.exists() else {}
    with tempfile.TemporaryDirectory(prefix="qleaky-") as folder:
        groups = {
            "learned": [prepare(name, make(), Path(folder)) for name, make in learned()],
            "held out": [prepare(name, make(), Path(folder)) for name, make in held_out()],
            "shipped": [prepare(name, shipped(name), Path(folder)) for name in SHIPPED],
        }
        for core in options.cores:
            found = {what: [m for p in prepared if (m := p.measure(core)) is not None] for what, prepared in groups.items()}
            kept[core] = costs_of(core, found, options.all)
    if options.write:
        write_atomically(COSTS, text(kept).encode())


def costs_of(core: str, found: Mapping[str, list[Measured]], every: bool) -> dict[str, Any]:
    """Fit the networks that were to be learned from, print errors of all."""
    rows = found["learned"] + WEIGHT * found["shipped"]
    step = fit([m.step for m in rows], [m.instructions for m in rows])
    code = fit([m.code for m in rows], [m.code_bytes for m in rows])
    for what, measured in found.items():
        errors = [(m.name, error(m.step, step, m.instructions), flash_error(m, code)) for m in measured]
        report(core, what, errors)
        for (name, instructions, size), m in zip(errors, measured, strict=True):
            if every or what == "shipped":
                flash = f"{m.code_bytes + m.weights:7,} bytes ({size:+6.1%})"
                print(f"    {name:40} {m.instructions:9,} instructions ({instructions:+6.1%}), {flash}")
    return {"stack": max(m.stack for measured in found.values() for m in measured), "step": step, "code": code}


def text(costs: Mapping[str, Mapping[str, Any]]) -> str:
    """The file."""
    lines = ["# Written by benchmarks/mcu_costs.py --write: instructions of a step's parts, bytes of the code's (clang -O2)."]
    for core in sorted(costs, key=CORES.index):
        lines += ["", f"[{json.dumps(core)}]", f"stack = {costs[core]['stack']}"]
        for table in ("step", "code"):
            lines += ["", f"[{json.dumps(core)}.{table}]", *(f"{json.dumps(k)} = {v}" for k, v in costs[core][table].items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

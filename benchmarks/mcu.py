"""What a time step of generated C costs on emulated microcontrollers, beside dense C of the same network.

    OMP_NUM_THREADS=1 python benchmarks/mcu.py [--cmsis-nn DIR] [--output FILE] [--check | --write-baseline]

Every program runs in QEMU with its harness, and its digests of all membranes and spikes are the reference's, or nothing is
printed. Counts repeat exactly, so --check refuses what grew by more than 2 % since benchmarks/mcu_baseline.json was written
with the same compiler. It needs clang, lld, qemu-system-arm and qemu-system-riscv32.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from mcu_baseline import regressions, write_baseline
from mcu_dense import CMSIS, cmsis_files, dense_files, revision
from mcu_measuring import CORES, Cost, compiler_name, measured
from mcu_networks import WIDTHS, Workload, dense_workloads, reference_workload
from mcu_table import Costs, missed_targets, page

from qleaky import models
from qleaky._files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "microcontrollers-cost.md"
WITH_CMSIS = ("M4", "M33")  # its code for DSP extensions; that for vector units needs more of its files


def rows(works: list[Workload], *, quiet: bool = False) -> Iterator[tuple[tuple[str, str, str], tuple[Cost | None, float]]]:
    """Costs and synaptic operations by workload, inputs and core."""
    for work in works:
        for core in CORES:
            cost = measured(work, core)
            if not quiet:
                told(work.name, work.inputs, core, cost)
            yield (work.name, work.inputs, core), (cost, work.operations)


def told(name: str, inputs: str, core: str, cost: Cost | None) -> None:
    click.echo(f"{name} ({inputs}) on {core}: {'does not fit' if cost is None else f'{cost.instructions:,}'}", err=True)


def generated() -> Costs:
    """Every network, density of spikes and core."""
    works = [work for width in WIDTHS for work in dense_workloads(width)]
    works += [reference_workload(name) for name in models.names()]
    return dict(rows(works))


def dense(checkout: Path | None) -> dict[tuple[str, str], Cost | None]:
    """Dense C of 784-256-10 in 8 bits at 10 % of spikes, by how it adds up and core."""
    work = dense_workloads("8 bits")[1]
    found = {("dense C", core): measured(work, core, replaced=dense_files(work)) for core in CORES if core != "M4 DSP"}
    if checkout is not None:
        files, flags = cmsis_files(work, checkout), ("-munaligned-access",)
        for core in WITH_CMSIS:
            found["CMSIS-NN", core] = measured(work, core, replaced=files, flags=flags, exact=False)
    return found


def checked(checkout: Path | None) -> Path | None:
    """A checkout of CMSIS-NN that has what is compiled."""
    if checkout is not None and (
        absent := [name for name, folder in CMSIS.items() if not (checkout / folder / name).is_file()]
    ):
        raise click.UsageError(
            f"--cmsis-nn {checkout} has no {', '.join(absent)}; clone https://github.com/ARM-software/CMSIS-NN."
        )
    return checkout


@click.command()
@click.option("--cmsis-nn", "checkout", type=click.Path(path_type=Path), help="A checkout of CMSIS-NN, to measure it too.")
@click.option("--output", type=click.Path(path_type=Path), help=f"Write the page there too, such as {PAGE.relative_to(ROOT)}.")
@click.option("--check", is_flag=True, help="Refuse what grew by more than 2 % since the baseline; measures what it holds.")
@click.option("--write-baseline", "keep", is_flag=True, help="Write the baseline again.")
def main(checkout: Path | None, output: Path | None, *, check: bool, keep: bool) -> None:
    """Print the page."""
    checkout = checked(checkout)
    costs = generated()
    problems = missed_targets(costs)
    if check:
        problems += regressions(costs, compiler_name())
    else:
        text = page(costs, dense(checkout), compiler=compiler_name(), cmsis=None if checkout is None else revision(checkout))
        click.echo(text)
        if output is not None:
            write_atomically(output, text.encode())
    if keep:
        write_baseline(costs, compiler_name())
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()

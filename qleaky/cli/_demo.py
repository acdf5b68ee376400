"""``qleaky-export demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qleaky.cli._check import print_report
from qleaky.cli._terminal import console
from qleaky.cli._verify import EXIT_CODES

if TYPE_CHECKING:
    from qleaky.demo import DemoResult


@click.command()
@click.option("-o", "--output", default="qleaky-demo", show_default=True, help="Folder for the results.", metavar="DIR")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Seed of weights and batches.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of each training, for a quick look.")
def demo(output: str, seed: int, epochs: int | None) -> int:
    """Train, quantize, export and verify a network on real speech, in under a minute."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from qleaky.demo import run_demo

    columns = (
        "[progress.description]{task.description}",
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    bars = Progress(*columns, console=console(stderr=True))
    tasks: dict[str, Any] = {}

    def tell(stage: str, epoch: int, epochs: int, loss: float) -> None:
        bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=epochs)
        bars.update(tasks[stage], completed=epoch, description=f"{stage}, loss {loss:.3f}")

    try:
        result = run_demo(output, seed, epochs, tell)
    finally:
        if tasks:
            bars.stop()
    _print_demo(result)
    return EXIT_CODES[result.report.verdict]


def _print_demo(result: DemoResult) -> None:
    from rich.table import Table

    total = result.report.total
    table = Table(title="Japanese Vowels, 12-64-9, T=29, 8-bit weights and membranes", show_header=False)
    table.add_row("accuracy, float training", f"{result.float_accuracy:.2f} %")
    table.add_row("accuracy, quantized, torch", f"{result.torch_accuracy:.2f} %")
    table.add_row("accuracy, quantized, ONNX Runtime", f"{result.runtime_accuracy:.2f} %")
    table.add_row("spikes compared, over all runs", f"{total.spikes:,}")
    table.add_row("membrane codes compared, over all runs", f"{total.membranes:,}")
    table.add_row("differences", f"{total.mismatches:,}")
    console().print(table)
    print_report(result.report)
    click.echo("Written: " + ", ".join(str(Path(file)) for file in result.files))

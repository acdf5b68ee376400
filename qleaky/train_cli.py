"""``qleaky-train``: the command line of training. torch, rich and the data wait until the recipe is read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qleaky._command_line import run_command
from qleaky._version import VERSION

if TYPE_CHECKING:
    from qleaky.training import Result
    from qleaky.training.progress import Progress

EXIT_CODES = {"proved": 0, "differs": 1, "measured": 3}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="qleaky-train")
@click.argument("recipe", type=click.Path(), metavar="RECIPE.toml")
@click.option("--data", type=click.Path(), metavar="DIR", help="Where the files of the data set are.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Seed of everything random.")
@click.option("-o", "--output", metavar="DIR", type=click.Path(), help="Folder for results; default: the recipe's name.")
@click.option("--restart", is_flag=True, help="Begin anew although the folder holds a checkpoint.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="What computes.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(recipe: str, data: str | None, seed: int, output: str | None, restart: bool, device: str, debug: bool) -> int:
    """Train, and with a [quantization] table quantize, export and verify, what RECIPE.toml describes.

    The same command goes on where an interrupted one stopped. Under torchrun all its processes train together.

    Exit codes: 0 done (an exported network is proved); 1 the export differs; 2 misuse or bad input; 3 the export is measured
    without a difference, no proof; 130 interrupted.
    """
    from qleaky.recipes import load_recipe

    read = load_recipe(recipe)
    folder = Path(output if output is not None else read.name)
    from qleaky.training import train

    try:
        result = train(read, data, seed=seed, folder=folder, restart=restart, device=device, progress=_progress())
    except KeyboardInterrupt:
        raise click.Abort(_interrupted(folder)) from None
    if int(os.environ.get("RANK", "0")) == 0:
        _print(result)
    return 0 if result.report is None else EXIT_CODES[result.report.verdict]


def _interrupted(folder: Path) -> str:
    """From where an interrupted training can go on."""
    checkpoint = folder / "checkpoint.pt"
    goes_on = f"The same command goes on from {checkpoint}." if checkpoint.exists() else "No epoch was finished."
    return f"Interrupted; nothing half-written was left behind. {goes_on}"


def _progress() -> Progress:
    from qleaky.training.progress import Bars, Lines

    return Bars() if sys.stderr.isatty() else Lines()


def _print(result: Result) -> None:
    """Accuracies, the verdict, and the files."""
    for name, accuracy in (("float", result.float_accuracy), ("quantized", result.quantized_accuracy)):
        if accuracy is not None:
            validation = "" if accuracy.validation is None else f"validation {accuracy.validation:.2f} %, "
            click.echo(f"{name}: {validation}test {accuracy.test:.2f} %")
    if result.report is not None:
        click.echo(f"{result.report.verdict}: {result.report.compared:,} numbers compared, {result.report.mismatches:,} differ")
    click.echo("Written: " + ", ".join(map(str, result.files)))


def main() -> None:
    """Entry point: errors become one sentence on stderr and an exit code."""
    run_command(
        cli,
        "qleaky-train",
        interrupted="Interrupted before any training.",
        no_memory="Not enough memory for this training; lower training.batch_size, or train a smaller network.",
    )


if __name__ == "__main__":  # for torchrun -m qleaky.train_cli
    main()

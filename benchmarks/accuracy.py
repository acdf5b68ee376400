"""Accuracy of the reference models in float and in few bits, in torch and in ONNX Runtime, over several seeds.

    OMP_NUM_THREADS=1 python benchmarks/accuracy.py [--model NAME]... [--rows ROW]... [--seeds N] [--data DIR] [--runs DIR]

Finished runs are kept in --runs, so the script can be stopped and started again, and several processes may work on the same
folder: each takes runs that no other is at. The page is printed to --output after every run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import onnxruntime
import torch
from accuracy_runs import ROOT, ROWS, Score, claimed, finished, folder_of, score
from accuracy_table import SCORES, TARGETS, lines

from qleaky._files import write_atomically

SEEDS = 3
PATIENCE = 10  # seconds
MORE_SEEDS = {"digits": 10, "japanese-vowels": 10}
Job = tuple[str, str, int]


def jobs(models: tuple[str, ...], rows: tuple[str, ...], seeds: int | None) -> Iterator[Job]:
    """Every run; all rows of a seed after its float one, seed by seed, so that early tables compare what belongs together."""
    for model in models:
        for seed in range(seeds if seeds is not None else MORE_SEEDS.get(model, SEEDS)):
            yield from ((model, row, seed) for row in ROWS if row in rows)


def collected(runs: Path, wanted: list[Job]) -> SCORES:
    """What is finished, in the order of models and rows."""
    scores: SCORES = {}
    for model, row in dict.fromkeys((model, row) for row in ROWS for model, r, _ in wanted if r == row):
        found = [s for m, r, seed in wanted if (m, r) == (model, row) and (s := finished(runs, model, row, seed)) is not None]
        if found:
            scores[model, row] = found
    return dict(sorted(scores.items(), key=lambda item: list(TARGETS).index(item[0][0])))


def work(runs: Path, wanted: list[Job], data: str | None, output: Path) -> None:
    """Do what no other process is doing, and print the page after each run; wait while all that is left is with others."""
    while left := [job for job in wanted if finished(runs, *job) is None]:
        for job in left:
            if take(runs, job, wanted, data):
                page(runs, wanted, output)
                break
        else:
            time.sleep(PATIENCE)


def take(runs: Path, job: Job, wanted: list[Job], data: str | None) -> bool:
    """Train and evaluate, unless another process is at it, or at the float run that it goes on from."""
    model, row, seed = job
    first = (model, "float", seed)
    if row != "float" and first in wanted and finished(runs, *first) is None:
        return False
    with claimed(folder_of(runs, model, row, seed)) as mine:
        if not mine or finished(runs, model, row, seed) is not None:
            return False
        told(score(runs, model, row, seed, data))
        return True


def told(found: Score) -> None:
    click.echo(
        f"{found.model} {found.row} seed {found.seed}: {found.runtime_accuracy:.2f} % ({found.predictions_differ} predictions "
        f"and {found.outputs_differ} numbers differ from torch)",
        err=True,
    )


def page(runs: Path, wanted: list[Job], output: Path) -> str:
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}."
    text = "\n".join(lines(collected(runs, wanted), versions)) + "\n"
    write_atomically(output, text.encode())
    return text


@click.command()
@click.option("--model", "models", multiple=True, type=click.Choice(list(TARGETS)), help="Some models; all without it.")
@click.option("--rows", multiple=True, type=click.Choice(list(ROWS)), help="Some rows; all without it.")
@click.option("--seeds", type=click.IntRange(min=1), help=f"How many; {MORE_SEEDS} and {SEEDS} of others without it.")
@click.option("--data", type=click.Path(), help="Where the files of data sets are.")
@click.option("--runs", default="runs", show_default=True, type=click.Path(path_type=Path), help="Where runs are kept.")
@click.option(
    "--output", default=ROOT / "docs" / "accuracy.md", type=click.Path(path_type=Path), help="The page; docs/accuracy.md."
)
@click.option("--table-only", is_flag=True, help="Print what is finished, train nothing.")
def main(
    models: tuple[str, ...],
    rows: tuple[str, ...],
    seeds: int | None,
    data: str | None,
    runs: Path,
    output: Path,
    table_only: bool,
) -> None:
    """Train and evaluate every row with every seed."""
    torch.set_num_threads(1)
    wanted = list(jobs(models or tuple(TARGETS), rows or tuple(ROWS), seeds))
    if not table_only:
        work(runs, wanted, data, output)
    click.echo(page(runs, wanted, output))
    left = [job for job in wanted if finished(runs, *job) is None]
    if left:
        click.echo(f"{len(left)} of {len(wanted)} runs are not finished.", err=True)
    bad = [
        s
        for found in collected(runs, wanted).values()
        for s in found
        if s.row != "float" and (s.outputs_differ or not s.proved)
    ]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

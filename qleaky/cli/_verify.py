"""``qleaky-export verify``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from qleaky.cli._inputs import load_inputs
from qleaky.cli._terminal import stages

if TYPE_CHECKING:
    from qleaky.verification import Report

EXIT_CODES = {"proved": 0, "differs": 1, "measured": 3}
RUNS = 8  # of the artefact: optimisation off and on, 1 and 2 threads, two batch sizes


@click.command()
@click.argument("artefact", type=click.Path())
@click.option("--network", required=True, type=click.Path(), help="The .qleaky file it was exported from.", metavar="FILE")
@click.option("--inputs", type=click.Path(), help=".npz with an array 'inputs', to run before the vectors.", metavar="FILE")
@click.option("--sample", type=click.IntRange(min=0), help="Run this sample alone, and tell all steps.", metavar="S")
@click.option("--mutants", type=click.IntRange(min=1), help="Also make N wrong artefacts: are they caught?", metavar="N")
@click.option("--json", "json_path", type=click.Path(), help="Write the certificate here.", metavar="FILE")
def verify(
    artefact: str, network: str, inputs: str | None, sample: int | None, mutants: int | None, json_path: str | None
) -> int:
    """Compare every spike and membrane of ARTEFACT with the reference, on your inputs and on adversarial vectors."""
    from qleaky.integer import load_network
    from qleaky.verification import verify as check

    contract = load_network(network)
    codes = None if inputs is None else load_inputs(inputs, [source.name for source in contract.inputs])
    with stages(RUNS) as advance:
        report = check(artefact, contract, codes, progress=advance, adversarial=True, sample=sample)
    if json_path is not None:
        report.certificate().save(json_path)
    print_report(report)
    if report.first_divergence is not None and sample is None:
        given = {"--network": network, "--sample": str(report.first_divergence.sample), "--inputs": inputs}
        options = [word for name, value in given.items() if value is not None for word in (name, value)]
        click.echo(f"  replay it: {shlex.join(['qleaky-export', 'verify', artefact, *options])}")
    if mutants is not None:
        _print_mutants(artefact, contract, codes, mutants)
    return EXIT_CODES[report.verdict]


def _print_mutants(artefact: str, contract: Any, codes: Any, count: int) -> None:
    """How many wrong artefacts the samples of the check catch, and which they do not."""
    from qleaky.verification.expected import choose
    from qleaky.verification.mutants import survey

    found = survey(artefact, contract, choose(contract, codes, None, adversarial=True).codes, count)
    click.echo(f"mutants: {found.caught:,} of {found.made:,} caught by these samples.")
    for mutant in found.survivors:
        click.echo(f"  not caught (or no different on any input): {mutant}")


def print_report(report: Report) -> None:
    """The verdict with its counts, what stands against a proof, and where runs first part."""
    click.echo(str(report))

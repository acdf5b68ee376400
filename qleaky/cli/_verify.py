"""``qleaky-export verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
@click.option("--inputs", type=click.Path(), help=".npz with an array 'inputs'; synthetic vectors without it.", metavar="FILE")
@click.option("--json", "json_path", type=click.Path(), help="Write the certificate here.", metavar="FILE")
@click.option("--html", "html_path", type=click.Path(), help="Write a page that shows the check here.", metavar="FILE")
def verify(artefact: str, network: str, inputs: str | None, json_path: str | None, html_path: str | None) -> int:
    """Compare every spike and membrane of ARTEFACT with the reference."""
    from qleaky.integer import load_network
    from qleaky.verification import verify as check

    contract = load_network(network)
    codes = None if inputs is None else load_inputs(inputs, [source.name for source in contract.inputs])
    with stages(RUNS) as advance:
        report = check(artefact, contract, codes, progress=advance)
    if json_path is not None:
        report.certificate().save(json_path)
    if html_path is not None:
        from qleaky.check_page import write_page

        write_page(html_path, report, contract, artefact=artefact, inputs=codes)
    print_report(report)
    return EXIT_CODES[report.verdict]


def print_report(report: Report) -> None:
    """The verdict with its counts, what stands against a proof, and where runs first part."""
    click.echo(_sentence(report))
    for reason in report.reasons:
        click.echo(f"  no proof: {reason}")
    if report.first_divergence is not None:
        click.echo(f"  first divergence: {report.first_divergence}")


def _sentence(report: Report) -> str:
    counts = f"{report.compared:,} numbers compared on {report.samples:,} samples, {report.mismatches:,} differ"
    if report.mismatches:
        total = report.total
        places = {"spikes": total.spike_mismatches, "membranes": total.membrane_mismatches, "outputs": total.output_mismatches}
        counts += f" ({', '.join(f'{count:,} {what}' for what, count in places.items())})"
    torch = "torch was not compared" if report.torch_verdict is None else f"torch: {report.torch_verdict}"
    match report.verdict:
        case "proved" if report.torch_verdict is None:
            return f"proved: the artefact is bit-exact to the contract for all inputs in the declared range; {counts}; {torch}."
        case "proved":
            return f"proved: artefact and torch network are bit-exact to the contract for all inputs in its range; {counts}."
        case "measured":
            return f"measured: {counts}; there is no proof for other inputs. Artefact: {report.artefact_verdict}, {torch}."
        case "differs":
            return f"differs: {counts}. Artefact: {report.artefact_verdict}, {torch}."

"""``qleaky-export verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qleaky.cli._inputs import load_inputs
from qleaky.cli._terminal import stages

if TYPE_CHECKING:
    from qleaky.verification import Report

NOT_RUN = 2  # a runtime that was asked for by name
EXIT_CODES = {"proved": 0, "differs": 1, "measured": 3}


@click.command()
@click.argument("artefact", type=click.Path())
@click.option("--network", required=True, type=click.Path(), help="The .qleaky file it was exported from.", metavar="FILE")
@click.option("--inputs", type=click.Path(), help=".npz with an array 'inputs'; synthetic vectors without it.", metavar="FILE")
@click.option("--json", "json_path", type=click.Path(), help="Write the certificate here.", metavar="FILE")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    default=("onnxruntime",),
    metavar="NAME",
    help="Where to run it: onnxruntime (default), onnxruntime:<provider>, onnx-reference, openvino, tract, onnxruntime-web, a "
    "plug-in's name, or all that are installed. Give it again for more.",
)
def verify(artefact: str, network: str, inputs: str | None, json_path: str | None, runtimes: tuple[str, ...]) -> int:
    """Compare every spike and membrane of ARTEFACT with the reference."""
    from qleaky.integer import load_network
    from qleaky.verification import verify as check
    from qleaky.verification.running import count_runs
    from qleaky.verification.runtimes.registry import ALL, chosen

    picked = chosen(runtimes)
    contract = load_network(network)
    codes = None if inputs is None else load_inputs(inputs, [source.name for source in contract.inputs])
    with stages(count_runs(picked)) as advance:
        report = check(artefact, contract, codes, runtime=picked, progress=advance)
    if json_path is not None:
        report.certificate().save(json_path)
    print_report(report)
    asked_for = [each for each in report.not_run if ALL not in runtimes or each.runtime in runtimes]
    return EXIT_CODES[report.verdict] if report.verdict == "differs" or not asked_for else NOT_RUN


def print_report(report: Report) -> None:
    """The verdict with its counts, what stands against a proof, and where runs first part."""
    click.echo(_sentence(report))
    for reason in report.reasons:
        click.echo(f"  no proof: {reason}")
    if report.first_divergence is not None:
        click.echo(f"  first divergence: {report.first_divergence}")
    _print_runtimes(report)


def _print_runtimes(report: Report) -> None:
    """What each of several runtimes did, which operation differs, and what has no verdict."""
    found = report.by_runtime
    for name, each in found.items() if len(found) > 1 or report.not_run else ():
        place = f"; {each.first_divergence}" if each.mismatches else ""
        click.echo(f"  {name}: {each.compared:,} numbers compared, {each.mismatches:,} differ{place}")
    for operation in report.operations:
        click.echo(f"  {operation.runtime} computes another number: {operation}")
    for missing in report.not_run:
        click.echo(f"  {missing.runtime}: no verdict: {missing.reason}")


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

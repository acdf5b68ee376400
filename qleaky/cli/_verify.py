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
NOT_RUN = 2  # a runtime that was asked for by name


@click.command()
@click.argument("artefact", type=click.Path())
@click.option("--network", required=True, type=click.Path(), help="The .qleaky file it was exported from.", metavar="FILE")
@click.option("--inputs", type=click.Path(), help=".npz with an array 'inputs', to run before the vectors.", metavar="FILE")
@click.option("--sample", type=click.IntRange(min=0), help="Run this sample alone, and tell all steps.", metavar="S")
@click.option("--json", "json_path", type=click.Path(), help="Write the certificate here.", metavar="FILE")
@click.option("--html", "html_path", type=click.Path(), help="Write a page that shows the check here.", metavar="FILE")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    default=("onnxruntime",),
    metavar="NAME",
    help="Where to run it: onnxruntime (default), onnxruntime:<provider>, onnx-reference, openvino, tract, onnxruntime-web, a "
    "plug-in's name, or all that are installed. Give it again for more.",
)
def verify(
    artefact: str,
    network: str,
    inputs: str | None,
    sample: int | None,
    json_path: str | None,
    html_path: str | None,
    runtimes: tuple[str, ...],
) -> int:
    """Compare every spike and membrane of ARTEFACT with the reference, on your inputs and on adversarial vectors."""
    from qleaky.integer import load_network
    from qleaky.verification import verify as check
    from qleaky.verification.running import count_runs
    from qleaky.verification.runtimes.registry import ALL, chosen

    picked = chosen(runtimes)
    contract = load_network(network)
    codes = None if inputs is None else load_inputs(inputs, [source.name for source in contract.inputs])
    with stages(count_runs(picked)) as advance:
        report = check(artefact, contract, codes, runtime=picked, progress=advance, adversarial=True, sample=sample)
    if json_path is not None:
        report.certificate().save(json_path)
    if html_path is not None:
        from qleaky.check_page import write_page

        how: dict[str, Any] = {"inputs": codes, "runtime": picked, "adversarial": True, "sample": sample}
        write_page(html_path, report, contract, artefact=artefact, **how)
    print_report(report)
    if report.first_divergence is not None and sample is None:
        given = {"--network": network, "--sample": str(report.first_divergence.sample), "--inputs": inputs}
        options = [word for name, value in given.items() if value is not None for word in (name, value)]
        options += [word for name in runtimes if runtimes != ("onnxruntime",) for word in ("--runtime", name)]
        click.echo(f"  replay it: {shlex.join(['qleaky-export', 'verify', artefact, *options])}")
    asked_for = [each for each in report.not_run if ALL not in runtimes or each.runtime in runtimes]
    return EXIT_CODES[report.verdict] if report.verdict == "differs" or not asked_for else NOT_RUN


def print_report(report: Report) -> None:
    """The verdict with its counts, what stands against a proof, and where runs first part."""
    click.echo(str(report))

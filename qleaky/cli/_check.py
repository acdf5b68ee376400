"""One check of one ONNX file, printed and written as the command line was asked to."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from qleaky.cli._inputs import load_inputs
from qleaky.cli._terminal import stages
from qleaky.errors import ArtefactError

if TYPE_CHECKING:
    from qleaky.verification import Report

VERDICTS = ("proved", "measured", "differs")


@dataclass(frozen=True)
class Wanted:
    """The options of a check that runs here."""

    inputs: str | None = None
    sample: int | None = None
    runtimes: tuple[str, ...] = ()
    mutants: int | None = None
    json_path: str | None = None
    html_path: str | None = None


def check_file(graph: str, network: str, wanted: Wanted, *, named: str) -> str:
    """Check, write what is wanted, print; the verdict.

    Args:
        graph: the ONNX file.
        network: its contract's file.
        wanted: the options.
        named: what the user called the artefact.

    Raises:
        ArtefactError: a runtime that was asked for by name did not run, and nothing that did run differs.
    """
    from qleaky.integer import load_network
    from qleaky.verification import verify
    from qleaky.verification.running import count_runs
    from qleaky.verification.runtimes.registry import ALL, chosen

    runtimes = chosen(wanted.runtimes or "onnxruntime")
    contract = load_network(network)
    codes = None if wanted.inputs is None else load_inputs(wanted.inputs, [source.name for source in contract.inputs])
    with stages(count_runs(runtimes)) as advance:
        report = verify(graph, contract, codes, runtime=runtimes, progress=advance, adversarial=True, sample=wanted.sample)
    if wanted.json_path is not None:
        report.certificate().save(wanted.json_path)
    if wanted.html_path is not None:
        from qleaky.check_page import write_page

        how: dict[str, Any] = {"inputs": codes, "runtime": runtimes, "adversarial": True, "sample": wanted.sample}
        write_page(wanted.html_path, report, contract, artefact=graph, **how)
    print_report(report)
    if report.first_divergence is not None and wanted.sample is None:
        click.echo(f"  replay it: {_replay(named, network, wanted, report.first_divergence.sample)}")
    if wanted.mutants is not None:
        _print_mutants(graph, contract, codes, wanted.mutants)
    missing = [each.runtime for each in report.not_run if ALL not in wanted.runtimes or each.runtime in wanted.runtimes]
    if missing and report.verdict != "differs":
        raise ArtefactError(f"{named}: no verdict in {', '.join(missing)}, as said above; leave it out, or mend what it lacks.")
    return report.verdict


def _replay(artefact: str, network: str, wanted: Wanted, sample: int) -> str:
    given = {"--network": network, "--sample": str(sample), "--inputs": wanted.inputs}
    options = [word for name, value in given.items() if value is not None for word in (name, value)]
    options += [word for name in wanted.runtimes for word in ("--runtime", name)]
    return shlex.join(["qleaky-export", "verify", artefact, *options])


def _print_mutants(graph: str, contract: Any, codes: Any, count: int) -> None:
    """How many wrong artefacts the samples of the check catch, and which they do not."""
    from qleaky.verification.expected import choose
    from qleaky.verification.mutants import survey

    found = survey(graph, contract, choose(contract, codes, None, adversarial=True).codes, count)
    click.echo(f"mutants: {found.caught:,} of {found.made:,} caught by these samples.")
    for mutant in found.survivors:
        click.echo(f"  not caught (or no different on any input): {mutant}")


def print_report(report: Report) -> None:
    """The verdict with its counts, what stands against a proof, and where runs first part."""
    click.echo(str(report))

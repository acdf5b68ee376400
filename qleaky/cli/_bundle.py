"""``qleaky-export bundle``, and what ``verify`` does with a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qleaky._files import write_atomically
from qleaky.cli._inputs import load_inputs
from qleaky.cli._onnx import check_export, contract_beside, lowering_options
from qleaky.cli._outputs import check_outputs, file_of
from qleaky.cli._terminal import stages

if TYPE_CHECKING:
    from qleaky.verification.device.report_judge import DeviceReport
    from qleaky.verification.device.run_judge import RunCheck


@click.command()
@click.argument("model")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(),
    metavar="FILE",
    help="The zip; FILE.qleaky, the contract, goes beside it.",
)
@click.option("--inputs", type=click.Path(), metavar="FILE", help="Put in recordings too: .npz with an array 'inputs'.")
@click.option("--web", is_flag=True, help="Add a page that checks a browser, with onnxruntime-web beside it.")
@click.option("--form", "forms", multiple=True, help="A graph to put in: auto, unrolled, scan or step; auto and step if none.")
@click.option("--carrier", default="integer", show_default=True, help="integer, float (portable) or quantized (fast).")
@click.option("--onnxruntime-web", type=click.Path(), metavar="DIR", help="Folder of the npm package, for --web.")
@lowering_options
def bundle(
    model: str,
    output: str,
    inputs: str | None,
    web: bool,
    forms: tuple[str, ...],
    carrier: str,
    onnxruntime_web: str | None,
    **options: Any,
) -> int:
    """Pack MODEL with what a device needs to check itself: graphs, golden vectors and validate.py, in one zip.

    MODEL is what it is for `onnx`. On the device, unpack the zip and run `python validate.py`; `verify` checks the report.json
    that it writes. Recordings leave with the zip only where --inputs names them.
    """
    from qleaky.bundling import FORMS
    from qleaky.export.web_files import web_files

    check_outputs({"--output": output}, {"MODEL": file_of(model), "--inputs": inputs})
    for form in forms:
        check_export(form, carrier, None)
    check_export("auto", carrier, None)
    if web:
        web_files(onnxruntime_web)  # refused before anything is traced
    with stages(3) as advance:
        advance("tracing and lowering")
        from qleaky.bundling import bundle_of
        from qleaky.model_reference import HowToLower, load_model

        network = load_model(model, HowToLower(**options))
        codes = None if inputs is None else load_inputs(inputs, [source.name for source in network.inputs])
        advance("building graphs and vectors")
        data = bundle_of(network, codes, web, forms=forms or FORMS, carrier=carrier, onnxruntime_web=onnxruntime_web)
        advance("writing")
        contract = contract_beside(output, "model.zip")
        write_atomically(output, data)
        network.save(contract)
    click.echo(f"Written: {output} ({len(data):,} bytes), {contract}. The zip is for the device; the contract stays with you.")
    return 0


def is_bundle(path: str) -> bool:
    """Whether a file is a zip, by its name or first bytes."""
    try:
        with Path(path).open("rb") as file:
            return path.endswith(".zip") or file.read(4) == b"PK\x03\x04"
    except OSError:
        return path.endswith(".zip")


def print_device_report(report: DeviceReport) -> None:
    """The verdict, what it rests on, and each run."""
    from qleaky.verification.divergence import history_table

    click.echo(_sentence(report))
    click.echo(f"  device: {', '.join(f'{key} {value}' for key, value in report.device.items())}; {report.validator}")
    for run in report.runs:
        click.echo(f"  {_run(run)}")
        if run.first_divergence is not None:
            click.echo(f"    first divergence: {run.first_divergence}")
            for line in history_table(run.first_divergence):
                click.echo(f"      {line}")
    for reason in report.reasons:
        click.echo(f"  no proof: {reason}")
    for note in report.notes:
        click.echo(f"  note: {note}")


def _sentence(report: DeviceReport) -> str:
    nonce = "" if report.nonce is None else f", and the answers to the nonce {report.nonce!r} too"
    match report.verdict:
        case "proved":
            return (
                f"proved: the bundle's graphs are bit-exact to the contract for all inputs in the declared range, and the "
                f"device's digests of every spike and membrane are the reference's{nonce}."
            )
        case "measured":
            return f"measured: the device's digests are the reference's{nonce}; there is no proof for other inputs."
        case "differs":
            return "differs: the device computes something else than the contract."
        case "no verdict":
            return "no verdict: no run of the report could be compared."


def _run(run: RunCheck) -> str:
    nodes = ", ".join(f"{count:,} nodes on {provider}" for provider, count in run.assigned.items()) or "no nodes"
    line = f"{run.verdict}: {run.form} ({run.carrier}) on {run.provider}: {nodes}"
    if run.verdict == "no verdict":
        return line
    line += f", {run.compared:,} numbers compared on {run.samples} samples"
    if run.latency_ms is not None and run.latency_ms.inference.runs:
        latency = run.latency_ms
        line += f", {latency.inference.median:.3f} ms per inference (p99 {latency.inference.p99:.3f})"
        if latency.step is not None:
            line += f", {latency.step.median:.3f} ms per step (p99 {latency.step.p99:.3f})"
    return line + (f"; {run.reason}" if run.reason else "")

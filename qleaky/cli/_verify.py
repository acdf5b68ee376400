"""``qleaky-export verify``: an ONNX file, a bundle's graphs, a device's report of a bundle, or a folder of C."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from qleaky.cli._bundle import is_bundle, print_device_report
from qleaky.cli._check import VERDICTS, Wanted, check_file
from qleaky.cli._outputs import check_outputs
from qleaky.cli._verify_c import check_c
from qleaky.errors import InputError

EXIT_CODES = {"proved": 0, "differs": 1, "measured": 3, "no verdict": 3}


@click.command()
@click.argument("artefact", type=click.Path())
@click.option("--network", type=click.Path(), help="Its contract; the .qleaky file beside it if not given.", metavar="FILE")
@click.option("--inputs", type=click.Path(), help=".npz with an array 'inputs', to run before the vectors.", metavar="FILE")
@click.option("--sample", type=click.IntRange(min=0), help="Run this sample alone, and tell all steps.", metavar="S")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME",
    help="Where to run it: onnxruntime (default), onnxruntime:<provider>, onnx-reference, openvino, tract, onnxruntime-web, a "
    "plug-in's name, or all that are installed; of C: host (default), cortex-m0, -m3, -m4, -m7, -m33, -m55, riscv32. Give it "
    "again for more.",
)
@click.option("--mutants", type=click.IntRange(min=1), help="Also make N wrong artefacts: are they caught?", metavar="N")
@click.option("--json", "json_path", type=click.Path(), help="Write the certificate here.", metavar="FILE")
@click.option("--html", "html_path", type=click.Path(), help="Write a page that shows the check here.", metavar="FILE")
@click.option("--report", type=click.Path(), metavar="FILE", help="Check this report.json of a device that ran the bundle.")
@click.option("--nonce", metavar="WORD", help="The nonce that the device was given, with --report.")
def verify(artefact: str, network: str | None, report: str | None, nonce: str | None, **wanted: Any) -> int:
    """Compare every spike and membrane of ARTEFACT with the reference, on your inputs and on adversarial vectors.

    ARTEFACT is an ONNX file, or a bundle: with --report a device's report of it is checked, without its graphs run here. Or it
    is a folder that `c` wrote: its golden vectors run on this computer, or on emulated microcontrollers.
    """
    contract = _contract_of(artefact, network)
    outputs = {"--json": wanted["json_path"], "--html": wanted["html_path"]}
    check_outputs(outputs, {"the artefact": artefact, "--network": contract, "--inputs": wanted["inputs"], "--report": report})
    if Path(artefact).is_dir():
        return check_c(artefact, contract, {**wanted, "report": report, "nonce": nonce})
    if report is not None:
        return _check_report(artefact, contract, report, nonce, wanted)
    if nonce is not None:
        raise InputError(f"--nonce {nonce}: pass the device's answer too, --report report.json.")
    if is_bundle(artefact):
        return _check_graphs(artefact, contract, Wanted(**wanted))
    return EXIT_CODES[check_file(artefact, contract, Wanted(**wanted), named=artefact)]


def _contract_of(artefact: str, network: str | None) -> str:
    """The contract's file: the one given, or the one beside the artefact, where `onnx` and `bundle` write it.

    Raises:
        InputError: neither.
    """
    beside = Path(artefact).absolute().with_suffix(".qleaky")  # of "." too
    if network is None and not beside.exists():
        missing = "" if Path(artefact).exists() else "there is no such file or folder, and "
        raise InputError(f"{artefact}: {missing}there is no {beside.name} beside it; pass its contract, --network FILE.qleaky.")
    return network or str(beside)


def _check_report(path: str, network: str, report: str, nonce: str | None, wanted: dict[str, Any]) -> int:
    """What a device says of a bundle, against the reference on this host.

    Raises:
        InputError: no bundle, or what only a run on this host takes.
    """
    if not is_bundle(path):
        raise InputError(f"--report {report}: {path} is no bundle; pass the zip that the device ran.")
    names = {"inputs": "--inputs", "sample": "--sample", "runtimes": "--runtime", "mutants": "--mutants", "html_path": "--html"}
    if given := [option for name, option in names.items() if wanted[name] not in (None, ())]:
        raise InputError(f"{', '.join(given)}: with --report nothing runs here but the reference; leave these out.")
    from qleaky.cli._terminal import stages
    from qleaky.integer import load_network
    from qleaky.verification.device.bundles import Bundle
    from qleaky.verification.device.report_judge import check_report

    contract, bundle = load_network(network), Bundle.open(path)
    with stages(1) as advance:
        advance("running the reference")
        found = check_report(report, bundle, contract, nonce)
    if wanted["json_path"] is not None:
        found.save(wanted["json_path"])
    print_device_report(found)
    return EXIT_CODES[found.verdict]


def _check_graphs(path: str, network: str, wanted: Wanted) -> int:
    """Each graph of a bundle as a file of its own; certificates and pages get the graph's form before their ending."""
    from qleaky.integer import load_network
    from qleaky.verification.device.bundles import Bundle
    from qleaky.verification.device.graphs import check_bundle

    bundle = Bundle.open(path)
    check_bundle(bundle, load_network(network))
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="qleaky-") as folder:
        for artefact in bundle.manifest.artefacts:
            graph = Path(folder) / f"{artefact.form}.onnx"
            graph.write_bytes(bundle.read(artefact.model))
            click.echo(f"{artefact.model}:")
            verdicts.append(check_file(str(graph), network, _of_form(wanted, artefact.form), named=path))
    return EXIT_CODES[max(verdicts, key=VERDICTS.index)]


def _of_form(wanted: Wanted, form: str) -> Wanted:
    def named(path: str | None) -> str | None:
        return None if path is None else str(Path(path).with_suffix(f".{form}{Path(path).suffix}"))

    return replace(wanted, json_path=named(wanted.json_path), html_path=named(wanted.html_path))

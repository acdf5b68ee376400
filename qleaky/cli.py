"""``qleaky-export``: the command line. Imports of torch, ONNX and rich wait until a command needs them."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qleaky._command_line import run_command
from qleaky._files import write_atomically
from qleaky._share import shared_folder
from qleaky._version import VERSION
from qleaky.errors import InputError

if TYPE_CHECKING:
    from qleaky.demo import DemoResult
    from qleaky.verification import Report

EXIT_CODES = {"proved": 0, "differs": 1, "measured": 3}
FORMS = ("auto", "unrolled", "scan", "step")
CARRIERS = ("integer", "float", "quantized")
RUNS = 8  # of the artefact: optimisation off and on, 1 and 2 threads, two batch sizes


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="qleaky-export")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Deploy leaky integrate-and-fire networks that compute the same integers everywhere.

    Exit codes: 0 done and proved; 1 something differs; 2 misuse or bad input; 3 measured without a difference, no proof.
    """


@cli.command()
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
    bars = Progress(*columns, console=_console(stderr=True))
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


class Shape(click.ParamType[tuple[int, ...]]):
    """A per-sample shape: numbers with commas between them."""

    name = "shape"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """``"1,28,28"`` -> (1, 28, 28)."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is no shape; write numbers with commas between them, such as 784 or 1,28,28.", param, ctx)
        return tuple(int(part) for part in parts)


@cli.command()
@click.argument("model")
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="FILE", help="The ONNX file; FILE.qleaky goes beside it."
)
@click.option("--form", default="auto", show_default=True, help="auto, unrolled, scan or step.")
@click.option("--carrier", default="integer", show_default=True, help="integer, float (portable) or quantized (fast).")
@click.option("--batch-hint", type=click.IntRange(min=1), help="The batch size to be fast at.")
@click.option("--probe", is_flag=True, help="Also output all spikes and membranes.")
@click.option("--num-steps", type=click.IntRange(min=1), metavar="T", help="Time steps of one inference.")
@click.option("--time", type=click.Choice(["sequence", "static"]), help="Whether the input changes with time.")
@click.option("--input-format", metavar="F", help="spikes, or a format such as Q3.4 or UQ2.6(zero_point=128).")
@click.option("--input-shape", type=Shape(), metavar="N,N,...", help="Shape of one sample, where the network does not show it.")
@click.option("--readout", metavar="R", help="spikes, spike_count, membrane_mean or last_membrane; ':argmax' adds the class.")
@click.option("--weights", type=click.Path(), metavar="FILE", help="A state dict: .safetensors, or .pt of tensors alone.")
@click.option("--target", metavar="NAME", help="Refuse what this device cannot do.")
def onnx(
    model: str, output: str, form: str, carrier: str, batch_hint: int | None, probe: bool, target: str | None, **options: Any
) -> int:
    """Lower MODEL and write it as ONNX, with its contract beside it.

    MODEL is the name of a network that ships with qleaky, a .qleaky file, or module:callable or file.py:callable, whose code
    runs: the callable returns the torch network, or the network and a sample of what its forward takes.
    """
    check_export(form, carrier, target)
    with _stages(3) as advance:
        advance("tracing and lowering")
        from qleaky.export import onnx_bytes
        from qleaky.model_reference import HowToLower, load_model

        network = load_model(model, HowToLower(**options))
        advance("building and checking the graph")
        data = onnx_bytes(network, form=form, carrier=carrier, batch_hint=batch_hint, probe=probe)
        advance("writing")
        contract = Path(output).with_suffix(".qleaky")
        if contract == Path(output):
            raise InputError(f"-o {output}: the contract is written to that name; choose another, such as model.onnx.")
        network.save(contract)
        write_atomically(output, data)
    from qleaky.summary import print_export

    print_export(network, data, (output, str(contract)), _console())
    return 0


def check_export(form: str, carrier: str, target: str | None) -> None:
    """Refuse unknown names before anything is loaded or run.

    Raises:
        InputError: naming those there are.
    """
    for what, value, known in (("form", form, FORMS), ("carrier", carrier, CARRIERS)):
        if value not in known:
            raise InputError(f"{what}={value!r} is unknown. Choose one of {', '.join(known)}.")
    if target is not None:
        found = sorted(path.stem for path in (shared_folder("export") / "targets").glob("*.toml"))
        ship = f"Choose one of {', '.join(found)}" if found else "No target profiles ship with this version; leave --target out"
        if target not in found:
            raise InputError(f"target={target!r} is unknown. {ship}.")


@contextlib.contextmanager
def _stages(count: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr, whose description names the stage that runs."""
    from rich.progress import BarColumn, Progress, TimeElapsedColumn

    columns = ("[progress.description]{task.description}", BarColumn(), TimeElapsedColumn())
    console = _console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=count)

        def advance(stage: str) -> None:
            bars.update(task, description=stage, advance=1 if bars.tasks[0].description else 0)

        yield advance


@cli.command()
@click.argument("artefact", type=click.Path())
@click.option("--network", required=True, type=click.Path(), help="The .qleaky file it was exported from.", metavar="FILE")
@click.option("--inputs", type=click.Path(), help=".npz with an array 'inputs'; synthetic vectors without it.", metavar="FILE")
@click.option("--json", "json_path", type=click.Path(), help="Write the certificate here.", metavar="FILE")
def verify(artefact: str, network: str, inputs: str | None, json_path: str | None) -> int:
    """Compare every spike and membrane of ARTEFACT with the reference."""
    from qleaky.integer import load_network
    from qleaky.verification import verify as check

    contract = load_network(network)
    codes = None if inputs is None else _load_inputs(inputs, [source.name for source in contract.inputs])
    with _stages(RUNS) as advance:
        report = check(artefact, contract, codes, progress=advance)
    if json_path is not None:
        report.certificate().save(json_path)
    _print_report(report)
    return EXIT_CODES[report.verdict]


def main() -> None:
    """Entry point: errors become one sentence on stderr and an exit code."""
    run_command(
        cli,
        "qleaky-export",
        interrupted="Interrupted; nothing half-written was left behind.",
        no_memory="Not enough memory for this network; use fewer time steps or smaller layers.",
    )


def _console(**options: Any) -> Any:
    from rich.console import Console

    return Console(**options)


def _load_inputs(path: str, names: list[str]) -> Any:
    """The array 'inputs', or for a network with several inputs those of their names."""
    import numpy as np

    wanted = names if len(names) > 1 else ["inputs"]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if all(name in arrays for name in wanted):
                return {name: arrays[name] for name in wanted} if len(names) > 1 else arrays["inputs"]
            found = ", ".join(arrays.files) or "nothing"
    except OSError as error:
        raise InputError(f"Cannot read inputs from {path}: {error.strerror or error}.") from error
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"Cannot read inputs from {path}: it is no .npz file of plain arrays, or is damaged.") from error
    what = f"arrays called {', '.join(wanted)}" if len(names) > 1 else "an array called 'inputs'"
    raise InputError(f"{path} holds {found}; it must hold {what}.")


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
    _console().print(table)
    _print_report(result.report)
    click.echo("Written: " + ", ".join(str(Path(file)) for file in result.files))


def _print_report(report: Report) -> None:
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

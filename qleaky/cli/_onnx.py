"""``qleaky-export onnx``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from qleaky._files import write_atomically
from qleaky._share import shared_folder
from qleaky.cli._outputs import check_outputs, file_of
from qleaky.cli._terminal import console, stages
from qleaky.errors import InputError

FORMS = ("auto", "unrolled", "scan", "step")
CARRIERS = ("integer", "float", "quantized")
Command = TypeVar("Command", bound=Callable[..., Any])


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


def lowering_options(command: Command) -> Command:
    """Add what MODEL may need to be lowered: the fields of :class:`~qleaky.model_reference.HowToLower`."""
    readouts = "spikes, spike_count, membrane_mean or last_membrane; ':argmax' adds the class."
    shape = "Shape of one sample, where the network does not show it."
    options = (
        click.option("--num-steps", type=click.IntRange(min=1), metavar="T", help="Time steps of one inference."),
        click.option("--time", type=click.Choice(["sequence", "static"]), help="Whether the input changes with time."),
        click.option("--input-format", metavar="F", help="spikes, or a format such as Q3.4 or UQ2.6(zero_point=128)."),
        click.option("--input-shape", type=Shape(), metavar="N,N,...", help=shape),
        click.option("--readout", metavar="R", help=readouts),
        click.option(
            "--weights", type=click.Path(), metavar="FILE", help="A state dict: .safetensors, or .pt of tensors alone."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("model")
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="FILE", help="The ONNX file; FILE.qleaky goes beside it."
)
@click.option("--form", default="auto", show_default=True, help="auto, unrolled, scan or step.")
@click.option("--carrier", default="integer", show_default=True, help="integer, float (portable) or quantized (fast).")
@click.option("--batch-hint", type=click.IntRange(min=1), help="The batch size to be fast at.")
@click.option("--probe", is_flag=True, help="Also output all spikes and membranes.")
@lowering_options
@click.option("--target", metavar="NAME", help="Refuse what this device cannot do.")
def onnx(
    model: str, output: str, form: str, carrier: str, batch_hint: int | None, probe: bool, target: str | None, **options: Any
) -> int:
    """Lower MODEL and write it as ONNX, with its contract beside it.

    MODEL is the name of a network that ships with qleaky, a .qleaky file, or module:callable or file.py:callable, whose code
    runs: the callable returns the torch network, or the network and a sample of what its forward takes.
    """
    check_outputs({"--output": output}, {"MODEL": file_of(model)})
    check_export(form, carrier, target)
    with stages(3) as advance:
        advance("tracing and lowering")
        from qleaky.export import onnx_bytes
        from qleaky.model_reference import HowToLower, load_model

        network = load_model(model, HowToLower(**options))
        advance("building and checking the graph")
        data = onnx_bytes(network, form=form, carrier=carrier, batch_hint=batch_hint, probe=probe)
        advance("writing")
        contract = contract_beside(output, "model.onnx")
        write_atomically(output, data)
        network.save(contract)
    from qleaky.summary import print_export

    print_export(network, data, (output, str(contract)), console())
    return 0


def contract_beside(output: str, example: str) -> Path:
    """Where the contract goes.

    Raises:
        InputError: over the output itself.
    """
    contract = Path(output).with_suffix(".qleaky")
    if contract == Path(output):
        raise InputError(f"-o {output}: the contract is written to that name; choose another, such as {example}.")
    return contract


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

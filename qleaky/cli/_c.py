"""``qleaky-export c``: C99 for microcontrollers, or what it would take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qleaky.cli._inputs import load_inputs
from qleaky.cli._onnx import contract_beside, lowering_options
from qleaky.cli._outputs import check_outputs, file_of
from qleaky.cli._terminal import console, stages
from qleaky.errors import InputError

if TYPE_CHECKING:
    from qleaky.c_export import CExport
    from qleaky.export.c.boards import Board
    from qleaky.export.c.estimate import Estimate
    from qleaky.integer import IntegerNetwork

REFUTED, OPEN = 1, 3


@click.command()
@click.argument("model")
@click.option("-o", "--output", type=click.Path(), metavar="DIR", help="The folder; DIR.qleaky, the contract, goes beside it.")
@click.option("--name", default="model", show_default=True, help="Prefix of every symbol.")
@click.option("--inputs", type=click.Path(), metavar="FILE", help="Put in recordings too: .npz with an array 'inputs'.")
@click.option("--samples", type=click.IntRange(min=0), metavar="N", help="How many adversarial vectors go in.")
@click.option("--dsp", is_flag=True, help="Take a core's DSP instructions where it has them.")
@click.option("--board", metavar="NAME", help="Refuse a network that this board cannot hold.")
@click.option("--estimate", "estimating", is_flag=True, help="Print flash, RAM and instructions for each core; write nothing.")
@click.option(
    "--density", type=click.FloatRange(0, 1), metavar="D", help="With --estimate: the share of ones among spikes, such as 0.1."
)
@click.option("--prove", is_flag=True, help="Before writing, prove neurons, packed sums and encoders for all inputs.")
@lowering_options
def c(
    model: str,
    output: str | None,
    name: str,
    inputs: str | None,
    samples: int | None,
    dsp: bool,
    board: str | None,
    estimating: bool,
    density: float | None,
    prove: bool,
    **options: Any,
) -> int:
    """Write MODEL as C99 for microcontrollers, with golden vectors and what builds and checks it.

    MODEL is what it is for `onnx`. In the folder, `make run-host` checks the code on this machine and `make run-cortex-m4` in
    an emulator; its README.md has the interface. With --estimate nothing is written: the exit code is 1 where --board cannot
    hold the network.
    """
    folder = _checked(output, {"MODEL": file_of(model), "--inputs": inputs}, estimating, density)
    if prove and (dsp or estimating):
        raise InputError(f"--prove is about the portable C that is written; leave {'--dsp' if dsp else '--estimate'} out.")
    from qleaky.export.c.boards import board_named
    from qleaky.export.c.names import check_name

    check_name(name)
    known = None if board is None else board_named(board)
    with stages(3) as advance:
        advance("tracing and lowering")
        from qleaky.c_export import CExport
        from qleaky.model_reference import HowToLower, load_model

        network = load_model(model, HowToLower(**options))
        codes = None if inputs is None else load_inputs(inputs, [source.name for source in network.inputs])
        advance("writing C and running golden vectors")
        export = CExport.of(network, name, codes, samples=samples, dsp=dsp)
        if estimating:
            advance("estimating")
            found = export.estimate if density is None else export.estimate_at(density)
        elif known is not None:
            export.check_fit(known)
        advance("writing")
    if estimating:
        return _print_estimate(export.network, found, known, dsp)
    assert folder is not None
    proved = _prove(export) if prove else 0
    if proved != REFUTED:
        _write(export, folder)
    return proved


def _checked(output: str | None, inputs: dict[str, str | None], estimating: bool, density: float | None) -> Path | None:
    """The folder to write.

    Raises:
        InputError: neither a folder nor --estimate, or both; or a name that is none.
    """
    if estimating:
        if output is not None:
            raise InputError(f"--estimate writes nothing; leave -o {output} out, or leave out --estimate.")
        return None
    if output is None:
        raise InputError("Where to? Pass -o DIR, or --estimate to see what the network would take.")
    if density is not None:
        raise InputError(f"--density {density} goes with --estimate; an export takes what its golden vectors do.")
    folder = output.rstrip("/") or output
    check_outputs({"--output": folder}, inputs)
    return Path(folder)


def _write(export: CExport, folder: Path) -> None:
    from qleaky.export.c.folder import write_folder

    contract, files = contract_beside(str(folder), "model"), export.files()
    write_folder(folder, files)
    export.network.save(contract)
    size = sum(map(len, files.values()))
    click.echo(
        f"Written: {folder}/ ({len(files)} files, {size:,} bytes), {contract}. `make -C {folder} run-host` checks the code on "
        f"this machine; {folder}/README.md has its interface. The contract stays with you."
    )


def _prove(export: CExport) -> int:
    """Print what is proved of the C: 0 where everything is, 1 where something is refuted, 3 where something is left open."""
    from qleaky.verification.c_proofs import prove_model, runtime_text

    with stages(1) as advance:
        advance("proving the C of every layer")
        proofs = prove_model(export.network, export.model, runtime_text(export.model))
    click.echo(str(proofs))
    if proofs.refuted:
        click.echo("refuted: nothing was written.")
        return REFUTED
    return 0 if proofs.proved else OPEN


def _print_estimate(network: IntegerNetwork, found: Estimate, board: Board | None, dsp: bool) -> int:
    from rich.table import Table

    from qleaky.export.c.boards import boards, shortages

    table = Table(title="bytes, and instructions of a step and of an inference (neither cycles nor energy)")
    for title in ("core", "flash", "weights", "RAM", "state", "step", "inference"):
        table.add_column(title, justify="left" if title == "core" else "right", no_wrap=True)
    for name, core in found.cores.items():
        sizes = (found.flash(core), found.weights, found.ram(core), found.state)
        counts = (core.instructions, core.instructions * network.num_steps)
        table.add_row(name, *(f"{number:,}" for number in (*sizes, *counts)))
    console().print(table)
    if board is None:
        small = {each.name: shortages(each, found, dsp=dsp) for each in boards().values()}
        for name, lacking in small.items():
            if lacking:
                click.echo(f"warning: {name} cannot hold it: it takes about {' and '.join(lacking)}.")
        return 0
    lacking = shortages(board, found, dsp=dsp)
    core = found.on(board.core, dsp=dsp)
    if lacking:
        click.echo(f"does not fit: {board.name} ({board.title}): it takes about {' and '.join(lacking)}.")
        return 1
    left = (board.flash - found.flash(core), board.ram - found.ram(core))
    sure = left[0] >= core.code
    click.echo(
        f"{'fits' if sure else 'may fit'}: {board.name} ({board.title}) has about {left[0]:,} bytes of flash and {left[1]:,} "
        f"of RAM left{'' if sure else ', less than the code may be off by: build it'}."
    )
    return 0

"""``qleaky-export``: the command line. Imports of torch, ONNX and rich wait until a command needs them."""

from __future__ import annotations

import click

from qleaky._command_line import run_command
from qleaky._version import VERSION
from qleaky.cli._bundle import bundle
from qleaky.cli._c import c
from qleaky.cli._demo import demo
from qleaky.cli._onnx import onnx
from qleaky.cli._verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="qleaky-export")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Deploy leaky integrate-and-fire networks that compute the same integers everywhere.

    Exit codes: 0 done and proved; 1 something differs; 2 misuse or bad input; 3 measured without a difference, no proof.
    """


for command in (demo, onnx, bundle, c, verify):
    cli.add_command(command)


def main() -> None:
    """Entry point: errors become one sentence on stderr and an exit code."""
    run_command(
        cli,
        "qleaky-export",
        interrupted="Interrupted; nothing half-written was left behind.",
        no_memory="Not enough memory for this network; use fewer time steps or smaller layers.",
    )

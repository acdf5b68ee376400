"""What ``qleaky-export verify`` does with a folder of generated C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from qleaky.cli._terminal import stages
from qleaky.errors import ArtefactError, InputError

EXIT_CODES = {"differs": 1, "measured": 3}
_NOT_TAKEN = {
    "inputs": "--inputs",
    "sample": "--sample",
    "mutants": "--mutants",
    "json_path": "--json",
    "html_path": "--html",
    "report": "--report",
    "nonce": "--nonce",
}


def check_c(directory: str, network: str, wanted: Mapping[str, Any]) -> int:
    """Build, run and judge a folder on every target that was asked for; the exit code.

    Args:
        directory: the folder.
        network: its contract's file.
        wanted: the options of ``verify``.

    Raises:
        InputError: an option that is of other artefacts, or an unknown target.
        ArtefactError: no contract of integers, or not the folder's; what does not build; an output that is no check's.
        MissingDependencyError: no compiler or emulator.
    """
    if given := [option for name, option in _NOT_TAKEN.items() if wanted[name] is not None]:
        raise InputError(
            f"{', '.join(given)}: {directory} is a folder of C, whose golden vectors run as they are; leave these out. Inputs "
            f"of yours go in with `qleaky-export c --inputs`."
        )
    from qleaky.integer import IntegerNetwork, load_network
    from qleaky.verification.mcu.checking import Folder
    from qleaky.verification.mcu.machines import machine_of
    from qleaky.verification.mcu.toolchains import toolchain

    targets = dict.fromkeys(wanted["runtimes"] or ("host",))
    for target in targets:
        toolchain(machine_of(target))
    contract = load_network(network)
    if not isinstance(contract, IntegerNetwork):
        raise ArtefactError(f"{network} is a network of floats; C is generated from integers alone.")
    with stages(1 + len(targets)) as advance:
        advance("running the reference")
        folder = Folder.open(directory, contract)
        reports = []
        for target in targets:
            advance(f"building and running on {target}")
            reports.append(folder.check(target))
    for report in reports:
        click.echo(str(report))
    return EXIT_CODES["differs" if any(report.verdict == "differs" for report in reports) else "measured"]

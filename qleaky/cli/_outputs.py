"""Where a command may write: to files of their own, over nothing that it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from qleaky.errors import InputError

EXAMPLES = {"--json": "check.json", "--html": "check.html"}
Paths = Mapping[str, str | None]


def check_outputs(outputs: Paths, inputs: Paths) -> None:
    """Refuse outputs without a name, and those that would replace an input or one another.

    Args:
        outputs: paths by the options that name them, None where they were not given.
        inputs: what the command reads, likewise.

    Raises:
        InputError: naming both options.
    """
    taken = {os.path.realpath(path): what for what, path in inputs.items() if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.rpartition(os.sep)[2] in ("", os.curdir, os.pardir):
            raise InputError(f"{option} {path!r} is no name of a file; pass one, such as {EXAMPLES.get(option, 'model.onnx')}.")
        real = os.path.realpath(path)
        if real in taken and not _is_stream(real):
            raise InputError(f"{option} {path} is the file of {taken[real]} too, and would replace it; choose another name.")
        taken[real] = option


def file_of(model: str) -> str | None:
    """The file that a MODEL is in, of ``file.py:callable`` that before the colon; None of a reference model's name."""
    return next((path for path in (model, model.partition(":")[0]) if Path(path).is_file()), None)


def _is_stream(path: str) -> bool:
    """A device or a pipe, which is written to and not replaced."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()

"""From a finished check to the file that shows it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qleaky._files import read_file, write_atomically
from qleaky.errors import ArtefactError
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.report import html_report
from qleaky.verification.evidence import collect
from qleaky.verification.report import Report
from qleaky.verification.runtimes.registry import Choice

if TYPE_CHECKING:
    from torch import nn


def write_page(
    path: str | os.PathLike[str],
    report: Report,
    network: IntegerNetwork | FloatNetwork,
    *,
    artefact: str | os.PathLike[str],
    inputs: Any = None,
    runtime: Choice | Sequence[Choice] = "onnxruntime",
    module: nn.Module | None = None,
    adversarial: bool | None = None,
    sample: int | None = None,
) -> None:
    """Collect what the page of a check shows, and write the page.

    ``artefact`` and what follows it are as :func:`~qleaky.verification.verify` took them.

    Raises:
        ArtefactError: the artefact is gone, or no longer the one that was checked.
        InputError: inputs that are not those of the check.
        OutputError: the page cannot be written.
    """
    data = read_file(artefact, "ONNX file")
    if hashlib.sha256(data).hexdigest() != report.artefact_sha256:
        raise ArtefactError(f"{artefact} has changed since it was checked; check it again.")
    how: dict[str, Any] = {"module": module, "adversarial": adversarial, "sample": sample}
    evidence = collect(data, network, report, inputs=inputs, runtime=runtime, **how)
    write_atomically(path, html_report(report, network, evidence, Path(artefact).name).encode())

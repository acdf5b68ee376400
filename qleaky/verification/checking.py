"""``verify``: every spike and membrane of an artefact against the reference."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qleaky._files import read_file
from qleaky.errors import ArtefactError, InputError
from qleaky.export import twin
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.verification.compare import Comparison
from qleaky.verification.expected import Network, reference
from qleaky.verification.origin import artefact_reasons, check_origin
from qleaky.verification.report import VERDICTS, Report, verdict
from qleaky.verification.running import runs_of, sample_count

if TYPE_CHECKING:
    from torch import nn


def verify(
    artefact: str | os.PathLike[str],
    network: Network,
    inputs: Any = None,
    runtime: str = "onnxruntime",
    module: nn.Module | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Run an artefact and compare every spike and every membrane of every layer and step with the reference.

    The shipped bytes run unchanged (outputs and final membranes are compared), and so does a twin that differs by added
    outputs only, which is asserted. Both run with graph optimisation off and on, with 1 and 2 threads, at batch 64 on all
    samples and at batch 1 on the first 16.

    Args:
        artefact: the ONNX file.
        network: the contract it was exported from. A FloatNetwork's reference is ``module`` run by torch, or without one
            the golden vectors recorded when it was lowered.
        inputs: (T, B, ...) or (B, ...); None takes :func:`~qleaky.verification.golden.synthetic_inputs`, or golden ones.
        runtime: "onnxruntime".
        module: the torch network: its own evaluation is compared with the reference too. It must be the network that was
            lowered, which is checked by lowering it again.
        progress: called with a line of text before each run.

    Raises:
        ArtefactError: a file that is damaged, or was not exported from ``network``.
        InputError: inputs that the network cannot take, or an unknown runtime.
    """
    if not isinstance(network, IntegerNetwork | FloatNetwork):
        raise InputError(f"verify: network is a {type(network).__name__}; pass the contract from qleaky.lower or a load.")
    if runtime != "onnxruntime":
        raise InputError(f"runtime={runtime!r} is unknown. Choose 'onnxruntime'.")
    data = read_file(artefact, "ONNX file")
    model = twin.parse(data, str(artefact))
    check_origin(twin.metadata(model), network, str(artefact))
    codes, recording, torch_comparison, torch_reasons = reference(network, inputs, module)
    reasons = artefact_reasons(network, model, str(artefact))
    try:
        runs = tuple(runs_of(data, model, network, codes, recording, progress or (lambda _: None)))
    except (ValueError, TypeError, AttributeError) as error:  # a changed graph may give anything
        raise ArtefactError(f"{artefact} does not run as the contract does: {error} Export it again.") from error
    artefact_verdict = verdict(sum((r.comparison for r in runs), Comparison()), reasons)
    torch_verdict = None if torch_comparison is None else verdict(torch_comparison, torch_reasons)
    return Report(
        verdict=max(artefact_verdict, torch_verdict or "proved", key=VERDICTS.index),
        artefact_verdict=artefact_verdict,
        torch_verdict=torch_verdict,
        runs=runs,
        torch=torch_comparison,
        reasons=reasons + torch_reasons,
        contract_digest=network.digest,
        artefact_sha256=hashlib.sha256(data).hexdigest(),
        samples=sample_count(network, codes),
        bounds=network.proof.layers,
    )

"""``verify``: every spike and membrane of an artefact against the reference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import onnx

from qleaky._files import read_file
from qleaky.errors import ArtefactError, InputError, LoweringError
from qleaky.export import twin
from qleaky.export.artefact import Options, emit
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.verification.certificate import Run
from qleaky.verification.expected import Expected, Network, choose, reference
from qleaky.verification.history import STEPS, with_history
from qleaky.verification.report import Report, report_on
from qleaky.verification.running import runs_of

if TYPE_CHECKING:
    from torch import nn


def verify(
    artefact: str | os.PathLike[str],
    network: Network,
    inputs: Any = None,
    runtime: str = "onnxruntime",
    module: nn.Module | None = None,
    progress: Callable[[str], None] | None = None,
    *,
    adversarial: bool | None = None,
    sample: int | None = None,
) -> Report:
    """Run an artefact and compare every spike and every membrane of every layer and step with the reference.

    The shipped bytes run unchanged (outputs and final membranes are compared), and so does a twin that differs by added
    outputs only, which is asserted. Both run with graph optimisation off and on, with 1 and 2 threads, at batch 64 on all
    samples and at batch 1 on the first 16.

    Args:
        artefact: the ONNX file.
        network: the contract it was exported from. A FloatNetwork's reference is ``module`` run by torch, or without one
            the golden vectors recorded when it was lowered.
        inputs: (T, B, ...) or (B, ...); None takes :func:`~qleaky.verification.vectors.vectors`, or golden ones.
        runtime: "onnxruntime".
        module: the torch network: its own evaluation is compared with the reference too. It must be the network that was
            lowered, which is checked by lowering it again.
        progress: called with a line of text before each run.
        adversarial: whether an IntegerNetwork's adversarial vectors run too, behind ``inputs``; None: only without inputs.
        sample: run this one of the samples alone, counted from 0, and tell all steps of a neuron that diverges.

    Raises:
        ArtefactError: a file that is damaged, or was not exported from ``network``.
        InputError: inputs that the network cannot take, a sample that there is not, or an unknown runtime.
    """
    if not isinstance(network, IntegerNetwork | FloatNetwork):
        raise InputError(f"verify: network is a {type(network).__name__}; pass the contract from qleaky.lower or a load.")
    if runtime != "onnxruntime":
        raise InputError(f"runtime={runtime!r} is unknown. Choose 'onnxruntime'.")
    data = read_file(artefact, "ONNX file")
    model = twin.parse(data, str(artefact))
    _check_origin(twin.metadata(model), network, str(artefact))
    samples = choose(network, inputs, module, adversarial=adversarial, sample=sample)
    expected = reference(network, samples, module)
    artefact_reasons = _artefact_reasons(network, model, str(artefact))
    try:
        runs = tuple(runs_of(data, model, network, samples.codes, expected.recording, progress or (lambda _: None)))
    except (ValueError, TypeError, AttributeError) as error:  # a changed graph may give anything
        raise ArtefactError(f"{artefact} does not run as the contract does: {error} Export it again.") from error
    runs = with_history(runs, model, network, samples.codes, expected.recording, STEPS if sample is None else None)
    return report_on(data, model, network, expected, _numbered(runs, expected), artefact_reasons)


def _numbered(runs: Iterable[Run], expected: Expected) -> tuple[Run, ...]:
    """Divergences with the number that a sample has in the whole check, where it ran alone."""
    return tuple(
        run
        if run.comparison.first_divergence is None or not expected.samples.first
        else msgspec.structs.replace(
            run,
            comparison=msgspec.structs.replace(
                run.comparison,
                first_divergence=msgspec.structs.replace(run.comparison.first_divergence, sample=expected.samples.first),
            ),
        )
        for run in runs
    )


def _check_origin(metadata: dict[str, str], network: Network, where: str) -> None:
    if "qleaky.digest" not in metadata:
        raise ArtefactError(f"{where} was not exported by qleaky: it names no contract. Pass a file from export_onnx.")
    if metadata["qleaky.digest"] != network.digest:
        raise ArtefactError(
            f"{where} was exported from another network: it names contract {metadata['qleaky.digest'][:12]}, this one is "
            f"{network.digest[:12]}. Export it again, or pass the network it came from."
        )


def _artefact_reasons(network: Network, model: onnx.ModelProto, where: str) -> tuple[str, ...]:
    """Why it is no theorem that the file computes the contract: the theorem speaks of the graph that qleaky emits for it."""
    try:
        options = Options.of(twin.metadata(model))
    except InputError as error:
        raise ArtefactError(f"{where} cannot be checked: {error} Export it again, or update qleaky.") from error
    if isinstance(network, FloatNetwork):
        return network.reasons or ("a float network has no proof.",)
    if network.proof.artefact_reasons or _is_emitted(network, options, model):
        return network.proof.artefact_reasons
    return (
        "the file's graph, or what it says of itself, is not the one that this version of qleaky emits for the contract; "
        "export it again.",
    )


def _is_emitted(network: IntegerNetwork, options: Options, model: onnx.ModelProto) -> bool:
    """Whether qleaky writes this very model. Every step of an unrolled one has nodes: others are not written to find out."""
    if options.form == "unrolled" and len(model.graph.node) < network.num_steps:
        return False
    try:
        return twin.same_model(model, onnx.load_model_from_string(emit(network, options)))
    except LoweringError:  # a form that this network has not
        return False

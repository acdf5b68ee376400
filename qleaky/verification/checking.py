"""``verify``: every spike and membrane of an artefact against the reference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from qleaky._files import read_file
from qleaky.errors import InputError
from qleaky.export import twin
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.verification.certificate import Run
from qleaky.verification.differing import operations_of
from qleaky.verification.expected import Expected, Network, choose, reference
from qleaky.verification.history import STEPS, with_history
from qleaky.verification.origin import artefact_reasons, check_origin
from qleaky.verification.report import Report, report_on
from qleaky.verification.running import Check, Ran, runs_of
from qleaky.verification.runtimes.protocol import Runtime
from qleaky.verification.runtimes.registry import Choice, chosen, is_own

if TYPE_CHECKING:
    from torch import nn


def verify(
    artefact: str | os.PathLike[str],
    network: Network,
    inputs: Any = None,
    runtime: Choice | Sequence[Choice] = "onnxruntime",
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
        runtime: one or several of "onnxruntime", "onnxruntime:<execution provider>", "onnx-reference", "openvino", "tract",
            "onnxruntime-web", plug-ins' names and Runtime objects; "all" are those that are installed (docs/runtimes.md).
            One that does not run the artefact is an error, and of several is named in ``report.not_run``.
        module: the torch network: its own evaluation is compared with the reference too. It must be the network that was
            lowered, which is checked by lowering it again.
        progress: called with a line of text before each run.
        adversarial: whether an IntegerNetwork's adversarial vectors run too, behind ``inputs``; None: only without inputs.
        sample: run this one of the samples alone, counted from 0, and tell all steps of a neuron that diverges.

    Raises:
        ArtefactError: a file that is damaged, or was not exported from ``network``.
        InputError: inputs that the network cannot take, a sample that there is not, or an unknown runtime.
        MissingDependencyError: a runtime's package is not installed.
    """
    if not isinstance(network, IntegerNetwork | FloatNetwork):
        raise InputError(f"verify: network is a {type(network).__name__}; pass the contract from qleaky.lower or a load.")
    runtimes = chosen(runtime)
    data = read_file(artefact, "ONNX file")
    model = twin.parse(data, str(artefact))
    check_origin(twin.metadata(model), network, str(artefact))
    samples = choose(network, inputs, module, adversarial=adversarial, sample=sample)
    expected = reference(network, samples, module)
    reasons = artefact_reasons(network, model, str(artefact))
    check = Check(str(artefact), data, model, network, samples.codes, expected.recording)
    ran = runs_of(check, runtimes, progress or (lambda _: None))
    runs = with_history(ran.runs, check, runtimes, STEPS if sample is None else None)
    ran = ran._replace(runs=_numbered(runs, expected), operations=operations_of(check, runtimes, runs))
    return report_on(data, model, network, expected, ran, reasons + _runtime_reasons(runtimes, ran))


def _runtime_reasons(runtimes: Sequence[Runtime], ran: Ran) -> tuple[str, ...]:
    """The theorem speaks of operators as ONNX defines them: of some runtimes it is not known that they compute them so."""
    names = {run.runtime for run in ran.runs}
    return tuple(
        f"that runtime {each.name!r} computes every operator as ONNX defines it is measured, not known."
        for each in runtimes
        if each.name in names and not (each.exact and is_own(each))
    )


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

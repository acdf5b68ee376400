"""``verify``: every spike and membrane of an artefact against the reference."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from qleaky._files import read_file
from qleaky.errors import ArtefactError, InputError, LoweringError
from qleaky.export import twin
from qleaky.export.artefact import Options, emit, sequences
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.integer.graph import samples as pick
from qleaky.reference import Recording
from qleaky.reference.recording import read_out
from qleaky.verification.certificate import Run
from qleaky.verification.compare import Comparison, compare_outputs, compare_recordings
from qleaky.verification.expected import Codes, Network, reference
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.report import VERDICTS, Report, verdict
from qleaky.verification.runners import Runner

if TYPE_CHECKING:
    from torch import nn

BATCHES = (1, 64)
SINGLE_SAMPLES = 16


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
    _check_origin(twin.metadata(model), network, str(artefact))
    codes, recording, torch_comparison, torch_reasons = reference(network, inputs, module)
    artefact_reasons = _artefact_reasons(network, model, str(artefact))
    try:
        runs = tuple(_runs(data, model, network, codes, recording, progress or (lambda _: None)))
    except (ValueError, TypeError, AttributeError) as error:  # a changed graph may give anything
        raise ArtefactError(f"{artefact} does not run as the contract does: {error} Export it again.") from error
    artefact_verdict = verdict(sum((r.comparison for r in runs), Comparison()), artefact_reasons)
    torch_verdict = None if torch_comparison is None else verdict(torch_comparison, torch_reasons)
    return Report(
        verdict=max(artefact_verdict, torch_verdict or "proved", key=VERDICTS.index),
        artefact_verdict=artefact_verdict,
        torch_verdict=torch_verdict,
        runs=runs,
        torch=torch_comparison,
        reasons=artefact_reasons + torch_reasons,
        contract_digest=network.digest,
        artefact_sha256=hashlib.sha256(data).hexdigest(),
        samples=_samples(network, codes),
        bounds=network.proof.layers,
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


def _runs(
    data: bytes, model: Any, network: Network, codes: Codes, reference: Recording, progress: Callable[[str], None]
) -> Iterator[Run]:
    """The shipped bytes and the twin, at every setting."""
    for optimize in (False, True):
        for threads in (1, 2):
            shipped = Runner(data, optimize=optimize, threads=threads)
            probed = ProbedRunner(model, network, optimize=optimize, threads=threads)
            for batch in BATCHES:
                progress(f"onnxruntime, optimisation {'on' if optimize else 'off'}, {threads} thread(s), batch {batch}")
                comparison = sum(
                    (
                        _compare_batch(shipped, probed, network, codes, reference, picked)
                        for picked in _batches(_samples(network, codes), batch)
                    ),
                    Comparison(),
                )
                yield Run("onnxruntime", optimize, threads, batch, comparison)


def _samples(network: Network, codes: Codes) -> int:
    first = network.inputs[0]
    return int(codes[first.name].shape[1 if first.time == "sequence" else 0])


def _batches(samples: int, batch: int) -> Iterator[NDArray[np.intp]]:
    """Sample numbers of each batch: single samples, or all of them in full batches, the last filled up from the start."""
    if batch == 1:
        yield from (np.array([i]) for i in range(min(samples, SINGLE_SAMPLES)))
        return
    for start in range(0, samples, batch):
        yield np.arange(start, start + batch) % samples


def _compare_batch(
    shipped: Runner, probed: ProbedRunner, network: Network, codes: Codes, reference: Recording, picked: NDArray[np.intp]
) -> Comparison:
    x = pick(network.inputs, codes, picked)
    spikes, membranes, synapses = (
        {name: array[:, picked] for name, array in arrays.items()}
        for arrays in (reference.spikes, reference.membranes, reference.synapses)
    )
    outputs = read_out(network, spikes, membranes)
    outputs |= {f"{name}.final_mem": array[-1] for name, array in membranes.items()}
    outputs |= {f"{name}.final_syn": array[-1] for name, array in synapses.items()}
    states, found = probed.record(x)
    first = int(picked[0])
    compared = compare_recordings(Recording(spikes, membranes, {}, synapses), states, first)
    for got in (shipped.run(x), found):
        compared += compare_outputs(outputs, got, first, sequences(network))
    return compared

"""``verify``: every spike and membrane of an artefact against the reference."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from qleaky._files import read_file
from qleaky._version import VERSION
from qleaky.errors import ArtefactError, InputError
from qleaky.export import twin
from qleaky.export.artefact import Options, emit, sequences
from qleaky.integer import FloatNetwork, IntegerNetwork, LayerBounds
from qleaky.integer.graph import samples as pick
from qleaky.reference import Recording, run
from qleaky.reference.recording import read_out
from qleaky.verification.certificate import Certificate, Run
from qleaky.verification.compare import Comparison, Divergence, compare_outputs, compare_recordings, compare_states
from qleaky.verification.golden import synthetic_inputs
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.runners import Runner, versions

if TYPE_CHECKING:
    from torch import nn

Verdict = Literal["proved", "measured", "differs"]
VERDICTS: tuple[Verdict, ...] = ("proved", "measured", "differs")
Network = IntegerNetwork | FloatNetwork
Arrays = dict[str, NDArray[Any]]
Codes = Arrays
BATCHES = (1, 64)
SINGLE_SAMPLES = 16


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`verify` found: two statements, never mixed.

    ``artefact_verdict``: the artefact computes the contract. ``torch_verdict``: so does the torch network (None where no
    module was given). Each is "proved" (a theorem, and no difference in this run), "measured" (no theorem, no difference in
    this run) or "differs"; ``verdict`` is the weaker of the two. ``runs`` are the artefact's, ``torch`` is the comparison of
    the torch network's own evaluation.
    """

    verdict: Verdict
    artefact_verdict: Verdict
    torch_verdict: Verdict | None
    runs: tuple[Run, ...]
    torch: Comparison | None
    reasons: tuple[str, ...]
    contract_digest: str
    artefact_sha256: str
    samples: int
    bounds: tuple[LayerBounds, ...]

    def certificate(self) -> Certificate:
        """The report as a certificate, with the versions it was made by."""
        return Certificate(
            **{name: getattr(self, name) for name in self.__struct_fields__},
            versions={"qleaky": VERSION, "onnx": onnx.__version__, **versions()},
        )

    @property
    def total(self) -> Comparison:
        """All comparisons together."""
        return sum((r.comparison for r in self.runs), self.torch or Comparison())

    @property
    def exact(self) -> bool:
        """Bit-for-bit is a theorem for all that was compared, and no run contradicts it."""
        return self.verdict == "proved"

    @property
    def compared(self) -> int:
        """How many spikes, membranes and outputs were compared."""
        return self.total.compared

    @property
    def mismatches(self) -> int:
        """How many of them differ."""
        return self.total.mismatches

    @property
    def first_divergence(self) -> Divergence | None:
        """Where the first differing run first differs: layer, step, sample, element, expected, got."""
        return self.total.first_divergence


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
    codes, reference, torch_comparison, torch_reasons = _reference(network, inputs, module)
    artefact_reasons = _artefact_reasons(network, model, str(artefact))
    runs = tuple(_runs(data, model, network, codes, reference, progress or (lambda _: None)))
    artefact_verdict = _verdict(sum((r.comparison for r in runs), Comparison()), artefact_reasons)
    torch_verdict = None if torch_comparison is None else _verdict(torch_comparison, torch_reasons)
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


def _verdict(comparison: Comparison, reasons: tuple[str, ...]) -> Verdict:
    return "differs" if comparison.mismatches else "measured" if reasons else "proved"


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
    reasons = network.proof.artefact_reasons
    if not reasons and not twin.same_graph(model, twin.parse(emit(network, options), "the contract's graph")):
        reasons = ("the file's graph is not the one that this version of qleaky emits for the contract; export it again.",)
    return reasons


def _reference(
    network: Network, inputs: Any, module: nn.Module | None
) -> tuple[Codes, Recording, Comparison | None, tuple[str, ...]]:
    """Encoded inputs, what is expected of them, how torch's own evaluation compares, and why that is no theorem."""
    if isinstance(network, IntegerNetwork):
        codes = network.encode_all(synthetic_inputs(network) if inputs is None else inputs)
        recording = run(network, codes)
        return codes, recording, *_compare_module(module, network, codes, recording)
    golden = network.golden
    if module is not None:
        from qleaky.verification.torch_module import run_module

        values = network.encode_all(golden.inputs if inputs is None else inputs)
        recorded = run_module(module, network, values)
        return values, _recording(network, recorded.spikes, recorded.membranes), None, ()
    values = network.encode_all(golden.inputs)
    if inputs is not None:
        given = network.encode_all(inputs)
        if not all(np.array_equal(given[name], values[name]) for name in values):
            raise InputError(
                "A FloatNetwork has no reference of its own for other inputs than its golden ones; pass module=net."
            )
    return values, _recording(network, golden.spikes, golden.membranes), None, ()


def _compare_module(
    module: nn.Module | None, network: IntegerNetwork, codes: Codes, recording: Recording
) -> tuple[Comparison | None, tuple[str, ...]]:
    if module is None:
        return None, ()
    from qleaky.verification.torch_module import run_module

    found = run_module(module, network, codes)
    reasons = network.proof.training_reasons
    if not found.same_contract:
        reasons += ("the module does not lower to this contract: it was changed, or is another one; lower it again.",)
    return compare_states(recording.spikes, recording.membranes, found.spikes, found.membranes), reasons


def _recording(network: FloatNetwork, spikes: Arrays, membranes: Arrays) -> Recording:
    spikes = {name: array.astype(np.float32) for name, array in spikes.items()}
    membranes = {name: array.astype(np.float32) for name, array in membranes.items()}
    return Recording(spikes, membranes, read_out(network, spikes, membranes))


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

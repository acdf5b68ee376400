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
from qleaky.integer import FloatNetwork, IntegerNetwork, LayerBounds
from qleaky.reference import Recording, run
from qleaky.reference.recording import read_out
from qleaky.verification.certificate import Certificate, Run
from qleaky.verification.compare import Comparison, Divergence, compare_outputs, compare_states
from qleaky.verification.golden import synthetic_inputs
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.runners import Runner, versions

if TYPE_CHECKING:
    from torch import nn

Verdict = Literal["proved", "measured", "differs"]
Network = IntegerNetwork | FloatNetwork
BATCHES = (1, 64)
SINGLE_SAMPLES = 16


class Report(msgspec.Struct, frozen=True):
    """What :func:`verify` found.

    ``verdict`` is "proved" (a theorem, and no difference in this run), "measured" (no theorem, no difference in this run)
    or "differs". ``runs`` are the artefact's, ``torch`` is the torch network's own evaluation where one was given.
    """

    verdict: Verdict
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
        """Bit-for-bit is a theorem here, and no run contradicts it."""
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
        module: the torch network: its own evaluation is compared with the reference too.
        progress: called with a line of text before each run.

    Raises:
        ArtefactError: a file that is damaged, or was not exported from ``network``.
        InputError: inputs that the network cannot take, or an unknown runtime.
    """
    if runtime != "onnxruntime":
        raise InputError(f"runtime={runtime!r} is unknown. Choose 'onnxruntime'.")
    data = read_file(artefact, "ONNX file")
    model = twin.parse(data, str(artefact))
    _check_origin(twin.metadata(model), network, str(artefact))
    codes, reference, torch_comparison = _reference(network, inputs, module)
    runs = tuple(_runs(data, model, network, codes, reference, progress or (lambda _: None)))
    reasons = _reasons(network, module is not None)
    total = sum((r.comparison for r in runs), torch_comparison or Comparison())
    verdict: Verdict = "differs" if total.mismatches else "measured" if reasons else "proved"
    sha256 = hashlib.sha256(data).hexdigest()
    batch_axis = 1 if network.input.time == "sequence" else 0
    bounds = network.proof.layers if isinstance(network, IntegerNetwork) else ()
    return Report(verdict, runs, torch_comparison, reasons, network.digest, sha256, codes.shape[batch_axis], bounds)


def _check_origin(metadata: dict[str, str], network: Network, where: str) -> None:
    if "qleaky.digest" not in metadata:
        raise ArtefactError(f"{where} was not exported by qleaky: it names no contract. Pass a file from export_onnx.")
    if metadata["qleaky.digest"] != network.digest:
        raise ArtefactError(
            f"{where} was exported from another network: it names contract {metadata['qleaky.digest'][:12]}, this one is "
            f"{network.digest[:12]}. Export it again, or pass the network it came from."
        )


def _reasons(network: Network, with_module: bool) -> tuple[str, ...]:
    """Why the verdict is no theorem; empty where it is."""
    if isinstance(network, FloatNetwork):
        return network.reasons
    proof = network.proof
    return proof.reasons if with_module else proof.artefact_reasons


def _reference(network: Network, inputs: Any, module: nn.Module | None) -> tuple[NDArray[Any], Recording, Comparison | None]:
    """Encoded inputs, what is expected of them, and how torch's own evaluation compares with that."""
    if isinstance(network, IntegerNetwork):
        codes = network.encode(synthetic_inputs(network) if inputs is None else inputs)
        recording = run(network, codes)
        return codes, recording, None if module is None else _compare_module(module, network, codes, recording)
    golden = network.golden
    if module is not None:
        from qleaky.verification.torch_module import run_module

        values = network.encode(golden.inputs if inputs is None else inputs)
        return values, _recording(network, *run_module(module, network, values)), None
    if inputs is not None and not np.array_equal(network.encode(inputs), golden.inputs):
        raise InputError("A FloatNetwork has no reference of its own for other inputs than its golden ones; pass module=net.")
    return network.encode(golden.inputs), _recording(network, golden.spikes, golden.membranes), None


def _compare_module(module: nn.Module, network: IntegerNetwork, codes: NDArray[Any], recording: Recording) -> Comparison:
    from qleaky.verification.torch_module import run_module

    return compare_states(recording.spikes, recording.membranes, *run_module(module, network, codes))


def _recording(network: FloatNetwork, spikes: dict[str, NDArray[Any]], membranes: dict[str, NDArray[Any]]) -> Recording:
    spikes = {name: array.astype(np.float32) for name, array in spikes.items()}
    membranes = {name: array.astype(np.float32) for name, array in membranes.items()}
    last = network.readout.layer
    return Recording(spikes, membranes, read_out(network.readout, spikes[last], membranes[last]))


def _runs(
    data: bytes, model: Any, network: Network, codes: NDArray[Any], reference: Recording, progress: Callable[[str], None]
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
                        for picked in _batches(network, codes, batch)
                    ),
                    Comparison(),
                )
                yield Run("onnxruntime", optimize, threads, batch, comparison)


def _batches(network: Network, codes: NDArray[Any], batch: int) -> Iterator[NDArray[np.intp]]:
    """Sample numbers of each batch: single samples, or all of them in full batches, the last filled up from the start."""
    samples = codes.shape[1 if network.input.time == "sequence" else 0]
    if batch == 1:
        yield from (np.array([i]) for i in range(min(samples, SINGLE_SAMPLES)))
        return
    for start in range(0, samples, batch):
        yield np.arange(start, start + batch) % samples


def _compare_batch(
    shipped: Runner, probed: ProbedRunner, network: Network, codes: NDArray[Any], reference: Recording, picked: NDArray[np.intp]
) -> Comparison:
    x = codes[:, picked] if network.input.time == "sequence" else codes[picked]
    expected = Recording(
        {name: array[:, picked] for name, array in reference.spikes.items()},
        {name: array[:, picked] for name, array in reference.membranes.items()},
        {},
    )
    last = network.readout.layer
    outputs = read_out(network.readout, expected.spikes[last], expected.membranes[last])
    outputs |= {f"{name}.final_mem": array[-1] for name, array in expected.membranes.items()}
    spikes, membranes, found = probed.record(x)
    states = compare_states(expected.spikes, expected.membranes, spikes, membranes, int(picked[0]))
    first = int(picked[0])
    shipped_outputs = compare_outputs(outputs, shipped.run(x), first)
    return states + shipped_outputs + compare_outputs(outputs, found, first)

"""What a report shows beside its verdict: a sample and its neurons, as the reference, the runtime and torch computed them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.export import twin
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.integer.graph import samples as pick
from qleaky.reference.recording import Recording
from qleaky.verification.certificate import Run
from qleaky.verification.digests import vectors_digest
from qleaky.verification.divergence import Divergence
from qleaky.verification.expected import Samples, choose, reference
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.report import Report
from qleaky.verification.running import loaded
from qleaky.verification.runtimes.protocol import Setting
from qleaky.verification.runtimes.registry import Choice, chosen

if TYPE_CHECKING:
    from torch import nn

Network = IntegerNetwork | FloatNetwork
Array = NDArray[Any]
REFERENCE, TORCH = "reference", "torch"
TYPICAL = ("given", "random")


@dataclass(frozen=True, eq=False)
class Neuron:
    """A neuron worth looking at, and why."""

    layer: str
    element: tuple[int, ...]
    why: str


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample in every run: its number in the check, its codes by input, (T, ...) or (...), and recordings (T, 1, ...).

    The runs' labels are in order; what the first computed is what is expected.
    """

    index: int
    codes: dict[str, Array]
    runs: dict[str, Recording]
    neurons: tuple[Neuron, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is shown beside a verdict.

    ``carried`` names the type in which the file says that it computes each layer; ``got_by`` is the run that the first
    divergence is of, or None.
    """

    carried: dict[str, str]
    samples: tuple[Sample, ...]
    got_by: str | None


def collect(
    model: bytes,
    network: Network,
    report: Report,
    *,
    inputs: Any = None,
    runtime: Choice | Sequence[Choice] = "onnxruntime",
    module: nn.Module | None = None,
    adversarial: bool | None = None,
    sample: int | None = None,
) -> Evidence:
    """Run the reference on the inputs of a check, and one sample of them in the runtime and in torch.

    That is the sample of the first divergence, run as in the run that diverged; where nothing differs, that of the given inputs
    (or of the random vectors) which has the median number of spikes. Activity is counted over the given inputs, where there are
    some, else over all vectors.

    Args:
        model: the bytes of the artefact.
        network: the contract.
        report: what :func:`~qleaky.verification.verify` said of them.
        inputs: as ``verify`` took them, as the four below.
        runtime: what it ran in.
        module: the torch network, if its own evaluation is to be shown too.
        adversarial: whether adversarial vectors ran behind the inputs.
        sample: the one that ran alone.

    Raises:
        ArtefactError: a file that does not hold the network.
        InputError: inputs that are not those of the check.
    """
    parsed = twin.parse(model, "the model")
    samples = choose(network, inputs, module, adversarial=adversarial, sample=sample)
    _check_samples(network, samples, report)
    recording = reference(network, samples, module if isinstance(network, FloatNetwork) else None).recording
    divergence, got_by = _diverged(report)
    place = _chosen(samples, recording, divergence)
    run = next((each for each in report.runs if each.comparison.first_divergence is not None), report.runs[-1])
    got = _runner(parsed, network, run, runtime).record(pick(network.inputs, samples.codes, np.array([place])))[0]
    runs = _runs(network, {label(run.runtime): got}, samples, recording, place=place, module=module)
    shown = Sample(samples.first + place, _codes(network, samples, place), runs, tuple(_neurons(runs, divergence)))
    return Evidence(
        carried=_carried(parsed),
        samples=(shown,),
        got_by=got_by,
    )


def _check_samples(network: Network, samples: Samples, report: Report) -> None:
    """Refuse other samples than those of the check: the page would speak of something else than its verdict does."""
    found = [
        vectors_digest(pick(network.inputs, samples.codes, np.arange(group.first, group.first + group.count)))
        for group in samples.groups
    ]
    if found != [group.sha256 for group in report.vectors]:
        raise InputError(
            "these inputs are not those of the check: their digests differ. Pass inputs, adversarial and sample as verify took "
            "them."
        )


def _diverged(report: Report) -> tuple[Divergence | None, str | None]:
    """The first divergence, and which run had it."""
    for run in report.runs:
        if (found := run.comparison.first_divergence) is not None:
            return found, label(run.runtime)
    if report.torch is not None and report.torch.first_divergence is not None:
        return report.torch.first_divergence, TORCH
    return None, None


def label(runtime: str) -> str:
    """What a runtime is called on the page."""
    return "ONNX Runtime" if runtime == "onnxruntime" else runtime


def _runner(model: Any, network: Network, run: Run, runtime: Choice | Sequence[Choice]) -> ProbedRunner:
    """The artefact in the runtime and at the settings of a run."""
    found = next((each for each in chosen(runtime) if each.name == run.runtime), None)
    if found is None:
        raise InputError(
            f"the check ran in {run.runtime!r}, which is not among the runtimes given. Pass runtime as verify took it."
        )
    return ProbedRunner(model, network, functools.partial(loaded, found, Setting(run.optimized, run.threads)))


def _chosen(samples: Samples, recording: Recording, divergence: Divergence | None) -> int:
    """The place of the sample that is shown."""
    spikes = sum(np.count_nonzero(array, axis=(0, *range(2, array.ndim))) for array in recording.spikes.values())
    counts = np.asarray(spikes)
    if divergence is not None:
        return (divergence.sample - samples.first) % len(counts)  # a batch that is not full is filled up from the start
    groups = {group.name: np.arange(group.first, group.first + group.count) for group in samples.groups}
    places = next((groups[name] for name in TYPICAL if name in groups), np.arange(len(counts)))
    return int(places[np.argsort(counts[places], kind="stable")[len(places) // 2]])


def _codes(network: Network, samples: Samples, place: int) -> dict[str, Array]:
    picked = pick(network.inputs, samples.codes, np.array([place]))
    return {s.name: picked[s.name][:, 0] if s.time == "sequence" else picked[s.name][0] for s in network.inputs}


def _runs(
    network: Network,
    got: dict[str, Recording],
    samples: Samples,
    recording: Recording,
    *,
    place: int,
    module: nn.Module | None,
) -> dict[str, Recording]:
    picked = pick(network.inputs, samples.codes, np.array([place]))
    floats = isinstance(network, FloatNetwork)
    runs = {TORCH if floats else REFERENCE: recording.part(slice(place, place + 1)), **got}
    if module is not None and not floats:
        from qleaky.verification.torch_module import run_module

        found = run_module(module, network, picked)
        runs[TORCH] = Recording(found.spikes, found.membranes, {})
    return runs


def _neurons(runs: dict[str, Recording], divergence: Divergence | None) -> Iterator[Neuron]:
    """Of each layer the neuron of the divergence, the most active, and of the silent ones that with the highest membrane."""
    expected = next(iter(runs.values()))
    for layer, spikes in expected.spikes.items():
        shape = spikes.shape[2:]
        counts = np.count_nonzero(spikes[:, 0], axis=0).reshape(-1)
        peaks = expected.membranes[layer][:, 0].max(axis=0).reshape(-1)
        chosen: dict[int, str] = {}
        if divergence is not None and divergence.layer == layer and divergence.kind != "out":
            chosen[int(np.ravel_multi_index(divergence.element, shape))] = "where the first difference is"
        if counts.any():
            chosen.setdefault(int(counts.argmax()), "the most active")
        if not counts.all():
            quiet = np.flatnonzero(counts == 0)
            chosen.setdefault(int(quiet[peaks[quiet].argmax()]), "silent, and of these with the highest membrane")
        for flat, why in chosen.items():
            yield Neuron(layer, tuple(int(i) for i in np.unravel_index(flat, shape)), why)


def _carried(model: Any) -> dict[str, str]:
    try:
        return msgspec.json.decode(twin.metadata(model).get("qleaky.carried", "{}"), type=dict[str, str])
    except msgspec.MsgspecError:
        return {}

"""What a report shows: chosen samples and neurons, as the reference, the runtime and torch computed them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky.export import twin
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.integer.graph import samples as pick
from qleaky.reference.recording import Recording
from qleaky.verification.activity import Activity, activity
from qleaky.verification.compare import Divergence
from qleaky.verification.emissions import Emissions
from qleaky.verification.expected import reference
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.report import Report

if TYPE_CHECKING:
    from torch import nn

Network = IntegerNetwork | FloatNetwork
Array = NDArray[Any]
LAST_STEPS = 12
REFERENCE, RUNTIME, TORCH = "reference", "ONNX Runtime", "torch"


@dataclass(frozen=True, eq=False)
class Neuron:
    """A neuron worth looking at, and why."""

    layer: str
    element: tuple[int, ...]
    why: str


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample in every run: its codes by input, (T, ...) or (...), and recordings (T, 1, ...) by label, expected first."""

    index: int
    codes: dict[str, Array]
    runs: dict[str, Recording]
    neurons: tuple[Neuron, ...]


@dataclass(frozen=True, eq=False)
class LastSteps:
    """The neuron of a first divergence over its last steps, all arrays (steps,); ``current`` and synaptic ones may be None.

    ``got_by`` says which run diverged; ``seen_again``, that running the sample once more gave the number that was found.
    """

    divergence: Divergence
    got_by: str
    first_step: int
    theta: float | None
    current: Array | None
    expected: dict[str, Array]
    got: dict[str, Array]
    seen_again: bool


@dataclass(frozen=True, eq=False)
class Artefact:
    """What the file says of itself."""

    form: str
    carrier: str
    carried: dict[str, str]
    bytes: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is shown beside a verdict."""

    artefact: Artefact
    activity: Activity
    samples: tuple[Sample, ...]
    last_steps: LastSteps | None


def collect(
    model: bytes, network: Network, report: Report, *, inputs: Any = None, module: nn.Module | None = None, most: int = 1
) -> Evidence:
    """Run the reference on the inputs of a check, and a few samples of them in the runtime and in torch.

    The sample of the first divergence is chosen; where nothing differs, ``most`` samples around the one with the median number
    of spikes. The runtime runs as in the run that diverged.

    Args:
        model: the bytes of the artefact.
        network: the contract.
        report: what :func:`~qleaky.verification.verify` said of them.
        inputs: as ``verify`` took them.
        module: the torch network, if its own evaluation is to be shown too.
        most: how many samples.

    Raises:
        ArtefactError: a file that does not hold the network.
        InputError: inputs that the network cannot take.
    """
    parsed = twin.parse(model, "the model")
    codes, recording, _, _ = reference(network, inputs, module if isinstance(network, FloatNetwork) else None)
    divergence, got_by, settings = _diverged(report)
    runner = ProbedRunner(parsed, network, **settings)
    samples = tuple(
        _sample(network, runner, codes, recording, index=index, module=module, divergence=divergence)
        for index in _chosen(recording, divergence, most)
    )
    return Evidence(
        artefact=_artefact(parsed, len(model)),
        activity=activity(network, recording, codes, len(model)),
        samples=samples,
        last_steps=None if divergence is None else _last_steps(network, samples[0], divergence, got_by),
    )


def _diverged(report: Report) -> tuple[Divergence | None, str, dict[str, Any]]:
    """The first divergence, which run had it, and the settings of that run."""
    for run in report.runs:
        if (found := run.comparison.first_divergence) is not None:
            return found, RUNTIME, {"optimize": run.optimized, "threads": run.threads}
    if report.torch is not None and report.torch.first_divergence is not None:
        return report.torch.first_divergence, TORCH, {}
    return None, "", {}


def _chosen(recording: Recording, divergence: Divergence | None, most: int) -> list[int]:
    spikes = sum(np.count_nonzero(array, axis=(0, *range(2, array.ndim))) for array in recording.spikes.values())
    counts = np.asarray(spikes)
    if divergence is not None:
        return [divergence.sample % len(counts)]  # a batch that is not full is filled up from the start
    order = np.argsort(counts, kind="stable")
    first = max(len(order) // 2 - most // 2, 0)
    return [int(index) for index in order[first : first + most]]


def _sample(
    network: Network,
    runner: ProbedRunner,
    codes: dict[str, Array],
    recording: Recording,
    *,
    index: int,
    module: nn.Module | None,
    divergence: Divergence | None,
) -> Sample:
    picked = pick(network.inputs, codes, np.array([index]))
    expected = _one(recording, index)
    runs = {TORCH if isinstance(network, FloatNetwork) else REFERENCE: expected, RUNTIME: runner.record(picked)[0]}
    if module is not None and isinstance(network, IntegerNetwork):
        from qleaky.verification.torch_module import run_module

        found = run_module(module, network, picked)
        runs[TORCH] = Recording(found.spikes, found.membranes, {})
    moving = {source.name for source in network.inputs if source.time == "sequence"}
    inputs = {name: array[:, 0] if name in moving else array[0] for name, array in picked.items()}
    return Sample(index, inputs, runs, tuple(_neurons(expected, divergence)))


def _one(recording: Recording, index: int) -> Recording:
    spikes, membranes, synapses = (
        {name: array[:, index : index + 1] for name, array in arrays.items()}
        for arrays in (recording.spikes, recording.membranes, recording.synapses)
    )
    return Recording(spikes, membranes, {}, synapses)


def _neurons(recording: Recording, divergence: Divergence | None) -> Iterator[Neuron]:
    """Of each layer the neuron of the divergence, the most active, and of the silent ones that with the highest membrane."""
    for layer, spikes in recording.spikes.items():
        shape = spikes.shape[2:]
        counts = np.count_nonzero(spikes[:, 0], axis=0).reshape(-1)
        peaks = recording.membranes[layer][:, 0].max(axis=0).reshape(-1)
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


def _last_steps(network: Network, sample: Sample, divergence: Divergence, got_by: str) -> LastSteps | None:
    """None where outputs differ, and no state does."""
    if divergence.kind == "out":
        return None
    layer, end = divergence.layer, divergence.step + 1
    first = max(end - LAST_STEPS, 0)
    runs = list(sample.runs.values())
    place: tuple[Any, ...] = (slice(first, end), 0, *divergence.element)
    expected, got = (
        {kind: states[layer][place] for kind, states in _kinds(run) if layer in states}
        for run in (runs[0], sample.runs[got_by])
    )
    lif = next(lif for lif in network.lif_layers if lif.name == layer)
    theta = np.broadcast_to(lif.theta, runs[0].spikes[layer].shape[2:])[divergence.element]
    found = got[divergence.kind][-1] if divergence.kind in got else None
    return LastSteps(
        divergence=divergence,
        got_by=got_by,
        first_step=first,
        theta=float(theta),
        current=_current(network, sample, lif.input, divergence)[first:] if isinstance(network, IntegerNetwork) else None,
        expected=expected,
        got=got,
        seen_again=found is not None and _same(float(found), divergence.got),
    )


def _kinds(run: Recording) -> tuple[tuple[str, dict[str, Array]], ...]:
    return ("syn", run.synapses), ("mem", run.membranes), ("spk", run.spikes)


def _same(number: float, told: float | str) -> bool:
    return str(number) == told if isinstance(told, str) else number == told


def _current(network: IntegerNetwork, sample: Sample, source: str, divergence: Divergence) -> Array:
    """What came into the neuron at every step up to the divergence, on the grid of its input's signal."""
    moving = {each.name for each in network.inputs if each.time == "sequence"}
    codes = {name: array[:, None] if name in moving else array[None] for name, array in sample.codes.items()}
    expected = next(iter(sample.runs.values()))
    shape = expected.spikes[divergence.layer].shape[2:]
    found, value = [], np.zeros((1, *shape))
    for step, values in Emissions(network, expected, codes, {source}):
        value = values.get(source, value)
        found.append(np.broadcast_to(value[0], shape)[divergence.element])
        if step == divergence.step:
            break
    return np.array(found)


def _artefact(model: Any, size: int) -> Artefact:
    metadata = twin.metadata(model)
    try:
        carried = msgspec.json.decode(metadata.get("qleaky.carried", "{}"), type=dict[str, str])
    except msgspec.MsgspecError:
        carried = {}
    return Artefact(metadata.get("qleaky.form", "unknown"), metadata.get("qleaky.carrier", "float"), carried, size)

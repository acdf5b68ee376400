"""Running an artefact in every way that a check asks for, and comparing each run with the reference."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from qleaky.errors import ArtefactError
from qleaky.export import twin
from qleaky.export.artefact import sequences
from qleaky.integer.graph import samples as pick
from qleaky.reference import Recording
from qleaky.reference.recording import read_out
from qleaky.verification.certificate import NotRun, Run
from qleaky.verification.compare import Comparison, compare_outputs, compare_recordings
from qleaky.verification.expected import Codes, Network, sample_count
from qleaky.verification.operation import Operation
from qleaky.verification.probing import ProbedRunner, WholeRunner
from qleaky.verification.runtimes.ort import OnnxRuntime
from qleaky.verification.runtimes.protocol import Runtime, Setting
from qleaky.verification.runtimes.sequences import SequenceRunner

BATCHES = (1, 64)
SINGLE_SAMPLES = 16


class Ran(NamedTuple):
    """Runs, runtimes that did not run or not at all settings, and the operations by which some differ."""

    runs: tuple[Run, ...]
    not_run: tuple[NotRun, ...]
    versions: dict[str, str]
    operations: tuple[Operation, ...] = ()


class Check(NamedTuple):
    """What is run: the shipped bytes and the model in them, on encoded inputs; and what must come out."""

    where: str
    data: bytes
    model: onnx.ModelProto
    network: Network
    codes: Codes
    reference: Recording


def runs_of(check: Check, runtimes: Sequence[Runtime], progress: Callable[[str], None]) -> Ran:
    """The runs of all runtimes, and those that did not run, or not at all settings.

    Raises:
        ArtefactError: the only runtime did not run, or none of several. What differs in a setting before another fails stands.
    """
    runs: list[Run] = []
    failed: list[NotRun] = []
    for runtime in runtimes:
        try:
            before = len(runs)
            runs.extend(_runs_in(runtime, check, progress))
            if sum(run.comparison.compared for run in runs[before:]) == 0:
                raise ArtefactError("it has no settings to run with, so nothing was compared.")
        except MemoryError:
            raise
        except Exception as error:  # a changed graph may give anything, and each runtime has errors of its own
            if len(runtimes) == 1 and not any(run.comparison.mismatches for run in runs):
                raise _failure(check.where, runtime, error) from error
            failed.append(NotRun(runtime.name, _sentence(error)))
    if not runs:
        reasons = " ".join(f"{each.runtime}: {each.reason}" for each in failed)
        raise ArtefactError(f"{check.where} runs in none of {len(runtimes)} runtimes. {reasons}")
    versions = {name: version for runtime in runtimes for name, version in runtime.versions().items()}
    return Ran(tuple(runs), tuple(failed), versions)


def _failure(where: str, runtime: Runtime, error: Exception) -> ArtefactError:
    if not isinstance(runtime, OnnxRuntime):
        return ArtefactError(f"{where} has no verdict in runtime {runtime.name!r}: {_sentence(error)} Choose another runtime.")
    if isinstance(error, ArtefactError):
        return error
    return ArtefactError(f"{where} does not run as the contract does: {_sentence(error)} Export it again.")


def count_runs(runtimes: Sequence[Runtime]) -> int:
    """How many runs :func:`runs_of` makes of the artefact."""
    return sum(len(runtime.settings) * len(BATCHES) for runtime in runtimes)


def _runs_in(runtime: Runtime, check: Check, progress: Callable[[str], None]) -> Iterator[Run]:
    """The shipped bytes and the twin, at every setting."""
    form = twin.metadata(check.model).get("qleaky.form", "")
    if form not in runtime.forms:
        raise ArtefactError(f"it runs the form{'s' * (len(runtime.forms) > 1)} {', '.join(runtime.forms)}, and this is {form}.")
    for setting in runtime.settings:
        shipped = loaded(runtime, setting, check.data)
        probed = ProbedRunner(check.model, check.network, functools.partial(loaded, runtime, setting))
        for batch in BATCHES:
            progress(f"{runtime.name}, {setting}, batch {batch}")
            comparison = Comparison()
            for picked in batches(sample_count(check.network, check.codes), batch):
                comparison += _compare_batch(shipped, probed, check, picked)
            assigned = getattr(shipped, "assigned", None)
            _check_assigned(runtime, assigned)
            yield Run(runtime.name, setting.optimize, setting.threads, batch, comparison, assigned)


def loaded(runtime: Runtime, setting: Setting, data: bytes) -> WholeRunner:
    """What runs whole sequences of a model in a runtime."""
    if isinstance(runtime, OnnxRuntime):
        return runtime.runner(data, setting)
    return SequenceRunner(onnx.load_model_from_string(data), runtime.load(data, setting))


def _check_assigned(runtime: Runtime, assigned: dict[str, int] | None) -> None:
    """A provider that computed nothing has no verdict."""
    provider = getattr(runtime, "provider", None)
    if assigned is not None and provider is not None and not assigned.get(provider):
        ran = ", ".join(f"{count} by {name}" for name, count in assigned.items()) or "none by any"
        raise ArtefactError(f"none of the graph's nodes was computed by {provider} ({ran}).")


def batches(samples: int, batch: int) -> Iterator[NDArray[np.intp]]:
    """Sample numbers of each batch: single samples, or all of them in full batches, the last filled up from the start."""
    if batch == 1:
        yield from (np.array([i]) for i in range(min(samples, SINGLE_SAMPLES)))
        return
    for start in range(0, samples, batch):
        yield np.arange(start, start + batch) % samples


def _compare_batch(shipped: WholeRunner, probed: ProbedRunner, check: Check, picked: NDArray[np.intp]) -> Comparison:
    x = pick(check.network.inputs, check.codes, picked)
    spikes, membranes, synapses = (
        {name: array[:, picked] for name, array in arrays.items()}
        for arrays in (check.reference.spikes, check.reference.membranes, check.reference.synapses)
    )
    outputs = read_out(check.network, spikes, membranes)
    outputs |= {f"{name}.final_mem": array[-1] for name, array in membranes.items()}
    outputs |= {f"{name}.final_syn": array[-1] for name, array in synapses.items()}
    states, found = probed.record(x)
    first = int(picked[0])
    compared = compare_recordings(Recording(spikes, membranes, {}, synapses), states, first)
    for got in (shipped.run(x), found):
        compared += compare_outputs(outputs, got, first, sequences(check.network))
    return compared


def _sentence(error: BaseException) -> str:
    """The first line of an error, with a full stop."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    line = "".join(c if c.isprintable() else "?" for c in line)[:400]
    return line if line.endswith((".", "!", "?")) else f"{line}."

"""What led to a divergence: the last steps of that neuron, as the reference has them and as the artefact does."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky.integer import IntegerNetwork
from qleaky.integer.graph import samples as pick
from qleaky.reference import Recording, Stepper
from qleaky.verification.certificate import Run
from qleaky.verification.compare import Comparison
from qleaky.verification.divergence import Divergence, HistoryStep, Number, Term, worded
from qleaky.verification.expected import Codes, Network, sample_count
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.running import Check, loaded
from qleaky.verification.runtimes.protocol import Runtime, Setting
from qleaky.verification.vectors.influence import addends

STEPS = 8
TERMS = 8
Element = tuple[int, ...]


def with_history(runs: Sequence[Run], check: Check, runtimes: Sequence[Runtime], most: int | None = STEPS) -> tuple[Run, ...]:
    """The runs, with the story of the first divergence of a state: its sample runs once more, through the probe twin.

    Args:
        runs: what was compared.
        check: the artefact, its contract, the inputs of the runs, and what was expected of them.
        runtimes: that they ran in.
        most: how many steps to tell; None tells all from the first.
    """
    for place, run in enumerate(runs):
        found = run.comparison.first_divergence
        if found is not None and found.kind != "out":
            got = _repeated(run, check, runtimes, found.sample)
            told = tell(found, check.network, check.codes, check.reference, got=got, most=most)
            comparison = msgspec.structs.replace(run.comparison, first_divergence=told)
            return (*runs[:place], msgspec.structs.replace(run, comparison=comparison), *runs[place + 1 :])
    return tuple(runs)


def tell(
    found: Divergence,
    network: Network,
    codes: Codes,
    recording: Recording,
    *,
    got: Recording | None,
    got_sample: int = 0,
    most: int | None = STEPS,
) -> Divergence:
    """A divergence of a state with its history; ``got_sample`` is the number that its sample has in ``got``."""
    sample = found.sample % _samples(recording)
    steps = range(0 if most is None else max(0, found.step + 1 - most), found.step + 1)
    currents, terms, left = _received(network, codes, sample, found)
    history = []
    for step in steps:
        numbers: dict[str, Number] = {"current": currents.get(step)}
        for kind, name in (("synapses", "synapse"), ("membranes", "membrane"), ("spikes", "spike")):
            numbers[f"{name}_expected"] = _number(getattr(recording, kind), found.layer, (step, sample, *found.element))
            if got is not None:
                numbers[f"{name}_found"] = _number(getattr(got, kind), found.layer, (step, got_sample, *found.element))
        history.append(HistoryStep(step=step, **numbers))
    return msgspec.structs.replace(found, sample=sample, history=tuple(history), terms=terms, terms_left=left)


def told(comparison: Comparison, network: Network, codes: Codes, recording: Recording, got: Recording) -> Comparison:
    """A comparison of whole recordings, with the history of its first divergence."""
    found = comparison.first_divergence
    if found is None or found.kind == "out":
        return comparison
    story = tell(found, network, codes, recording, got=got, got_sample=found.sample)
    return msgspec.structs.replace(comparison, first_divergence=story)


def _repeated(run: Run, check: Check, runtimes: Sequence[Runtime], sample: int) -> Recording | None:
    """What the artefact makes of one sample, in the runtime and at the settings of a run; None where that cannot be had."""
    runtime = next((each for each in runtimes if each.name == run.runtime), None)
    if runtime is None:
        return None
    picked = np.full(run.batch, sample % sample_count(check.network, check.codes))
    load = functools.partial(loaded, runtime, Setting(run.optimized, run.threads))
    try:
        runner = ProbedRunner(check.model, check.network, load)
        return runner.record(pick(check.network.inputs, check.codes, picked))[0]
    except Exception:  # it ran before, in whatever runtime; what it does now is told no story
        return None


def _received(network: Network, codes: Codes, sample: int, found: Divergence) -> tuple[dict[int, int], tuple[Term, ...], int]:
    """The neuron's current at every step up to the divergence, and of what that of the last step is the sum."""
    if not isinstance(network, IntegerNetwork):
        return {}, (), 0
    layer = next(lif for lif in network.lif_layers if lif.name == found.layer)
    stepper, currents = Stepper(network), dict[int, int]()
    one = pick(network.inputs, codes, np.array([sample]))
    static = {source.name for source in network.inputs if source.time == "static"}
    still = stepper.still(stepper.integers({name: array for name, array in one.items() if name in static}))
    states, values = stepper.start(1), dict[str, NDArray[Any]]()
    for t in range(found.step + 1):
        moving = stepper.integers({name: array[t] for name, array in one.items() if name not in static})
        states, values = stepper.step(states, still | moving)
        currents[t] = int(values[layer.input][(0, *found.element)])
    terms = _terms(network, layer.input, found.element, values)
    return currents, terms[:TERMS], len(terms[TERMS:])


def _terms(network: IntegerNetwork, target: str, element: Element, values: Mapping[str, NDArray[Any]]) -> tuple[Term, ...]:
    """The addends of one sum that are not zero, the largest first."""
    wanted = np.zeros((1, *network.signals[target].shape), np.int64)
    wanted[(0, *element)] = 1
    terms = []
    for source, weights in addends(network, target, wanted).items():
        numbers = values[source][0]
        for place in np.argwhere((weights[0] != 0) & (numbers != 0)):
            at = tuple(int(i) for i in place)
            terms.append(Term(source=source, element=at, value=int(numbers[at]), weight=int(weights[0][at])))
    return tuple(sorted(terms, key=lambda term: -abs(term.value * term.weight)))


def _number(arrays: Mapping[str, NDArray[Any]], layer: str, place: Element) -> Number:
    """One number of a recording; None where it has none there."""
    array = arrays.get(layer)
    if array is None or len(place) != array.ndim or any(i >= size for i, size in zip(place, array.shape, strict=True)):
        return None
    value = array[place]
    return int(value) if array.dtype.kind in "biu" or float(value).is_integer() else worded(float(value))


def _samples(recording: Recording) -> int:
    return int(next(iter(recording.membranes.values())).shape[1])

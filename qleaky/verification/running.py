"""Running an artefact in every way that a check asks for, and comparing each run with the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.export.artefact import sequences
from qleaky.integer.graph import samples as pick
from qleaky.reference import Recording
from qleaky.reference.recording import read_out
from qleaky.verification.certificate import Run
from qleaky.verification.compare import Comparison, compare_outputs, compare_recordings
from qleaky.verification.expected import Codes, Network
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.runners import Runner

BATCHES = (1, 64)
SINGLE_SAMPLES = 16


def runs_of(
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
                        for picked in _batches(sample_count(network, codes), batch)
                    ),
                    Comparison(),
                )
                yield Run("onnxruntime", optimize, threads, batch, comparison)


def sample_count(network: Network, codes: Codes) -> int:
    """How many samples the inputs hold."""
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

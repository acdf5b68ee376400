"""The operations by which runtimes differ in a check."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qleaky.integer import FloatNetwork
from qleaky.integer.graph import samples as pick
from qleaky.verification.certificate import Run
from qleaky.verification.expected import Network, sample_count
from qleaky.verification.operation import Operation
from qleaky.verification.running import Check, batches
from qleaky.verification.runtimes.finding import differing_operation
from qleaky.verification.runtimes.ort import OnnxRuntime
from qleaky.verification.runtimes.protocol import Runtime, Setting

NODES_PER_LAYER = 16
MOST_BYTES = 1 << 30


def operations_of(check: Check, runtimes: Sequence[Runtime], runs: Sequence[Run]) -> tuple[Operation, ...]:
    """The operation by which each runtime that differs does so, as far as it can be found.

    Where ONNX Runtime without optimisation differs from the contract as well, the graph does, and no operation is looked for.
    """
    trusted = OnnxRuntime()
    plain = [run for run in runs if run.runtime == trusted.name and not run.optimized]
    if any(run.comparison.mismatches for run in plain):
        return ()
    found = []
    for runtime in runtimes:
        run = next((run for run in runs if run.runtime == runtime.name and run.comparison.mismatches), None)
        if run is not None and (operation := _found(check, runtime, run)) is not None:
            found.append(operation)
    return tuple(found)


def _found(check: Check, runtime: Runtime, run: Run) -> Operation | None:
    """From the first sample that differs alone, else from the batch it was in."""
    place = run.comparison.first_divergence
    setting = Setting(run.optimized, run.threads)
    sample = 0 if place is None else place.sample
    total = sample_count(check.network, check.codes)
    whole = list(batches(total, run.batch))[min(sample // run.batch, -(-total // run.batch) - 1)]
    for picked in (np.array([sample % total]), whole):
        if _bytes(check.network, len(picked)) > MOST_BYTES:
            return None
        inputs = pick(check.network.inputs, check.codes, picked)
        try:
            operation = differing_operation(check.model, inputs, runtime, setting=setting)
        except Exception:  # it is a help: where a runtime fails on the larger graph, the verdict stands without
            continue
        if operation is not None:
            return operation
    return None


def _bytes(network: Network, samples: int) -> int:
    """About what all values of the graph of a network take in two runtimes, in numbers of 4 bytes."""
    shapes = [
        network.shapes[lif.name] if isinstance(network, FloatNetwork) else network.signals[lif.name].shape
        for lif in network.lif_layers
    ]
    return 2 * 4 * NODES_PER_LAYER * samples * network.num_steps * sum(math.prod(shape) for shape in shapes)

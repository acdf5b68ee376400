"""Golden vectors of a bundle: what the reference, or torch of a float network, computes of them, with its digests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.export.bundle_entries import GoldenVectors
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.reference import Recording, run
from qleaky.reference.recording import read_out
from qleaky.verification.digests import float_codes, state_digests
from qleaky.verification.vectors import vectors

Arrays = dict[str, NDArray[Any]]


def golden_vectors(network: IntegerNetwork, samples: int) -> GoldenVectors:
    """Synthetic vectors, with the outputs and digests of the reference."""
    found = vectors(network, samples=samples)
    return _of(run(network, found.codes), found.codes, [(group.name, group.count) for group in found.groups])


def given_vectors(network: IntegerNetwork, synthetic: GoldenVectors, inputs: Any) -> GoldenVectors:
    """The synthetic vectors, followed by recordings.

    Raises:
        InputError: recordings that the network cannot take.
    """
    given = network.encode_all(inputs)
    axes = {source.name: 1 if source.time == "sequence" else 0 for source in network.inputs}
    codes = {name: np.concatenate([synthetic.codes[name], given[name]], axis=axis) for name, axis in axes.items()}
    count = next(given[name].shape[axis] for name, axis in axes.items())
    return _of(run(network, codes), codes, [*synthetic.groups, ("given", count)])


def recorded_vectors(network: FloatNetwork) -> GoldenVectors:
    """What was recorded when a float network was lowered."""
    codes = network.encode_all(network.golden.inputs)
    recording = golden_recording(network, codes)
    samples = next(iter(recording.membranes.values())).shape[1]
    return _of(recording, codes, [("recorded", samples)])


def golden_recording(network: IntegerNetwork | FloatNetwork, codes: Arrays) -> Recording:
    """What the reference computes of golden inputs; of a float network what torch computed of them when it was lowered.

    Raises:
        InputError: inputs that the network cannot take, or that are not those recorded for a float network.
    """
    given = network.encode_all(codes)
    if isinstance(network, IntegerNetwork):
        return run(network, given)
    golden = network.golden
    if any(not np.array_equal(given[name], array) for name, array in network.encode_all(golden.inputs).items()):
        raise InputError("A FloatNetwork has no reference for other inputs than those recorded when it was lowered.")
    spikes, membranes = (
        {name: array.astype(np.float32) for name, array in kind.items()} for kind in (golden.spikes, golden.membranes)
    )
    return Recording(spikes, membranes, read_out(network, spikes, membranes))


def _of(recording: Recording, codes: Arrays, groups: list[tuple[str, int]]) -> GoldenVectors:
    return GoldenVectors(codes, recording.outputs, state_digests(recording), groups)


def as_codes(recording: Recording) -> Recording:
    """A recording whose float32 numbers became codes: their bit patterns as int32; integers stay as they are."""
    kinds = (recording.spikes, recording.membranes, recording.synapses)
    spikes, membranes, synapses = ({name: float_codes(array) for name, array in kind.items()} for kind in kinds)
    return Recording(spikes, membranes, recording.outputs, synapses)

"""Golden runs of a C model: adversarial vectors, given inputs, and what the reference computes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.export.c.vectors import GoldenRuns
from qleaky.integer import Input, IntegerNetwork
from qleaky.reference import run
from qleaky.verification.mcu.fnv import output_fnv, state_fnv
from qleaky.verification.vectors import vectors

BYTES = 24 << 10
FEWEST, MOST = 2, 16


def golden_runs(network: IntegerNetwork, inputs: Any = None, *, samples: int | None = None, seed: int = 0) -> GoldenRuns:
    """Adversarial and random vectors (:func:`qleaky.verification.vectors.vectors`), then given inputs, with their digests.

    Args:
        network: the contract.
        inputs: recordings to put in too, (T, B, ...) or (B, ...), as codes or floats on the grid.
        samples: how many vectors; None takes as many as keep inputs and digests within 24 KB of flash, 2 to 16; 0 only what
            is given.
        seed: of what is drawn.

    Raises:
        InputError: inputs that the network cannot take, or no samples at all.
        LoweringError: sums that 64-bit integers cannot hold.
    """
    count = affordable_samples(network) if samples is None else samples
    if count < 0 or (count == 0 and inputs is None):
        raise InputError(f"golden vectors: samples={count}; ask for at least 1, or pass inputs.")
    found = [vectors(network, samples=count, seed=seed).codes] if count else []
    given = [] if inputs is None else [network.encode_all(inputs)]
    return golden_of(network, {i.name: _joined(i, [codes[i.name] for codes in found + given]) for i in network.inputs})


def golden_of(network: IntegerNetwork, codes: Mapping[str, NDArray[Any]]) -> GoldenRuns:
    """What the reference computes of encoded inputs.

    Raises:
        InputError: codes that the network cannot take.
    """
    encoded = network.encode_all(dict(codes))
    recording = run(network, encoded)
    outputs = {name: output_fnv(name, numbers) for name, numbers in _final(network, recording.outputs).items()}
    return GoldenRuns(encoded, state_fnv(recording), outputs)


def affordable_samples(network: IntegerNetwork) -> int:
    """How many vectors go in: as many as keep inputs and digests within 24 KB, at least 2 and at most 16."""
    places = sum(2 + (lif.synapse is not None) for lif in network.lif_layers)
    digests = 4 * (network.num_steps * places + len(network.output_names))
    inputs = sum(_size(source) * (1 if source.time == "static" else network.num_steps) for source in network.inputs)
    return min(MOST, max(FEWEST, BYTES // (digests + inputs)))


def _size(source: Input) -> int:
    """Bytes of an input in one step: spikes are bits in words."""
    fmt, elements = source.format, math.prod(source.shape)
    spikes = fmt.bits == 1 and not fmt.signed and fmt.zero_point == 0
    return 4 * -(-elements // 32) if spikes else elements * fmt.dtype.itemsize


def _joined(source: Input, codes: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(codes, axis=1 if source.time == "sequence" else 0)


def _final(network: IntegerNetwork, outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs (B, ...) after the last step: of spikes, those of this step."""
    spikes = [readout for readout in network.readouts if readout.kind == "spikes"]
    over_time = {network.output_name(readout) for readout in spikes}
    over_time |= {network.output_name(readout, "class") for readout in spikes if readout.argmax}
    return {name: values[-1] if name in over_time else values for name, values in outputs.items()}

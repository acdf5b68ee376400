"""The networks of benchmarks/mcu.py: 784-256-10 in several widths with random weights and spikes, and the reference models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import qleaky
from qleaky import IntegerNetwork, MulShift, QFormat, models
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.verification.activity import activity

STEPS = 20
DENSITIES = (0.05, 0.1, 0.2)
STATE = QFormat(8, 5)
THRESHOLD = 32
# Draws of weights, and their fractional bits, with which about a tenth of the hidden neurons fire at 10 % of input spikes.
WIDTHS: Mapping[str, tuple[Any, int]] = {
    "8 bits": (lambda rng, shape: rng.integers(-128, 128, shape), 10),
    "4 bits": (lambda rng, shape: rng.integers(-7, 8, shape), 6),
    "2 bits": (lambda rng, shape: 2 * rng.integers(0, 4, shape) - 3, 5),
    "binary": (lambda rng, shape: 2 * rng.integers(0, 2, shape) - 1, 4),
}


@dataclass(frozen=True, eq=False)
class Workload:
    """A network with one recording of inputs, and how many synaptic operations a step of it has."""

    name: str
    inputs: str
    network: IntegerNetwork
    codes: dict[str, NDArray[Any]]
    operations: float


def dense_network(width: str) -> IntegerNetwork:
    """784-256-10: 8-bit states Q2.5, decay 230/256, threshold 1, spike counts."""
    draw, frac_bits = WIDTHS[width]
    rng = np.random.default_rng(sorted(WIDTHS).index(width))
    layers = (
        Linear(name="fc1", input="input", weight=draw(rng, (256, 784)), weight_frac_bits=frac_bits),
        LIF(name="lif1", input="fc1", state=STATE, decay=MulShift(n=8), multiplier=np.array(230), theta=np.array(THRESHOLD)),
        Linear(name="fc2", input="lif1", weight=draw(rng, (10, 256)), weight_frac_bits=frac_bits),
        LIF(name="lif2", input="fc2", state=STATE, decay=MulShift(n=8), multiplier=np.array(230), theta=np.array(THRESHOLD)),
    )
    return IntegerNetwork(
        inputs=(Input(shape=(784,), format=QFormat(1, 0, signed=False)),),
        num_steps=STEPS,
        layers=layers,
        readouts=(Readout("lif2", "spike_count", argmax=True),),
    )


def spikes(network: IntegerNetwork, density: float) -> dict[str, NDArray[Any]]:
    """One recording with the same number of spikes in every step."""
    rng = np.random.default_rng(round(1000 * density))
    x = np.zeros((STEPS, 1, 784), np.uint8)
    for step in x:
        step[0, rng.choice(784, round(784 * density), replace=False)] = 1
    return {network.inputs[0].name: x}


def dense_workloads(width: str) -> list[Workload]:
    """784-256-10 with 5, 10 and 20 % of input spikes."""
    network = dense_network(width)
    return [workload(f"784-256-10, {width}", f"{density:.0%}", network, spikes(network, density)) for density in DENSITIES]


def reference_workload(name: str) -> Workload:
    """A trained network with the first two of its golden inputs, which are recordings."""
    trained = models.load(name)
    network = qleaky.lower(trained.network, trained.sample_input, input_format=trained.input_format, readout=trained.readout)
    assert isinstance(network, IntegerNetwork)
    with np.load(trained.folder / "golden.npz") as golden:
        inputs = golden["inputs"]
    codes = inputs[:2] if trained.time == "static" else inputs[:, :2]
    return workload(name, "recordings", network, network.encode_all(codes))


def workload(name: str, inputs: str, network: IntegerNetwork, codes: dict[str, NDArray[Any]]) -> Workload:
    """With the synaptic operations of the reference's run."""
    busy = activity(network, qleaky.run(network, codes), codes)
    total = sum(layer.effective or 0 for layer in busy.synaptic)
    return Workload(name, inputs, network, codes, total / (busy.samples * busy.num_steps))

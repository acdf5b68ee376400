"""What 64 adversarial vectors reach of each network against 64 random samples, and what finding them costs; a markdown table.

    OMP_NUM_THREADS=1 python benchmarks/vectors.py

The networks that ship, and 784-256-10 on spikes with states of 8 and of 16 bits. Random samples have densities from 0 to 1.
Reached: neurons exactly at the threshold, saturated low and high, and the largest sums of the last layer with weights in
percent of their bound. Cost: CPU time, also as a multiple of one run of the reference on 64 samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import qleaky
from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import MulShift
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.verification.coverage import coverage
from qleaky.verification.vectors import vectors

SAMPLES = 64


def dense(bits: int, frac_bits: int) -> IntegerNetwork:
    """784-256-10, T=25, weights of 8 bits, a threshold of 1."""
    rng, layers, source = np.random.default_rng(0), list[Any](), "input"
    for i, (into, size) in enumerate(((784, 256), (256, 10)), start=1):
        weight = np.clip(np.round(rng.normal(0, 64 / np.sqrt(into), (size, into))), -127, 127).astype(np.int8)
        layers.append(Linear(name=f"fc{i}", input=source, weight=weight, weight_frac_bits=6))
        decay: dict[str, Any] = {"decay": MulShift(n=8), "multiplier": np.array(230)}
        layers.append(
            LIF(name=f"lif{i}", input=f"fc{i}", state=QFormat(bits, frac_bits), theta=np.array(1 << frac_bits), **decay)
        )
        source = f"lif{i}"
    inputs, readouts = (Input((784,), QFormat(1, 0, signed=False)),), (Readout("lif2", "spike_count", argmax=True),)
    return IntegerNetwork(inputs=inputs, num_steps=25, layers=tuple(layers), readouts=readouts)


def networks() -> Iterator[tuple[str, IntegerNetwork]]:
    for name in qleaky.models.names():
        trained = qleaky.models.load(name)
        parts: dict[str, Any] = {"input_format": trained.input_format, "readout": trained.readout}
        network = qleaky.lower(trained.network, trained.sample_input, **parts)
        assert isinstance(network, IntegerNetwork)
        yield name, network
    yield "784-256-10, 8 bits", dense(8, 4)
    yield "784-256-10, 16 bits", dense(16, 10)


def random_codes(network: IntegerNetwork) -> dict[str, Any]:
    rng, source = np.random.default_rng(0), network.input
    shape = ((network.num_steps,) if source.time == "sequence" else ()) + (SAMPLES, *source.shape)
    density = np.linspace(0, 1, SAMPLES).reshape(-1, *(1,) * len(source.shape))
    values = rng.integers(source.format.lowest, source.format.highest + 1, shape)
    return {source.name: np.where(rng.random(shape) < density, values, source.format.zero_point).astype(source.format.dtype)}


def row(name: str, network: IntegerNetwork) -> str:
    start = time.process_time()
    made = vectors(network, samples=SAMPLES)
    cost = time.process_time() - start
    chosen, drawn = (coverage(network, codes) for codes in (made.codes, random_codes(network)))
    start = time.process_time()
    qleaky.run(network, made.codes)
    once = time.process_time() - start
    cells = [name, f"{sum(layer.neurons for layer in chosen[0]):,}"]
    cells += [
        " / ".join(f"{sum(getattr(c, event) for c in found[0]):,}" for found in (chosen, drawn))
        for event in ("threshold", "saturated_low", "saturated_high")
    ]
    last = [[a for a in found[1] if a.kind == "accumulate"][-1] for found in (chosen, drawn)]
    cells.append(" / ".join(f"{100 * a.reached / a.bound:.0f}" for a in last))
    return " | ".join(["", *cells, f"{cost:.2f} s, {cost / once:.0f}x", ""]).strip()


def main() -> None:
    print("| network | neurons | at the threshold | saturated low | saturated high | last sum, % of its bound | cost |")
    print("|---|---|---|---|---|---|---|")
    for name, network in networks():
        print(row(name, network), flush=True)


if __name__ == "__main__":
    main()

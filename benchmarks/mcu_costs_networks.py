"""Networks from which benchmarks/mcu_costs.py learns what each part of a step costs, and others on which it tests that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import MulShift
from qleaky.integer import (
    LIF,
    Add,
    Affine,
    AveragePool,
    Concat,
    Conv,
    Delay,
    Input,
    Linear,
    MaxPool,
    Readout,
    Reshape,
    Synapse,
)
from qleaky.model_reference import HowToLower, load_model

SPIKES, BYTES, OFFSET = QFormat(1, 0, signed=False), QFormat(8, 0, signed=False), QFormat(8, 6, signed=False, zero_point=128)
SHIPPED = ("digits", "fsdd", "japanese-vowels", "fashion-mnist-dense", "fashion-mnist-conv")
RANGES = {12: (-2047, 2048), 8: (-127, 128), 4: (-7, 8), 2: (-1, 2)}
WINDOW: dict[str, Any] = {"stride": (1, 1), "pads": ((0, 0), (0, 0)), "dilation": (1, 1)}
PADDED = WINDOW | {"pads": ((1, 1), (1, 1))}
Codes = dict[str, Any]
Case = tuple[IntegerNetwork, Codes]
Cases = Iterator[tuple[str, Callable[[], Case]]]


def weights(bits: int, *shape: int, seed: int = 0) -> Any:
    """Weights that take all of so many bits; one bit is -1 and 1."""
    r = np.random.default_rng(seed)
    if bits == 1:
        return r.choice([-1, 1], shape).astype(np.int16)
    low, high = RANGES[bits]
    found = r.integers(low, high + 1, shape).astype(np.int16)
    found.reshape(-1)[:2] = low, high
    return found


def per_output(bits: int, n: int, m: int) -> Any:
    """Weights whose outputs each have a scale of their own."""
    return (weights(bits, m, n).astype(np.int32) * (1 + np.arange(m)[:, None])).astype(np.int32)


def lif(name: str, source: str, bits: int = 16, **more: Any) -> LIF:
    fields: dict[str, Any] = {"state": QFormat(bits, 4), "theta": np.array(90)}
    fields |= {"decay": MulShift(n=8), "multiplier": np.array(230)}
    return LIF(name=name, input=source, **fields | more)


def network(*layers: Any, shape: tuple[int, ...], fmt: QFormat = SPIKES, steps: int = 4) -> IntegerNetwork:
    last = next(layer.name for layer in reversed(layers) if isinstance(layer, LIF))
    readouts = (Readout(last, "spike_count", True),)
    return IntegerNetwork(inputs=(Input(shape, fmt),), num_steps=steps, layers=layers, readouts=readouts)


def inputs(net: IntegerNetwork, density: float, samples: int = 2, seed: int = 1) -> Codes:
    """Codes of which a share of ``density`` is not zero."""
    r, (source,) = np.random.default_rng(seed), net.inputs
    lead = (samples,) if source.time == "static" else (net.num_steps, samples)
    on = r.random((*lead, *source.shape)) < density
    fmt = source.format
    values = r.integers(fmt.lowest, fmt.highest + 1, on.shape) if fmt.bits > 1 else on
    return {source.name: np.where(on, values, fmt.zero_point).astype(fmt.dtype)}


def linear(name: str, source: str, weight: Any, bias: bool = True) -> Linear:
    return Linear(name=name, input=source, weight=weight, bias=np.arange(len(weight)) if bias else None, weight_frac_bits=4)


def dense(bits: int, sizes: tuple[int, ...], fmt: QFormat = SPIKES, **more: Any) -> IntegerNetwork:
    layers: list[Any] = []
    for i, (n, m) in enumerate(pairwise(sizes)):
        source = layers[-1].name if layers else "input"
        layers += [linear(f"fc{i}", source, weights(bits, m, n, seed=i)), lif(f"lif{i}", f"fc{i}")]
    return network(*layers, shape=(sizes[0],), fmt=fmt, **more)


def own_scales(bits: int, n: int, m: int) -> IntegerNetwork:
    return network(linear("fc", "input", per_output(bits, n, m)), lif("lif", "fc"), shape=(n,))


def conv(
    bits: int, channels: tuple[int, int], size: int, kernel: int, fmt: QFormat = SPIKES, *, pool: Any = None, groups: int = 1
) -> IntegerNetwork:
    weight, bias = weights(bits, channels[1], channels[0] // groups, kernel, kernel), np.arange(channels[1])
    layers: list[Any] = [
        Conv(name="conv", input="input", weight=weight, bias=bias, weight_frac_bits=4, groups=groups, **WINDOW)
    ]
    layers += [] if pool is None else [pool]
    return network(*layers, lif("lif", layers[-1].name), shape=(channels[0], size, size), fmt=fmt)


def average(source: str = "conv") -> AveragePool:
    return AveragePool(name="pool", input=source, kernel=(2, 2), stride=(2, 2), pads=((0, 0), (0, 0)), divisor=4)


def largest(source: str) -> MaxPool:
    return MaxPool(name="pool", input=source, kernel=(2, 2), stride=(2, 2), pads=((0, 0), (0, 0)), dilation=(1, 1))


def neurons_of_other_kinds(n: int) -> Iterator[tuple[str, IntegerNetwork]]:
    """And layers without weights, between n inputs and n neurons."""
    w, shape = weights(8, n, n), (n,)
    fc, other = linear("fc", "input", w), linear("other", "input", w)
    back = Delay(name="back", input="lif", shape=shape, frac_bits=0, low=0, high=1)
    loop = linear("loop", "back", w, bias=False)
    added = Add(name="sum", inputs=("fc", "loop"), signs=(1, 1))
    yield f"recurrent {n}", network(back, fc, loop, added, lif("lif", "sum"), shape=shape)
    joined = Concat(name="both", inputs=("fc", "other"), axis=0)
    yield f"joined {n}", network(fc, other, joined, lif("lif", "both"), shape=shape)
    scaled = Affine(name="scaled", input="fc", scale=np.arange(1, n + 1), scale_frac_bits=2)
    yield f"scaled {n}", network(fc, scaled, lif("lif", "scaled"), shape=shape)
    synapse = Synapse(state=QFormat(16, 4), decay=MulShift(n=8), multiplier=np.array(200))
    yield f"synapse {n}", network(fc, lif("lif", "fc", synapse=synapse, reset_timing="same_step"), shape=shape)
    own = lif("lif", "fc", theta=np.arange(40, 40 + n), reset_mechanism="zero")
    yield f"thresholds {n}", network(fc, own, shape=shape)


def pools(size: int) -> Iterator[tuple[str, IntegerNetwork]]:
    """Pools of their own: of numbers, and of spikes."""
    yield f"maximum {size}", conv(8, (1, size), size, 3, BYTES, pool=largest("conv"))
    first = Conv(name="c", input="input", weight=weights(8, 4, 2, 3, 3), weight_frac_bits=4, **PADDED)
    flat, fc = Reshape(name="flat", input="pool", shape=(size * size,)), linear("fc", "flat", weights(8, 10, size * size))
    pooled: tuple[tuple[str, Any], ...] = (("maximum", largest("first")), ("average", average("first")))
    for name, pool in pooled:
        layers = (first, lif("first", "c"), pool, flat, fc, lif("out", "fc"))
        yield f"{name} of spikes {size}", network(*layers, shape=(2, size, size))


def of(density: float, make: Callable[..., IntegerNetwork], *arguments: Any, **more: Any) -> Callable[[], Case]:
    """A network with inputs of this density, made when it is asked for."""

    def made() -> Case:
        net = make(*arguments, **more)
        return net, inputs(net, density)

    return made


def learned() -> Cases:
    """Networks to learn from: each part of a step in several amounts."""
    for bits, sizes in ((8, (4, 8, 12, 40)), (4, (8, 16, 24, 40)), (2, (16, 40)), (1, (32, 70)), (12, (6, 4, 3, 2, 1, 40))):
        for out in sizes:
            for n, density in ((40, 0.1), (200, 0.1), (200, 0.6)):
                yield f"{n}-{out} of {bits} bits at {density:.0%}", of(density, dense, bits, (n, out))
    for n, out in ((20, 3), (60, 5), (60, 8), (9, 40), (200, 1), (50, 2)):
        for fmt in (BYTES, OFFSET):
            yield f"{n}-{out} of numbers {fmt}", of(0.9, dense, 8, (n, out), fmt)
    for n, out, density in ((600, 10, 0.05), (1200, 10, 0.1), (1200, 4, 0.3), (1000, 8, 0.2), (1000, 33, 0.2)):
        yield f"{n}-{out} of 8 bits at {density:.0%}", of(density, dense, 8, (n, out))
    for bits in (8, 4):
        for n, out in ((40, 8), (100, 33)):
            yield f"{n}-{out} of own scales, {bits} bits", of(0.3, own_scales, bits, n, out)
    for shape in (((1, 8), 8, 3), ((4, 8), 10, 3), ((2, 16), 9, 5), ((8, 16), 6, 3)):
        for density in (0.05, 0.3):
            yield f"conv {shape} at {density:.0%}", of(density, conv, 8, *shape)
        yield f"conv and pool {shape}", of(0.1, conv, 8, *shape, pool=average())
        yield f"conv of numbers {shape}", of(0.9, conv, 8, *shape, BYTES)
    for bits in (12, 8, 4, 2, 1):
        for out in (16, 21, 70):
            yield f"conv of {out} outputs, {bits} bits", of(0.2, conv, bits, (3, out), 7, 3)
    yield "conv of numbers, 7 outputs", of(0.9, conv, 8, (2, 7), 7, 3, BYTES)
    for fmt in (SPIKES, BYTES):
        for channels, size in (((4, 8), 8), ((6, 6), 9)):
            yield f"groups {channels} {size} {fmt}", of(0.3, conv, 8, channels, size, 3, fmt, groups=2)
    for n, size in ((20, 8), (70, 16)):
        for name, net in (*neurons_of_other_kinds(n), *pools(size)):
            yield name, of(0.3, lambda net=net: net)
    for bits in (8, 4, 2, 1):
        yield f"784-256-10 of {bits} bits at 10 %", of(0.1, dense, bits, (784, 256, 10), steps=10)


def held_out() -> Cases:
    """Networks to test on: of other sizes and densities."""
    for bits in (8, 4, 2, 1):
        for density in (0.05, 0.2):
            yield f"784-256-10 of {bits} bits at {density:.0%}", of(density, dense, bits, (784, 256, 10), steps=10)
    yield "100-50-20-5 of 8 bits at 15 %", of(0.15, dense, 8, (100, 50, 20, 5))
    yield "300-100-12 of 4 bits at 30 %", of(0.3, dense, 4, (300, 100, 12))
    yield "numbers, 30-60-6 of 8 bits", of(0.9, dense, 8, (30, 60, 6), OFFSET)
    yield "conv (3, 12) 12 3 at 10 %", of(0.1, conv, 8, (3, 12), 12, 3)
    yield "conv and pool (4, 24) 12 5 at 10 %", of(0.1, conv, 8, (4, 24), 12, 5, pool=average())


def shipped(name: str) -> Case:
    """A network that ships, with the vectors that an export of it has."""
    from qleaky.verification.mcu.golden_runs import golden_runs

    net = load_model(name, HowToLower())
    assert isinstance(net, IntegerNetwork)
    return net, golden_runs(net).codes

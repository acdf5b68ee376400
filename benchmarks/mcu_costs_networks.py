"""Networks from which benchmarks/mcu_costs.py learns what each part of a step costs, and others on which it tests that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
Codes = dict[str, Any]
Case = tuple[IntegerNetwork, Codes]


def weights(bits: int, *shape: int, seed: int = 0) -> Any:
    """Weights that take all of so many bits; one bit is -1 and 1."""
    r = np.random.default_rng(seed)
    if bits == 1:
        return r.choice([-1, 1], shape).astype(np.int16)
    low, high = RANGES[bits]
    found = r.integers(low, high + 1, shape).astype(np.int16)
    found.reshape(-1)[:2] = low, high
    return found


def lif(name: str, source: str, bits: int = 16, **more: Any) -> LIF:
    fields: dict[str, Any] = {
        "state": QFormat(bits, 4),
        "theta": np.array(90),
        "decay": MulShift(n=8),
        "multiplier": np.array(230),
    }
    return LIF(name=name, input=source, **fields | more)


def network(
    *layers: Any, shape: tuple[int, ...], fmt: QFormat = SPIKES, steps: int = 4, kind: Any = "spike_count"
) -> IntegerNetwork:
    last = next(layer.name for layer in reversed(layers) if isinstance(layer, LIF))
    return IntegerNetwork(inputs=(Input(shape, fmt),), num_steps=steps, layers=layers, readouts=(Readout(last, kind, True),))


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
    for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers += [
            linear(f"fc{i}", layers[-1].name if layers else "input", weights(bits, m, n, seed=i)),
            lif(f"lif{i}", f"fc{i}"),
        ]
    return network(*layers, shape=(sizes[0],), fmt=fmt, **more)


def conv(
    bits: int, channels: tuple[int, int], size: int, kernel: int, fmt: QFormat = SPIKES, pool: Any = None, **more: Any
) -> IntegerNetwork:
    window: dict[str, Any] = {"stride": (1, 1), "pads": ((0, 0), (0, 0)), "dilation": (1, 1)} | more
    groups = window.get("groups", 1)
    weight = weights(bits, channels[1], channels[0] // groups, kernel, kernel)
    layers: list[Any] = [
        Conv(name="conv", input="input", weight=weight, bias=np.arange(channels[1]), weight_frac_bits=4, **window)
    ]
    if pool is not None:
        layers.append(pool)
    return network(*layers, lif("lif", layers[-1].name), shape=(channels[0], size, size), fmt=fmt)


def average(source: str = "conv") -> AveragePool:
    return AveragePool(name="pool", input=source, kernel=(2, 2), stride=(2, 2), pads=((0, 0), (0, 0)), divisor=4)


def largest(source: str) -> MaxPool:
    return MaxPool(name="pool", input=source, kernel=(2, 2), stride=(2, 2), pads=((0, 0), (0, 0)), dilation=(1, 1))


def per_output(bits: int, n: int, m: int) -> Any:
    """Weights whose outputs each have a scale of their own."""
    return (weights(bits, m, n).astype(np.int32) * (1 + np.arange(m)[:, None])).astype(np.int32)


def shaped() -> Iterator[tuple[str, IntegerNetwork]]:
    """Layers without weights, and neurons of other kinds."""
    for n in (20, 70):
        w = weights(8, n, n)
        back = Delay(name="back", input="lif", shape=(n,), frac_bits=0, low=0, high=1)
        loop = (
            back,
            linear("fc", "input", w),
            linear("loop", "back", w, bias=False),
            Add(name="sum", inputs=("fc", "loop"), signs=(1, 1)),
        )
        yield f"recurrent {n}", network(*loop, lif("lif", "sum"), shape=(n,))
        yield (
            f"joined {n}",
            network(
                linear("a", "input", w),
                linear("b", "input", w),
                Concat(name="both", inputs=("a", "b"), axis=0),
                lif("lif", "both"),
                shape=(n,),
            ),
        )
        yield (
            f"scaled {n}",
            network(
                linear("a", "input", w),
                Affine(name="s", input="a", scale=np.arange(1, n + 1), scale_frac_bits=2),
                lif("lif", "s"),
                shape=(n,),
            ),
        )
        synapse = Synapse(state=QFormat(16, 4), decay=MulShift(n=8), multiplier=np.array(200))
        yield (
            f"synapse {n}",
            network(linear("a", "input", w), lif("lif", "a", synapse=synapse, reset_timing="same_step"), shape=(n,)),
        )
        yield (
            f"thresholds {n}",
            network(linear("a", "input", w), lif("lif", "a", theta=np.arange(40, 40 + n), reset_mechanism="zero"), shape=(n,)),
        )
    for size in (8, 16):
        yield f"maximum {size}", conv(8, (1, size), size, 3, BYTES, largest("conv"))
        maps = (
            Conv(
                name="c",
                input="input",
                weight=weights(8, 4, 2, 3, 3),
                weight_frac_bits=4,
                stride=(1, 1),
                pads=((1, 1), (1, 1)),
                dilation=(1, 1),
            ),
            lif("first", "c"),
        )
        behind = (
            Reshape(name="flat", input="pool", shape=(size * size,)),
            linear("fc", "flat", weights(8, 10, size * size)),
            lif("out", "fc"),
        )
        yield f"maximum of spikes {size}", network(*maps, largest("first"), *behind, shape=(2, size, size))
        yield f"average of spikes {size}", network(*maps, average("first"), *behind, shape=(2, size, size))


def learned() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Networks to learn from: each part of a step in several amounts."""
    for bits, sizes in ((8, (4, 8, 12, 40)), (4, (8, 16, 40)), (2, (16, 40)), (1, (32, 70)), (12, (4, 3, 2, 1))):
        for out in sizes:
            for n, density in ((40, 0.1), (200, 0.1), (200, 0.6)):
                yield f"{n}-{out} of {bits} bits at {density:.0%}", lambda b=bits, s=(n, out), d=density: case(dense(b, s), d)  # type: ignore[misc]
    for n, out in ((20, 3), (60, 5), (60, 8), (9, 40), (200, 1), (50, 2)):
        for fmt in (BYTES, OFFSET):
            yield f"{n}-{out} of numbers {fmt}", lambda s=(n, out), f=fmt: case(dense(8, s, f), 0.9)  # type: ignore[misc]
    for bits in (8, 4):
        for n, out in ((40, 8), (100, 33)):
            yield f"{n}-{out} of own scales, {bits} bits", lambda b=bits, s=(n, out): case(own_scales(b, *s), 0.3)  # type: ignore[misc]
    for channels, size, kernel in (((1, 8), 8, 3), ((4, 8), 10, 3), ((2, 16), 9, 5), ((8, 16), 6, 3)):
        for density in (0.05, 0.3):
            yield (
                f"conv {channels} {size} {kernel} at {density:.0%}",
                lambda c=channels, s=size, k=kernel, d=density: case(conv(8, c, s, k), d),
            )  # type: ignore[misc]
        yield (
            f"conv and pool {channels} {size} {kernel}",
            lambda c=channels, s=size, k=kernel: case(conv(8, c, s, k, pool=average()), 0.1),
        )  # type: ignore[misc]
        yield (
            f"conv of numbers {channels} {size} {kernel}",
            lambda c=channels, s=size, k=kernel: case(conv(8, c, s, k, BYTES), 0.9),
        )  # type: ignore[misc]
    for fmt in (SPIKES, BYTES):
        for channels, size in (((4, 8), 8), ((6, 6), 9)):
            yield f"groups {channels} {size} {fmt}", lambda c=channels, s=size, f=fmt: case(conv(8, c, s, 3, f, groups=2), 0.3)  # type: ignore[misc]
    for name, net in shaped():
        yield name, lambda n=net: case(n, 0.3)  # type: ignore[misc]
    for bits in (8, 4, 2, 1):
        yield f"784-256-10 of {bits} bits at 10 %", lambda b=bits: case(dense(b, (784, 256, 10), steps=10), 0.1)  # type: ignore[misc]


def held_out() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Networks to test on: of other sizes and densities."""
    for bits in (8, 4, 2, 1):
        for density in (0.05, 0.2):
            yield (
                f"784-256-10 of {bits} bits at {density:.0%}",
                lambda b=bits, d=density: case(dense(b, (784, 256, 10), steps=10), d),
            )  # type: ignore[misc]
    yield "100-50-20-5 of 8 bits at 15 %", lambda: case(dense(8, (100, 50, 20, 5)), 0.15)
    yield "300-100-12 of 4 bits at 30 %", lambda: case(dense(4, (300, 100, 12)), 0.3)
    yield "numbers, 30-60-6 of 8 bits", lambda: case(dense(8, (30, 60, 6), OFFSET), 0.9)
    yield "conv (3, 12) 12 3 at 10 %", lambda: case(conv(8, (3, 12), 12, 3), 0.1)
    yield "conv and pool (4, 24) 12 5 at 10 %", lambda: case(conv(8, (4, 24), 12, 5, pool=average()), 0.1)


def own_scales(bits: int, n: int, m: int) -> IntegerNetwork:
    return network(linear("fc", "input", per_output(bits, n, m)), lif("lif", "fc"), shape=(n,))


def case(net: IntegerNetwork, density: float) -> Case:
    return net, inputs(net, density)


def shipped(name: str) -> Case:
    """A network that ships, with the vectors that an export of it has."""
    from qleaky.verification.mcu.golden_runs import golden_runs

    net = load_model(name, HowToLower())
    assert isinstance(net, IntegerNetwork)
    return net, golden_runs(net).codes

"""The networks whose artefacts are mutated: small ones of every kind, whose inputs can be tried out, and those that ship."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import MulShift, ShiftDecay
from qleaky.integer import LIF, Add, AveragePool, Conv, Delay, Input, Linear, Readout, Reshape, Synapse
from qleaky.reference import run
from qleaky.verification.golden import synthetic_inputs

LEAST, MOST = 0.1, 0.7
SPIKES = QFormat(1, 0, signed=False)
STATE = QFormat(6, 3)
LEAK: dict[str, Any] = {"decay": MulShift(n=4), "multiplier": np.array(13)}
Rng = np.random.Generator


def linear(r: Rng, name: str, source: str, shape: tuple[int, int], *, bits: int = 5, bias: bool = False) -> Linear:
    most = (1 << (bits - 1)) - 1
    weight = r.integers(-most, most + 1, shape).astype(np.int8)
    return Linear(
        name=name, input=source, weight=weight, bias=r.integers(-most, most, shape[0]) if bias else None, weight_frac_bits=3
    )


def lif(name: str, source: str, **settings: Any) -> LIF:
    return LIF(**({"name": name, "input": source, "state": STATE, "theta": np.array(7)} | LEAK | settings))


def dense(r: Rng, first: dict[str, Any], second: dict[str, Any] | None = None, **options: Any) -> IntegerNetwork:
    """4 inputs, 4 neurons, 3 neurons (square weights, so that they can be transposed)."""
    layers = (
        linear(r, "fc1", "input", (4, 4), bias=True),
        lif("lif1", "fc1", **first),
        linear(r, "fc2", "lif1", (3, 4)),
        lif("lif2", "fc2", **(first if second is None else second)),
    )
    return whole(layers, (4,), **options)


def whole(
    layers: tuple[Any, ...],
    shape: tuple[int, ...],
    *,
    fmt: QFormat = SPIKES,
    steps: int = 4,
    time: Any = "sequence",
    readout: str = "spike_count",
) -> IntegerNetwork:
    last = layers[-1].name
    return IntegerNetwork(
        inputs=(Input(shape, fmt, time),),
        num_steps=steps,
        layers=layers,
        readouts=(Readout(last, readout, True),),  # type: ignore[arg-type]
    )


def recurrent(r: Rng) -> IntegerNetwork:
    back = Delay(name="back", input="lif", shape=(3,), frac_bits=0, low=0, high=1)
    layers = (
        linear(r, "fc", "input", (3, 4)),
        back,
        linear(r, "loop", "back", (3, 3)),
        Add(name="sum", inputs=("fc", "loop"), signs=(1, 1)),
        lif("lif", "sum"),
    )
    return whole(layers, (4,))


def convolutional(r: Rng) -> IntegerNetwork:
    window: dict[str, Any] = {"stride": (1, 1), "pads": ((0, 0), (0, 0))}
    kernel = r.integers(-7, 8, (2, 1, 2, 2)).astype(np.int8)
    layers = (
        Conv(
            name="conv", input="input", weight=kernel, bias=r.integers(-4, 5, 2), weight_frac_bits=3, dilation=(1, 1), **window
        ),
        lif("lif1", "conv"),
        AveragePool(name="pool", input="lif1", kernel=(1, 2), divisor=2, stride=(1, 1), pads=((0, 0), (0, 0))),
        Reshape(name="flat", input="pool", shape=(4,)),
        linear(r, "fc", "flat", (3, 4)),
        lif("lif2", "fc"),
    )
    return whole(layers, (1, 3, 3), steps=2)


SMALL: dict[str, Callable[[Rng], IntegerNetwork]] = {
    "half-up": lambda r: dense(r, {}),
    "floor, inclusive": lambda r: dense(r, {"rounding": "floor", "compare": "inclusive"}),
    "per neuron": lambda r: dense(
        r,
        {"theta": r.integers(5, 10, 4), "multiplier": r.integers(9, 16, 4)},
        {"theta": r.integers(5, 10, 3), "multiplier": r.integers(9, 16, 3)},
    ),
    "zero reset, half-even": lambda r: dense(r, {"reset_mechanism": "zero", "rounding": "half_even"}),
    "same step, toward zero": lambda r: dense(r, {"reset_timing": "same_step", "rounding": "toward_zero"}),
    "undelayed": lambda r: dense(r, {"reset_timing": "undelayed"}, readout="membrane_mean"),
    "wrapping": lambda r: dense(r, {"overflow": "wrap", "state": QFormat(5, 3)}),
    "no reset": lambda r: dense(r, {}, {"reset_mechanism": "none"}, readout="membrane_mean"),
    "shift decay": lambda r: dense(
        r, {"decay": ShiftDecay(2, True), "multiplier": None}, {"decay": ShiftDecay(3), "multiplier": None}
    ),
    "decay rounded alone": lambda r: dense(r, {"rounding_site": "decay", "decay": MulShift(n=4, rounding="half_up")}),  # type: ignore[arg-type]
    "synapse": lambda r: dense(r, {"synapse": Synapse(state=QFormat(7, 3), decay=MulShift(n=3), multiplier=np.array(5))}, {}),
    "counts, graded": lambda r: dense(
        r, {"max_spikes": 3, "theta": np.array(4)}, {"graded": r.integers(-3, 4, 3)}, readout="last_membrane"
    ),
    "12-bit states": lambda r: dense(
        r, {"state": QFormat(12, 6), "theta": np.array(60), "decay": MulShift(n=8), "multiplier": np.array(231)}
    ),
    "narrow states": lambda r: dense(r, {"state": QFormat(5, 3)}, {"state": QFormat(5, 3), "compare": "inclusive"}),
    "3-bit inputs": lambda r: whole(
        (linear(r, "fc1", "input", (3, 2), bits=4), lif("lif1", "fc1"), linear(r, "fc2", "lif1", (2, 3)), lif("lif2", "fc2")),
        (2,),
        fmt=QFormat(3, 1, signed=False, zero_point=3),
        steps=3,
    ),
    "8-bit static inputs": lambda r: whole(
        (linear(r, "fc1", "input", (4, 2)), lif("lif1", "fc1"), linear(r, "fc2", "lif1", (3, 4)), lif("lif2", "fc2")),
        (2,),
        fmt=QFormat(8, 6, signed=False),
        steps=5,
        time="static",
    ),
    "recurrent": recurrent,
    "convolutional": convolutional,
}
TRAINED = ("digits", "japanese-vowels", "fsdd", "fashion-mnist-conv")


def small(name: str) -> IntegerNetwork:
    """One of ``SMALL``: the first draw in which every layer fires in some steps and not in all."""
    for seed in range(1_000):
        network = SMALL[name](np.random.default_rng([seed, list(SMALL).index(name)]))
        spikes = run(network, synthetic_inputs(network)).spikes.values()
        if all(LEAST < (layer != 0).mean() < MOST for layer in spikes):
            return network
    raise AssertionError(f"no lively network {name!r} in 1,000 draws")


def trained(name: str) -> IntegerNetwork:
    """The contract of a network that ships."""
    from qleaky import lower, models

    found = models.load(name)
    network = lower(found.network, found.sample_input, input_format=found.input_format, readout=found.readout)
    assert isinstance(network, IntegerNetwork)
    return network


def every_input(network: IntegerNetwork) -> dict[str, NDArray[Any]]:
    """All sequences of inputs that there are, for a network with one input of few bits."""
    (source,) = network.inputs
    steps = network.num_steps if source.time == "sequence" else 1
    codes = range(source.format.lowest, source.format.highest + 1)
    size = int(np.prod(source.shape)) * steps
    grid = np.array(list(itertools.product(codes, repeat=size)), source.format.dtype)
    arrays = np.moveaxis(grid.reshape(-1, steps, *source.shape), 1, 0)
    return {source.name: np.ascontiguousarray(arrays if source.time == "sequence" else arrays[0])}

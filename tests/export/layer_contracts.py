"""One network for each kind of layer."""

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
    Transpose,
)

SMALL = QFormat(4, 1)
STATE = {"state": QFormat(8, 2), "theta": np.array(9), "decay": MulShift(n=3), "multiplier": np.array(7)}


def lif(name: str, source: str, **fields: Any) -> LIF:
    return LIF(name=name, input=source, **STATE | fields)  # type: ignore[arg-type]


def network(*layers: Any, shape: tuple[int, ...] = (5,), fmt: QFormat = SMALL, **parts: Any) -> IntegerNetwork:
    """The layers behind one input; the last layer is read."""
    given: dict[str, Any] = {
        "inputs": (Input(shape, fmt),),
        "num_steps": 4,
        "readouts": (Readout(layers[-1].name, "spikes", True),),
    }
    return IntegerNetwork(layers=layers, **given | parts)


R = np.random.default_rng(0)
W44, W54, W5 = (R.integers(-7, 8, shape).astype(np.int8) for shape in ((4, 4), (4, 5), (5, 5)))
KERNEL = R.integers(-7, 8, (4, 2, 3, 2)).astype(np.int8)
WINDOW: dict[str, Any] = {"stride": (2, 1), "pads": ((1, 0), (0, 1)), "dilation": (1, 2)}
POOL: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 2), "pads": ((0, 1), (1, 0))}
MAP = (2, 6, 6)
LAYERS: dict[str, IntegerNetwork] = {
    "linear": network(Linear(name="fc", input="input", weight=W54, bias=np.arange(4), weight_frac_bits=1), lif("lif", "fc")),
    "linear on maps": network(
        Linear(name="fc", input="input", weight=W54, weight_frac_bits=1), lif("lif", "fc"), shape=(2, 3, 5)
    ),
    "conv": network(
        Conv(name="conv", input="input", weight=KERNEL, weight_frac_bits=1, **WINDOW), lif("lif", "conv"), shape=MAP
    ),
    "conv of two groups": network(
        Conv(name="conv", input="input", weight=KERNEL[:, :1], bias=np.arange(4), weight_frac_bits=1, groups=2, **WINDOW),
        lif("lif", "conv"),
        shape=MAP,
    ),
    "conv of a line": network(
        Conv(name="conv", input="input", weight=KERNEL[..., 0], weight_frac_bits=1, stride=(2,), pads=((2, 0),), dilation=(2,)),
        lif("lif", "conv"),
        shape=(2, 9),
    ),
    "conv of spikes": network(
        lif("first", "input"),
        Conv(name="conv", input="first", weight=KERNEL, bias=np.arange(4), weight_frac_bits=1, **WINDOW),
        lif("lif", "conv"),
        shape=MAP,
    ),
    "affine": network(
        Affine(name="scaled", input="input", scale=np.array([3, -2, 1, 0, 5]), bias=np.array(4), scale_frac_bits=1),
        lif("lif", "scaled"),
    ),
    "affine bias alone": network(
        Affine(name="moved", input="input", bias=np.arange(5), scale_frac_bits=2), lif("lif", "moved")
    ),
    "average pool": network(AveragePool(name="pool", input="input", divisor=4, **POOL), lif("lif", "pool"), shape=MAP),
    "average pool of 3": network(
        AveragePool(name="pool", input="input", kernel=(3, 3), stride=(1, 1), pads=((1, 1), (1, 1)), divisor=8),
        lif("lif", "pool"),
        shape=MAP,
    ),
    "average pool with wide pads": network(
        AveragePool(name="pool", input="input", kernel=(1, 2), stride=(1, 1), pads=((1, 1), (2, 0)), divisor=2),
        lif("lif", "pool"),
        shape=MAP,
    ),
    "average pool before weights": network(
        lif("first", "input"),
        AveragePool(name="pool", input="first", divisor=4, **POOL),
        Conv(name="conv", input="pool", weight=KERNEL, bias=np.arange(4), weight_frac_bits=1, **WINDOW),
        lif("lif", "conv"),
        AveragePool(name="pool2", input="lif", kernel=(1, 2), stride=(1, 1), pads=((0, 0), (0, 0)), divisor=2),
        Reshape(name="flat", input="pool2", shape=(4,)),
        Linear(name="fc", input="flat", weight=W44, weight_frac_bits=0),
        lif("out", "fc"),
        shape=MAP,
    ),
    "max pool": network(MaxPool(name="pool", input="input", dilation=(1, 1), **POOL), lif("lif", "pool"), shape=MAP),
    "max pool of wide numbers": network(
        MaxPool(name="pool", input="input", dilation=(1, 1), **POOL), lif("lif", "pool"), shape=MAP, fmt=QFormat(30, 4)
    ),
    "max pool with wide pads": network(
        MaxPool(name="pool", input="input", kernel=(2, 2), stride=(1, 1), pads=((2, 2), (0, 0)), dilation=(2, 1)),
        lif("lif", "pool"),
        shape=MAP,
    ),
    "reshape and transpose": network(
        Transpose(name="turned", input="input", axes=(1, 0)),
        Reshape(name="flat", input="turned", shape=(10,)),
        lif("lif", "flat"),
        shape=(2, 5),
        fmt=QFormat(4, 1, signed=False, zero_point=9),
    ),
    "residual": network(
        lif("first", "input"),
        Linear(name="fc", input="first", weight=W5, weight_frac_bits=2),
        Add(name="sum", inputs=("fc", "first", "input"), signs=(1, -1, 1)),
        lif("lif", "sum"),
    ),
    "sum that broadcasts": network(
        Reshape(name="column", input="input", shape=(5, 1)),
        Add(name="sum", inputs=("column", "input"), signs=(-1, 1)),
        lif("lif", "sum"),
    ),
    "concat": network(
        Linear(name="fc", input="input", weight=W54, weight_frac_bits=3),
        Concat(name="both", inputs=("input", "fc"), axis=-1),
        lif("lif", "both"),
    ),
    "recurrence": network(
        Delay(name="back", input="lif", shape=(5,), frac_bits=0, low=0, high=1),
        Linear(name="loop", input="back", weight=W5, weight_frac_bits=0),
        Add(name="sum", inputs=("input", "loop"), signs=(1, 1)),
        lif("lif", "sum"),
    ),
    "two layers in a loop": network(
        Delay(name="back", input="second", shape=(5,), frac_bits=0, low=0, high=1),
        Add(name="sum", inputs=("input", "back"), signs=(1, -1)),
        lif("first", "sum"),
        Linear(name="fc", input="first", weight=W5, weight_frac_bits=0),
        lif("second", "fc"),
        lif("behind", "fc"),
    ),
    "a delay forward": network(
        lif("first", "input"),
        Delay(name="late", input="first", shape=(5,), frac_bits=0, low=0, high=1),
        Add(name="sum", inputs=("first", "late"), signs=(1, 1)),
        lif("lif", "sum", theta=np.array(3)),
    ),
    "a delayed input": network(
        Delay(name="late", input="input", shape=(5,), frac_bits=1, low=-8, high=7), lif("lif", "late", theta=np.array(3))
    ),
}

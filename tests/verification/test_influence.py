"""What is carried back to the inputs are the coefficients of the network's own sums."""

from typing import Any

import numpy as np
import pytest

from qleaky import IntegerNetwork, QFormat
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
from qleaky.reference import Stepper
from qleaky.verification.vectors.influence import addends, influence, linear_fronts

RNG = np.random.default_rng(0)


def ints(*shape: int) -> Any:
    return RNG.integers(-9, 10, shape).astype(np.int8)


def linear_network() -> IntegerNetwork:
    """Every linear kind of layer between two inputs and one LIF."""
    window: dict[str, Any] = {"stride": (2, 1), "pads": ((1, 0), (2, 1)), "dilation": (1, 2)}
    layers = (
        Conv(name="conv", input="image", weight=ints(6, 2, 2, 3), bias=ints(6), weight_frac_bits=1, groups=2, **window),
        AveragePool(name="pool", input="conv", kernel=(2, 2), stride=(1, 2), pads=((0, 0), (1, 1)), divisor=4),
        Affine(name="affine", input="pool", scale=ints(6, 1, 1), scale_frac_bits=1),
        Affine(name="finer", input="affine", scale_frac_bits=2),
        Transpose(name="turn", input="finer", axes=(1, 2, 0)),
        Reshape(name="flat", input="turn", shape=(36,)),
        Linear(name="fc", input="flat", weight=ints(5, 36), weight_frac_bits=0),
        Linear(name="side", input="extra", weight=ints(5, 3), weight_frac_bits=1),
        Add(name="sum", inputs=("fc", "side"), signs=(1, -1)),
        Concat(name="both", inputs=("sum", "extra"), axis=0),
        LIF(name="lif", input="both", state=QFormat(16, 4), theta=np.array(8)),
    )
    image, extra = Input((4, 5, 6), QFormat(4, 1), "static", "image"), Input((3,), QFormat(8, 0), name="extra")
    return IntegerNetwork(inputs=(image, extra), num_steps=2, layers=layers, readouts=(Readout("lif"),))


def deep_network() -> IntegerNetwork:
    layers = (
        Linear(name="fc1", input="input", weight=np.array([[3, -1], [0, 2], [-4, 0]]), weight_frac_bits=0),
        LIF(name="lif1", input="fc1", state=QFormat(8, 0), theta=np.array(5)),
        Delay(name="before", input="lif2", shape=(2,), frac_bits=0, low=0, high=1),
        Linear(name="fc2", input="lif1", weight=np.array([[1, 0, -2], [5, -1, 0]]), weight_frac_bits=0),
        Add(name="sum", inputs=("fc2", "before"), signs=(1, 1)),
        LIF(name="lif2", input="sum", state=QFormat(8, 0), theta=np.array(5)),
    )
    return IntegerNetwork(inputs=(Input((2,), QFormat(4, 0)),), num_steps=2, layers=layers, readouts=(Readout("lif2"),))


@pytest.mark.parametrize("target", ["conv", "pool", "finer", "turn", "flat", "sum", "both"])
def test_the_coefficients_of_a_linear_path_predict_its_sums(target: str) -> None:
    network = linear_network()
    shape = network.signals[target].shape
    wanted = RNG.integers(-2, 3, (4, *shape))
    inputs = {source.name: RNG.integers(-8, 8, (4, *source.shape)) for source in network.inputs}
    stepper = Stepper(network)

    def emitted(values: Any) -> Any:
        return stepper.step(stepper.start(4), values)[1][target]

    at_rest = emitted({name: np.zeros_like(array) for name, array in inputs.items()})
    expected = (wanted * (emitted(inputs) - at_rest)).reshape(4, -1).sum(axis=1)
    found = influence(network, target, wanted)
    predicted = sum((found[name] * inputs[name]).reshape(4, -1).sum(axis=1) for name in inputs)
    assert predicted.tolist() == expected.tolist()  # type: ignore[union-attr]


def test_through_neurons_a_drive_is_what_raises_the_spikes_that_are_wanted() -> None:
    found = influence(deep_network(), "fc2", np.eye(2, dtype=int))["input"]
    assert found.tolist() == [[1 * 3 - 2 * -4, 1 * -1], [5 * 3, 5 * -1 - 1 * 2]]


def test_addends_end_at_what_emits() -> None:
    found = addends(deep_network(), "sum", np.array([[1, 0]]))
    assert {name: array.tolist() for name, array in found.items()} == {"lif1": [[1, 0, -2]], "before": [[1, 0]]}


def test_fronts_are_the_neurons_that_sum_inputs() -> None:
    assert [lif.name for lif in linear_fronts(deep_network())] == ["lif1"]
    assert [lif.name for lif in linear_fronts(linear_network())] == ["lif"]
    pooled = (
        MaxPool(name="max", input="input", kernel=(2,), stride=(2,), pads=((0, 0),), dilation=(1,)),
        LIF(name="lif", input="max", state=QFormat(8, 0), theta=np.array(5)),
    )
    parts: dict[str, Any] = {"num_steps": 2, "layers": pooled, "readouts": (Readout("lif"),)}
    assert linear_fronts(IntegerNetwork(inputs=(Input((1, 4), QFormat(4, 0)),), **parts)) == ()

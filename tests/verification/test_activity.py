"""Activity counts what a walk over every single synapse counts, and knows what it does not know."""

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from qleaky import IntegerNetwork, QFormat, run
from qleaky.dynamics import MulShift
from qleaky.errors import InputError
from qleaky.integer import (
    LIF,
    Conv,
    Delay,
    FloatConv,
    FloatInput,
    FloatLIF,
    FloatLinear,
    FloatNetwork,
    Input,
    Linear,
    Readout,
    Reshape,
)
from qleaky.integer.float_network import Golden
from qleaky.reference import Stepper
from qleaky.reference.recording import Recording
from qleaky.verification.activity import Activity, activity
from qleaky.verification.golden import synthetic_inputs
from tests.export.layer_contracts import LAYERS, lif, network
from tests.export.random_contracts import draw
from tests.export.random_contracts import inputs as drawn_inputs

SPIKES = QFormat(1, 0, signed=False)
Values = dict[str, NDArray[Any]]


def emitted(contract: IntegerNetwork, codes: Values) -> list[Values]:
    """What every layer emits at every step, by the reference."""
    stepper = Stepper(contract)
    moving = {source.name for source in contract.inputs if source.time == "sequence"}
    integers = stepper.integers(codes)
    name, first = next(iter(integers.items()))
    states, steps = stepper.start(first.shape[1 if name in moving else 0]), []
    for t in range(contract.num_steps):
        given = {name: array[t] if name in moving else array for name, array in integers.items()}
        states, values = stepper.step(states, given)
        steps.append(given | values)
    return steps


def synapses(layer: Linear | Conv, x: NDArray[Any]) -> list[tuple[int, int]]:
    """(weight, input) of every synapse of one sample, one after the other."""
    if isinstance(layer, Linear):
        rows = x.reshape(-1, x.shape[-1])
        return [(int(w), int(row[i])) for row in rows for weights in layer.weight for i, w in enumerate(weights)]
    found = []
    out, per_group, *kernel = layer.weight.shape
    sizes = [
        (size + sum(pads) - d * (k - 1) - 1) // s + 1 for size, k, s, pads, d in zip(x.shape[1:], *layer.window, strict=True)
    ]
    for channel, *place in np.ndindex(out, *sizes):
        for c, *tap in np.ndindex(per_group, *kernel):
            axes = zip(place, layer.stride, layer.pads, tap, layer.dilation, strict=True)
            position = [o * s - before + k * d for o, s, (before, _), k, d in axes]
            if all(0 <= p < size for p, size in zip(position, x.shape[1:], strict=True)):
                source = channel // (out // layer.groups) * per_group + c
                found.append((int(layer.weight[channel, c, *tap]), int(x[source, *position])))
    return found


def walked(contract: IntegerNetwork, codes: Values) -> dict[str, tuple[int, int, bool]]:
    """Dense operations of an inference, effective ones of all samples, and whether they are accumulations, by layer."""
    steps, found = emitted(contract, codes), {}
    for layer in contract.layers:
        if isinstance(layer, Linear | Conv):
            moving = layer.input in contract.moving
            samples = [x for values in (steps if moving else steps[:1]) for x in values[layer.input]]
            pairs = [synapses(layer, x) for x in samples]
            one = 2.0 ** contract.signals[layer.input].frac_bits
            effective = sum(w != 0 and x != 0 for sample in pairs for w, x in sample)
            accumulations = all(x in (-one, 0, one) for sample in samples for x in sample.reshape(-1).tolist())
            found[layer.name] = (len(pairs[0]) * (contract.num_steps if moving else 1), effective, accumulations)
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_operations_are_those_of_a_walk_over_every_synapse(name: str) -> None:
    contract = LAYERS[name]
    codes = contract.encode_all(synthetic_inputs(contract, samples=5))
    found = activity(contract, run(contract, codes), codes)
    assert {layer.layer: (layer.dense, layer.effective, layer.accumulations) for layer in found.synaptic} == walked(
        contract, codes
    )


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_of_every_kind_of_layer(seed: int) -> None:
    contract = draw(seed)
    codes = drawn_inputs(contract, 2, seed)
    found = activity(contract, run(contract, codes), codes)
    assert {layer.layer: (layer.dense, layer.effective, layer.accumulations) for layer in found.synaptic} == walked(
        contract, codes
    )


@pytest.mark.parametrize("time", ["sequence", "static"])
@pytest.mark.parametrize("seed", range(6))
def test_random_grouped_strided_and_padded_maps(seed: int, time: Any) -> None:
    r = np.random.default_rng(seed)
    groups = int(r.choice([1, 2, 4]))
    kernel = tuple(int(k) for k in r.integers(1, 4, 2))
    weight = r.integers(-1, 2, (8, 4 // groups, *kernel)).astype(np.int8)
    geometry: dict[str, Any] = {
        "stride": tuple(int(s) for s in r.integers(1, 4, 2)),
        "pads": tuple((int(a), int(b)) for a, b in r.integers(0, 3, (2, 2))),
        "dilation": tuple(int(d) for d in r.integers(1, 3, 2)),
        "groups": groups,
    }
    contract = network(
        Conv(name="conv", input="input", weight=weight, weight_frac_bits=0, **geometry),
        lif("lif", "conv"),
        inputs=(Input((4, 7, 6), QFormat(2, 0), time),),
    )
    codes = contract.encode_all(synthetic_inputs(contract, samples=6, seed=seed))
    (found,) = activity(contract, run(contract, codes), codes).synaptic
    assert (found.dense, found.effective, found.accumulations) == walked(contract, codes)["conv"]
    assert found.zero_weights == int((weight == 0).sum())


def two_neurons(theta: Any = 2, **fields: Any) -> IntegerNetwork:
    weight = np.array([[3, 0], [0, -3]], np.int8)
    return IntegerNetwork(
        inputs=(Input((2,), fields.pop("fmt", SPIKES)),),
        num_steps=3,
        layers=(
            Linear(name="fc", input="input", weight=weight, bias=np.array([0, 1], np.int16), weight_frac_bits=0),
            LIF(name="lif", input="fc", state=QFormat(3, 0), theta=np.array(theta, np.int8), **fields),
        ),
        readouts=(Readout("lif", "spike_count"),),
    )


def counted(contract: IntegerNetwork, codes: Any, file_bytes: int | None = None) -> Activity:
    given = contract.encode_all(np.array(codes, np.uint8))
    return activity(contract, run(contract, given), given, file_bytes)


def test_a_case_counted_by_hand() -> None:
    """Input (1, 1), (0, 1), (1, 0): two spikes meet the weight 3 and two the weight -3; the zeros between cost nothing.

    Membranes of the first neuron: 3 (fires), then 3 + 0 - 2 = 1, then 1 + 3 = 3 saturated at 3 of Q2.0: 4 becomes 3 (fires).
    Those of the second: 1 - 3 = -2, then -4, the lowest code, then -4 + 1 = -3.
    """
    found = counted(two_neurons(), [[[1, 1]], [[0, 1]], [[1, 0]]], file_bytes=700)
    (fc,), (lif_layer,) = found.synaptic, found.spiking
    assert (fc.weights, fc.zero_weights, fc.evaluations, fc.dense) == (4, 2, 3, 12)
    assert (fc.effective, fc.acs, fc.macs) == (4, 4, 0)
    assert (lif_layer.neurons, lif_layer.neuron_steps, lif_layer.active) == (2, 6, 2)
    assert (lif_layer.silent, lif_layer.always_active) == (1, 0)
    assert (lif_layer.at_lowest, lif_layer.at_highest) == (1, 2)
    assert (found.dense, found.acs, found.macs, found.file_bytes) == (12, 4, 0, 700)
    assert found.parameter_bytes == 4 + 2 * 2 + 1
    assert found.state_bytes == 2


def test_a_neuron_that_fires_at_every_step_is_counted() -> None:
    found = counted(two_neurons(theta=0), [[[1, 0]], [[1, 0]], [[1, 0]]])
    assert (found.spiking[0].always_active, found.spiking[0].silent) == (2, 0)


def test_inputs_of_other_sizes_than_one_are_multiplied() -> None:
    contract = two_neurons(fmt=QFormat(2, 0, signed=False))
    assert counted(contract, [[[1, 1]], [[0, 1]], [[1, 0]]]).acs == 4
    found = counted(contract, [[[2, 1]], [[0, 1]], [[1, 0]]])
    assert (found.acs, found.macs) == (0, 4)


def test_one_is_a_value_and_not_a_code() -> None:
    contract = two_neurons(fmt=QFormat(3, 1, signed=False))
    assert counted(contract, [[[2, 2]], [[0, 2]], [[2, 0]]]).acs == 4
    assert counted(contract, [[[1, 1]], [[0, 1]], [[1, 0]]]).macs == 4


def test_samples_add_up_whether_they_come_in_one_piece_or_in_many() -> None:
    contract = two_neurons()
    codes = np.random.default_rng(0).integers(0, 2, (3, 600, 2)).astype(np.uint8)
    parts = [counted(contract, codes[:, part]) for part in (slice(0, 300), slice(300, 600))]
    whole = counted(contract, codes)
    assert whole.acs == sum(part.acs or 0 for part in parts)
    assert whole.spiking[0].active == sum(part.spiking[0].active for part in parts)
    assert whole.samples == 600


def test_states_take_whole_bytes_of_their_formats() -> None:
    layers = (
        Delay(name="back", input="lif", shape=(5,), frac_bits=0, low=-300, high=1),
        LIF(name="lif", input="input", state=QFormat(12, 2), theta=np.array(9), decay=MulShift(n=3), multiplier=np.array(7)),
    )
    contract = IntegerNetwork(inputs=(Input((5,), SPIKES),), num_steps=2, layers=layers, readouts=(Readout("lif"),))
    found = counted(contract, np.zeros((2, 1, 5)))
    assert found.state_bytes == 5 * 2 + 5 * 2
    assert found.parameter_bytes == 8 + 8


def float_network(*layers: Any, shape: tuple[int, ...], neurons: tuple[int, ...], spikes: NDArray[Any]) -> FloatNetwork:
    x = np.ones((2, 1, *shape), np.float32)
    x[0] = 0
    golden = Golden({"input": x}, {"lif": spikes}, {"lif": np.zeros((2, 1, *neurons), np.float32)})
    return FloatNetwork(
        inputs=(FloatInput(shape),), num_steps=2, layers=layers, readouts=(Readout("lif"),), reasons=("floats",), golden=golden
    )


def float_lif(source: str) -> FloatLIF:
    one = np.array(1.0, np.float32)
    return FloatLIF(name="lif", input=source, beta=one, theta=one, graded=one)


def test_of_a_float_network_what_is_known_is_counted() -> None:
    weight = np.array([[0.5, 0.0], [0.25, -1.0]], np.float32)
    kernel = np.ones((2, 1, 2, 2), np.float32)
    net = float_network(
        FloatConv(name="conv", input="input", weight=kernel, stride=(1, 1), pads=((0, 0), (0, 0)), dilation=(1, 1)),
        Reshape(name="flat", input="conv", shape=(2,)),
        FloatLinear(name="fc", input="flat", weight=weight),
        float_lif("fc"),
        FloatLinear(name="head", input="lif", weight=weight),
        shape=(1, 2, 2),
        neurons=(2,),
        spikes=np.array([[[1, 0]], [[1, 1]]], np.float32),
    )
    recording = Recording(net.golden.spikes, net.golden.membranes, {})
    found = activity(net, recording, net.golden.inputs)
    conv, fc, head = found.synaptic
    assert (conv.dense, conv.effective, conv.accumulations) == (2 * 8, 8, True)
    assert (fc.dense, fc.effective, fc.accumulations) == (2 * 4, None, None)
    assert (head.effective, head.accumulations) == (2 + 2 + 1, True)
    assert (found.acs, found.macs) == (None, None)
    assert (found.spiking[0].active, found.spiking[0].at_highest) == (3, None)
    assert (found.parameter_bytes, found.state_bytes) == (4 * (8 + 4 + 4 + 3), 4 * 2)


def test_counts_travel_as_json() -> None:
    found = counted(two_neurons(), [[[1, 1]], [[0, 1]], [[1, 0]]])
    assert msgspec.json.decode(msgspec.json.encode(found), type=Activity) == found


def test_a_recording_of_another_network_is_refused() -> None:
    contract = two_neurons()
    codes = contract.encode_all(np.zeros((3, 1, 2), np.uint8))
    recording = run(contract, codes)
    with pytest.raises(InputError, match="pass a recording of this network"):
        activity(LAYERS["conv of spikes"], recording, codes)

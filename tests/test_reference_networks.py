"""Whole networks of every layer: NumPy against the scalar reference, step by step, and what is read out of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.errors import InputError
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer import (
    LIF,
    Add,
    Affine,
    AveragePool,
    Concat,
    Conv,
    Delay,
    FloatInput,
    FloatLIF,
    FloatNetwork,
    Golden,
    Input,
    IntegerNetwork,
    Linear,
    MaxPool,
    Readout,
    Reshape,
    Signal,
    Synapse,
    Transpose,
)
from qleaky.reference import Stepper, run, run_scalar
from qleaky.reference.recording import read_out

BYTE = QFormat(8, 0)
Array = np.ndarray[Any, Any]


def neuron(theta: int = 10, **changes: Any) -> LIF:
    return LIF(**{"name": "lif", "input": "input", "state": BYTE, "theta": np.array(theta)} | changes)


ROUNDINGS, SITES = st.sampled_from(Rounding), st.sampled_from(RoundingSite)
OVERFLOWS = st.sampled_from([Overflow.SATURATE, Overflow.WRAP])


def decays(draw: st.DrawFn, shape: tuple[int, ...]) -> dict[str, Any]:
    decay = draw(
        st.none()
        | st.builds(MulShift, n=st.integers(0, 8), rounding=st.none() | ROUNDINGS)
        | st.builds(ShiftDecay, k=st.integers(1, 5))
    )
    if not isinstance(decay, MulShift):
        return {"decay": decay}
    shape = draw(st.sampled_from([(), shape, (shape[0], *(1 for _ in shape[1:]))]))
    values = np.random.default_rng(draw(st.integers(0, 999))).integers(0, (1 << decay.n) + 1, shape)
    return {"decay": decay, "multiplier": values}


def lifs(draw: st.DrawFn, name: str, source: Signal, origin: str) -> LIF:
    """A layer of random dynamics whose membranes move: its grid is near that of the current."""
    rng, bits = np.random.default_rng(draw(st.integers(0, 999))), draw(st.integers(4, 12))
    needed = max(source.magnitude, 1).bit_length() - source.frac_bits
    state = QFormat(bits, bits - needed + draw(st.integers(-2, 2)), draw(st.booleans()))
    mechanism, timing = draw(st.sampled_from(ResetMechanism)), draw(st.sampled_from(ResetTiming))
    counted = mechanism is ResetMechanism.SUBTRACT and timing is not ResetTiming.UNDELAYED
    synapse = None
    if draw(st.integers(0, 3)) == 0:
        how = {"rounding": draw(ROUNDINGS), "rounding_site": draw(SITES), "overflow": draw(OVERFLOWS)}
        synapse = Synapse(state=QFormat(bits, state.frac_bits + draw(st.integers(-1, 2))), **decays(draw, source.shape), **how)
    return LIF(
        name=name,
        input=origin,
        state=state,
        theta=rng.integers(1, state.highest // 2 + 1, draw(st.sampled_from([(), source.shape]))),
        **decays(draw, source.shape),
        reset_mechanism=mechanism,
        reset_timing=timing,
        compare=draw(st.sampled_from(Compare)),
        rounding=draw(ROUNDINGS),
        rounding_site=draw(SITES),
        overflow=draw(OVERFLOWS),
        graded=rng.integers(-3, 4, draw(st.sampled_from([(), source.shape]))) if draw(st.booleans()) else None,
        graded_frac_bits=draw(st.integers(-1, 2)),
        max_spikes=draw(st.integers(1, 4)) if counted else 1,
        input_shift=draw(st.integers(0, 2)),
        synapse=synapse,
    )


def window(draw: st.DrawFn) -> dict[str, Any]:
    pairs = {key: (draw(st.integers(1, 2)), draw(st.integers(1, 2))) for key in ("stride", "dilation")}
    return pairs | {"pads": tuple((draw(st.integers(0, 1)), draw(st.integers(0, 1))) for _ in range(2))}


@st.composite
def networks(draw: st.DrawFn) -> IntegerNetwork:
    """Image -> conv -> LIF -> pools -> join -> affine -> linear, plus a second input and feedback -> LIF."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups, times = draw(st.sampled_from([1, 2])), st.sampled_from(["sequence", "static"])
    image = Input(
        (2, 5, 5),
        draw(st.sampled_from([QFormat(1, 0, signed=False), QFormat(4, 1), QFormat(3, 0, False, 3)])),
        draw(times),
        "image",
    )
    side = Input((3,), QFormat(6, 2), draw(times), "side")
    signals, layers = {"image": image.signal, "side": side.signal}, []

    def put(layer: Any) -> None:
        layers.append(layer)
        signals[layer.name] = (
            layer.output(*(signals[name] for name in layer.inputs)) if not isinstance(layer, Delay) else layer.output()
        )

    weight = rng.integers(-9, 10, (4, 2 // groups, 2, 2))
    bias = rng.integers(-20, 21, 4) if draw(st.booleans()) else None
    put(Conv(name="conv", input="image", weight=weight, bias=bias, weight_frac_bits=3, groups=groups, **window(draw)))
    put(lifs(draw, "lif", signals["conv"], "conv"))
    how: dict[str, Any] = {"input": "lif", "kernel": (2, 1), "stride": (1, 2), "pads": ((1, 0), (0, 0))}
    put(MaxPool(name="max", dilation=(1, 1), **how))
    put(AveragePool(name="mean", divisor=2, **how))
    put(Concat(name="join", inputs=("max", "mean"), axis=draw(st.integers(0, 2))))
    put(
        Affine(name="affine", input="join", scale=rng.integers(-3, 4, ()), bias=rng.integers(-3, 4, signals["join"].shape[-1:]))
    )
    put(Transpose(name="turn", input="affine", axes=(2, 0, 1)))
    size = int(np.prod(signals["turn"].shape))
    put(Reshape(name="flat", input="turn", shape=(size,)))
    put(Linear(name="fc", input="flat", weight=rng.integers(-9, 10, (3, size)), weight_frac_bits=4))
    put(Delay(name="before", input="out", shape=(3,), frac_bits=0, low=-9, high=9))
    put(Add(name="sum", inputs=("fc", "side", "before"), signs=(1, draw(st.sampled_from([1, -1])), 1)))
    out = lifs(draw, "out", signals["sum"], "sum")
    graded = None if out.graded is None else np.clip(out.graded, -2, 2)
    put(LIF(**{f: getattr(out, f) for f in out.__struct_fields__} | {"graded": graded, "graded_frac_bits": 0}))
    readouts = (
        Readout("out", "spike_count", argmax=True),
        Readout("lif", draw(st.sampled_from(["membrane_mean", "last_membrane"]))),
    )
    return IntegerNetwork(inputs=(image, side), num_steps=draw(st.integers(1, 5)), layers=tuple(layers), readouts=readouts)


def codes_for(network: IntegerNetwork, batch: int, seed: int) -> dict[str, Array]:
    rng, codes = np.random.default_rng(seed), {}
    for source in network.inputs:
        lead = (network.num_steps, batch) if source.time == "sequence" else (batch,)
        codes[source.name] = rng.integers(source.format.lowest, source.format.highest + 1, (*lead, *source.shape))
    return codes


def sample_of(network: IntegerNetwork, codes: dict[str, Array], index: int) -> dict[str, Array]:
    return {i.name: codes[i.name][:, index] if i.time == "sequence" else codes[i.name][index] for i in network.inputs}


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(0, 2**32 - 1))
def test_numpy_runs_networks_of_every_layer_as_the_scalar_specification_does(network: IntegerNetwork, seed: int) -> None:
    codes = codes_for(network, 2, seed)
    recording = run(network, codes)
    bounds = {b.layer: b for b in network.proof.layers}
    for index in range(2):
        expected = run_scalar(network, sample_of(network, codes, index))
        for name in ("lif", "out"):
            assert recording.membranes[name][:, index].tolist() == expected[f"{name}.mem"]
            assert recording.spikes[name][:, index].tolist() == expected[f"{name}.spk"]
            assert (name in recording.synapses) == (f"{name}.syn" in expected)
    for name, membranes in recording.membranes.items():
        assert bounds[name].mem_low <= membranes.min() <= membranes.max() <= bounds[name].mem_high
        signal = network.signals[name]
        assert signal.low <= recording.spikes[name].min() <= recording.spikes[name].max() <= signal.high
    for name, synapses in recording.synapses.items():
        part = bounds[name].synapse
        assert part is not None
        assert part.mem_low <= synapses.min() <= synapses.max() <= part.mem_high
    assert recording.outputs["out.spike_count"].tolist() == recording.spikes["out"].sum(0).tolist()
    assert recording.outputs["out.class"].tolist() == recording.spikes["out"].sum(0).argmax(-1).tolist()


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(0, 2**32 - 1))
def test_steps_make_a_run(network: IntegerNetwork, seed: int) -> None:
    """A stepper fed one step at a time, every layer computed anew in each, and each value inside its signal's range."""
    codes = codes_for(network, 2, seed)
    recording, stepper = run(network, codes), Stepper(network)
    states, whole = stepper.start(2), stepper.integers(codes)
    for t in range(network.num_steps):
        states, values = stepper.step(
            states, {i.name: whole[i.name][t] if i.time == "sequence" else whole[i.name] for i in network.inputs}
        )
        for name, membranes in recording.membranes.items():
            assert np.array_equal(states.membranes[name], membranes[t])
            assert np.array_equal(values[name], recording.spikes[name][t])
        for name, value in values.items():
            lows, highs = network.signals[name].full()
            assert ((lows <= value) & (value <= highs)).all()


def test_inputs_of_a_network_with_several() -> None:
    layers = (Add(name="sum", inputs=("a", "b"), signs=(1, 1)), LIF(name="lif", input="sum", state=BYTE, theta=np.array(9)))
    inputs = (Input((1,), BYTE, name="a"), Input((1,), BYTE, "static", "b"))
    network = IntegerNetwork(inputs=inputs, num_steps=2, layers=layers, readouts=(Readout("lif"),))
    a, b = np.array([[[1]], [[2]]]), np.array([[3]])
    for values in ({"a": a, "b": b}, (a, b), [a, b]):
        assert run(network, values).membranes["lif"].ravel().tolist() == [4, 9]
    assert run_scalar(network, ([[1], [2]], [3]))["lif.mem"] == [[4], [9]]
    for values, message in (
        ({"a": a}, r"inputs are called \['a'\]; this network takes a, b"),
        (a, "this network has 2 inputs, a, b; pass a dict, or a tuple in this order"),
        ((a, np.zeros((2, 1), int)), r"the inputs have batches of \{'a': 1, 'b': 2\}"),
        ((a, b[0]), r"inputs of 'b' have shape \(1,\); this network takes \(B, 1\)"),
    ):
        with pytest.raises(InputError, match=message):
            run(network, values)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_neurons_of_any_shape(shape: tuple[int, ...]) -> None:
    network = IntegerNetwork(
        inputs=(Input(shape, BYTE),), num_steps=2, layers=(neuron(),), readouts=(Readout("lif", "spike_count"),)
    )
    codes = np.full((2, 4, *shape), 11)
    recording = run(network, codes)
    assert recording.outputs["spike_count"].shape == (4, *shape)
    assert recording.membranes["lif"][:, 0].tolist() == run_scalar(network, codes[:, 0])["lif.mem"]


@pytest.mark.parametrize("argmax", [False, True])
def test_readouts_of_integers_and_of_floats(argmax: bool) -> None:
    """Integers add up in int64; 2**24 + 1 + 1 in float64, rounded to float32 once. The lowest index of equals wins."""
    spikes = {"lif": np.array([[[1, 0, 1]], [[1, 1, 1]]])}
    membranes = {"lif": np.array([[[1 << 40, 0, 2]], [[3, 4, 5]]])}
    readouts = tuple(Readout("lif", kind, argmax) for kind in ("spike_count", "last_membrane"))
    parts: dict[str, Any] = {"num_steps": 2, "readouts": readouts[:1]}
    network = IntegerNetwork(inputs=(Input((3,), BYTE),), layers=(neuron(),), **parts)
    outputs = read_out(network, spikes, membranes)
    assert list(outputs) == ["spike_count", "class"][: 1 + argmax]
    assert outputs["spike_count"].tolist() == [[2, 1, 2]]
    assert not argmax or outputs["class"].tolist() == [0]
    total = IntegerNetwork(
        inputs=network.inputs, num_steps=2, layers=network.layers, readouts=(Readout("lif", "membrane_mean"),)
    )
    assert read_out(total, spikes, membranes)["membrane_sum"].tolist() == [[(1 << 40) + 3, 4, 7]]

    one = np.ones((), np.float32)
    floats = {"lif": np.array([[[1 << 24]], [[1]], [[1]]], np.float32)}
    layer = FloatLIF(name="lif", input="input", beta=one, theta=one, graded=one)
    golden = Golden({"input": floats["lif"]}, floats, floats)
    several = (Readout("lif", "membrane_mean"), Readout("lif", "last_membrane"))
    inexact = FloatNetwork(
        inputs=(FloatInput((1,)),), num_steps=3, layers=(layer,), readouts=several, reasons=(), golden=golden
    )
    outputs = read_out(inexact, floats, floats)
    assert outputs["lif.membrane_sum"].dtype == np.float32
    assert outputs["lif.membrane_sum"].tolist() == [[float((1 << 24) + 2)]]
    assert outputs["lif.last_membrane"].tolist() == [[1.0]]


def test_a_float_network_has_no_integers_to_run() -> None:
    zeros, one = np.zeros((1, 1, 1), np.float32), np.ones((), np.float32)
    layer = FloatLIF(name="lif", input="input", beta=one, theta=one, graded=one)
    golden, readouts = Golden({"input": zeros}, {"lif": zeros}, {"lif": zeros}), (Readout("lif"),)
    network = FloatNetwork(
        inputs=(FloatInput((1,)),), num_steps=1, layers=(layer,), readouts=readouts, reasons=(), golden=golden
    )
    with pytest.raises(InputError, match=r"qleaky\.run computes integers; a FloatNetwork has none"):
        run(network, zeros)  # type: ignore[arg-type]

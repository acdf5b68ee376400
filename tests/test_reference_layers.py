"""Every kind of layer: NumPy against the scalar reference, and that against torch and naive loops."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from qleaky.dynamics import Compare, MulShift, ResetTiming
from qleaky.fixed import QFormat
from qleaky.integer import (
    LIF,
    Add,
    Affine,
    AveragePool,
    Concat,
    Conv,
    Delay,
    Input,
    IntegerNetwork,
    Layer,
    Linear,
    MaxPool,
    Readout,
    Reshape,
    Signal,
    Synapse,
    Transpose,
)
from qleaky.integer.bounds import layer_bounds
from qleaky.reference import lif_step, run, run_scalar
from qleaky.reference.array_layers import carrier, prepare
from qleaky.reference.scalar import synapse_step
from qleaky.reference.scalar_layers import evaluate, integers

BYTE = QFormat(8, 0)
Array = np.ndarray[Any, Any]


def both(layer: Any, *xs: Array, frac_bits: tuple[int, ...] = (0,)) -> Array:
    """What a layer computes from samples (B, ...), in NumPy; the scalar reference must agree."""
    grids = frac_bits * len(xs) if len(frac_bits) == 1 else frac_bits
    signals = [Signal(x.shape[1:], f, np.array(x.min()), np.array(x.max())) for x, f in zip(xs, grids, strict=True)]
    output = layer.output(*signals)
    bounds = layer_bounds(layer, signals, output)
    result = prepare(layer, signals, bounds.accumulate if bounds else 0)(*(x.astype(np.int64) for x in xs))
    assert result.dtype == np.int64
    assert result.shape == (len(xs[0]), *output.shape)
    lows, highs = output.full()
    assert ((lows <= result) & (result <= highs)).all()
    for index in range(len(xs[0])):
        scalar = evaluate(layer, [integers(x[index]) for x in xs], signals, output.shape)
        assert scalar.tolist() == result[index].tolist()
    return result


def numbers(rng: np.random.Generator, *shape: int, low: int = -9, high: int = 9) -> Array:
    return rng.integers(low, high + 1, shape)


# Weights


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
@pytest.mark.parametrize("bits", [8, 20, 31])
def test_linear(bits: int, lead: tuple[int, ...]) -> None:
    """8 bits go through float32, 20 through float64, 31 through int64; all are exact."""
    rng, reach = np.random.default_rng(bits), (1 << (bits - 1)) - 1
    weight, bias = rng.integers(-reach, reach + 1, (3, 5)), rng.integers(-reach, reach + 1, 3)
    x = rng.integers(-reach, reach + 1, (2, *lead, 5))
    layer = Linear(name="fc", input="input", weight=weight, bias=bias, weight_frac_bits=0)
    assert both(layer, x).tolist() == (x @ weight.T + bias).tolist()


def test_the_carrier_of_a_product_holds_every_partial_sum() -> None:
    assert carrier(1 << 24) is np.float32
    assert carrier((1 << 24) + 1) is carrier((1 << 53) - 1) is np.float64
    assert carrier(1 << 53) is np.int64


windows = st.fixed_dictionaries(
    {
        "kernel": st.integers(1, 3),
        "stride": st.integers(1, 3),
        "before": st.integers(0, 2),
        "after": st.integers(0, 2),
        "dilation": st.integers(1, 2),
    }
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(windows, min_size=1, max_size=2), st.sampled_from([1, 2, 3]), st.booleans(), st.integers(0, 2**32 - 1))
def test_conv_is_that_of_torch(axes: list[dict[str, int]], groups: int, biased: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [axis["dilation"] * (axis["kernel"] - 1) + 1 + int(rng.integers(0, 3)) for axis in axes]
    x = numbers(rng, 2, 2 * groups, *sizes)
    weight = numbers(rng, 3 * groups, 2, *(axis["kernel"] for axis in axes), low=-127, high=127)
    bias = numbers(rng, 3 * groups, low=-500, high=500) if biased else None
    layer = Conv(
        name="conv",
        input="input",
        weight=weight,
        bias=bias,
        weight_frac_bits=0,
        stride=tuple(axis["stride"] for axis in axes),
        pads=tuple((axis["before"], axis["after"]) for axis in axes),
        dilation=tuple(axis["dilation"] for axis in axes),
        groups=groups,
    )
    convolve: Any = functional.conv1d if len(axes) == 1 else functional.conv2d
    padded = np.pad(x, ((0, 0), (0, 0), *layer.pads))
    given = [None if a is None else torch.from_numpy(a).double() for a in (padded, weight, bias)]
    expected = convolve(*given, stride=layer.stride, dilation=layer.dilation, groups=groups)
    assert both(layer, x).tolist() == expected.long().tolist()


def test_conv_by_hand() -> None:
    """Two taps, the second one to the right: 1*1 + 10*2, 1*2 + 10*3, and 1*3 + 10*0 of the padding."""
    layer = Conv(
        name="conv",
        input="input",
        weight=np.array([[[1, 10]]]),
        bias=np.array([100]),
        weight_frac_bits=0,
        stride=(1,),
        pads=((0, 1),),
        dilation=(1,),
    )
    assert both(layer, np.array([[[1, 2, 3]]])).tolist() == [[[121, 132, 103]]]


@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (2, 3)])
def test_affine(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, scale, bias = numbers(rng, 4, 2, 3), numbers(rng, *shape), numbers(rng, *shape)
    layer = Affine(name="bn", input="input", scale=scale, bias=bias, scale_frac_bits=2)
    assert both(layer, x).tolist() == (x * scale + bias).tolist()


def test_an_affine_without_a_scale_moves_to_its_own_grid() -> None:
    assert both(Affine(name="bn", input="input", bias=np.array([1]), scale_frac_bits=3), np.array([[5, -1]])).tolist() == [
        [41, -7]
    ]
    assert both(Affine(name="bn", input="input"), np.array([[5, -1]])).tolist() == [[5, -1]]


# Pools


@settings(max_examples=100)
@given(st.lists(windows, min_size=1, max_size=2), st.integers(0, 2**32 - 1))
def test_pools_are_those_of_torch(axes: list[dict[str, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, stride, dilation = (tuple(axis[key] for axis in axes) for key in ("kernel", "stride", "dilation"))
    same = [min(axis["before"], axis["kernel"] // 2) for axis in axes]
    sizes = [axis["dilation"] * (axis["kernel"] - 1) + 1 + int(rng.integers(0, 3)) for axis in axes]
    x, pads = numbers(rng, 2, 3, *sizes), tuple((p, p) for p in same)
    exact, dim = torch.from_numpy(x).double(), f"{len(axes)}d"
    largest = MaxPool(name="max", input="input", kernel=kernel, stride=stride, pads=pads, dilation=dilation)
    expected = getattr(functional, f"max_pool{dim}")(exact, kernel, stride, same, dilation)
    assert both(largest, x).tolist() == expected.long().tolist()
    total = AveragePool(name="mean", input="input", kernel=kernel, stride=stride, pads=pads, divisor=4)
    expected = getattr(functional, f"avg_pool{dim}")(exact, kernel, stride, same) * np.prod(kernel)
    assert both(total, x).tolist() == expected.round().long().tolist()


def test_pools_with_uneven_padding_by_hand() -> None:
    x = np.array([[[-1, -5, -2]]])
    how: dict[str, Any] = {"input": "input", "kernel": (2,), "stride": (2,), "pads": ((0, 1),)}
    assert both(MaxPool(name="max", dilation=(1,), **how), x).tolist() == [[[-1, -2]]], "padding is never the largest"
    assert both(AveragePool(name="mean", divisor=2, **how), x).tolist() == [[[-6, -2]]], "padding counts as zero"


# Shapes, sums, joins


def test_reshape_and_transpose() -> None:
    x = np.arange(24).reshape(2, 3, 4)
    assert both(Reshape(name="flat", input="input", shape=(4, 3)), x).tolist() == x.reshape(2, 4, 3).tolist()
    assert both(Transpose(name="turn", input="input", axes=(1, 0)), x).tolist() == x.transpose(0, 2, 1).tolist()


def test_add_aligns_grids_signs_and_shapes() -> None:
    """Grids of 1, 1/4 and 1/2; samples (3,), (2, 3) and (2, 1)."""
    rng = np.random.default_rng(0)
    a, b, c = numbers(rng, 2, 3), numbers(rng, 2, 2, 3), numbers(rng, 2, 2, 1)
    layer = Add(name="sum", inputs=("a", "b", "c"), signs=(1, -1, 1))
    assert both(layer, a, b, c, frac_bits=(0, 2, 1)).tolist() == (4 * a[:, None] - b + 2 * c).tolist()


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_concat_aligns_grids(axis: int) -> None:
    a, b = np.ones((2, 3, 3), int), np.ones((2, 3, 3), int)
    expected = np.concatenate([8 * a, b], axis + 1 if axis >= 0 else axis)
    layer = Concat(name="join", inputs=("a", "b"), axis=axis)
    assert both(layer, a, b, frac_bits=(-1, 2)).tolist() == expected.tolist()


# Spikes counted and graded, currents shifted, synapses


def neuron(theta: int = 10, **changes: Any) -> LIF:
    return LIF(**{"name": "lif", "input": "input", "state": BYTE, "theta": np.array(theta)} | changes)


@pytest.mark.parametrize(
    ("compare", "counts"), [(Compare.STRICT, [0, 0, 0, 0, 1, 1, 2, 3, 3]), (Compare.INCLUSIVE, [0, 0, 0, 1, 1, 2, 2, 3, 3])]
)
def test_a_neuron_fires_as_often_as_its_threshold_can_be_taken_off(compare: Compare, counts: list[int]) -> None:
    """Membranes -30, 0, 9, 10, 11, 20, 21, 31, 127 with a threshold of 10 and at most 3 spikes."""
    layer = neuron(compare=compare, max_spikes=3, reset_timing=ResetTiming.SAME_STEP)
    mems = [-30, 0, 9, 10, 11, 20, 21, 31, 127]
    steps = [lif_step(layer, 0, current, 10, 0, 0) for current in mems]
    assert steps == [(mem - 10 * count, count) for mem, count in zip(mems, counts, strict=True)]


def test_a_delayed_reset_takes_off_what_was_fired_a_step_before() -> None:
    layer = neuron(max_spikes=3)
    assert lif_step(layer, 25, 0, 10, 0, 0) == (5, 0)
    assert lif_step(layer, 127, 0, 10, 0, 0) == (97, 3)
    assert lif_step(layer, -25, 0, 10, 0, 0) == (-25, 0)


def test_what_is_emitted_is_the_count_times_the_graded_factor() -> None:
    layer = neuron(max_spikes=3, graded=np.array([1, -2, 5]), graded_frac_bits=1)
    network = IntegerNetwork(inputs=(Input((3,), BYTE),), num_steps=1, layers=(layer,), readouts=(Readout("lif"),))
    codes = np.array([[[25, 25, 25]], [[5, 35, 99]]]).swapaxes(0, 1)
    assert run(network, codes).outputs["spikes"].tolist() == [[[2, -4, 10], [0, -6, 15]]]
    assert run_scalar(network, codes[:, 1])["lif.spk"] == [[0, -6, 15]]
    assert (network.signals["lif"].low, network.signals["lif"].high, network.signals["lif"].frac_bits) == (-6, 15, 1)


def test_an_input_shift_moves_the_current_up() -> None:
    layer = neuron(theta=100, input_shift=3)
    network = IntegerNetwork(inputs=(Input((1,), QFormat(8, 1)),), num_steps=1, layers=(layer,), readouts=(Readout("lif"),))
    assert run(network, [[[5]]]).membranes["lif"].tolist() == [[[20]]], "5/2 * 8"
    assert run_scalar(network, [[5]])["lif.mem"] == [[20]]


def test_a_synapse_by_hand() -> None:
    """J halves a step, in quarters of the membrane's step: 8, 4, 2, 1, 1 (0.5 half up); U adds J/4 half up: 2, 3, 4, 4, 4."""
    synapse = Synapse(state=QFormat(8, 2), decay=MulShift(n=1), multiplier=np.array(1))
    assert [synapse_step(synapse, j, 0, 1, 2) for j in (8, 4, 2, 1)] == [4, 2, 1, 1]
    layer = neuron(theta=100, synapse=synapse)
    network = IntegerNetwork(inputs=(Input((1,), QFormat(8, 0)),), num_steps=5, layers=(layer,), readouts=(Readout("lif"),))
    recording = run(network, np.array([2, 0, 0, 0, 0]).reshape(5, 1, 1))
    assert recording.synapses["lif"].ravel().tolist() == [8, 4, 2, 1, 1]
    assert recording.membranes["lif"].ravel().tolist() == [2, 3, 4, 4, 4]


# Delays


def test_a_delay_closes_a_loop() -> None:
    """A neuron excites itself a step later: 12 fires, then 12 - 10 + 6."""
    layers = (
        Delay(name="before", input="lif", shape=(1,), frac_bits=0, low=0, high=1),
        Linear(name="back", input="before", weight=np.array([[6]]), weight_frac_bits=0),
        Add(name="sum", inputs=("input", "back"), signs=(1, 1)),
        neuron(input="sum"),
    )
    network = IntegerNetwork(inputs=(Input((1,), BYTE),), num_steps=4, layers=layers, readouts=(Readout("lif"),))
    codes = np.array([12, 0, 0, 5]).reshape(4, 1, 1)
    assert run(network, codes).membranes["lif"].ravel().tolist() == [12, 8, 8, 13]
    assert run_scalar(network, codes[:, 0])["lif.mem"] == [[12], [8], [8], [13]]


def test_a_delay_of_a_static_input_begins_with_zero() -> None:
    layers: tuple[Layer, ...] = (
        Delay(name="late", input="input", shape=(1,), frac_bits=0, low=-128, high=127),
        LIF(name="lif", input="late", state=BYTE, theta=np.array(100)),
    )
    network = IntegerNetwork(inputs=(Input((1,), BYTE, "static"),), num_steps=3, layers=layers, readouts=(Readout("lif"),))
    assert network.moving == {"late", "lif"}
    assert run(network, [[7]]).membranes["lif"].ravel().tolist() == [0, 7, 14]
    assert run_scalar(network, [7])["lif.mem"] == run_scalar(network, [[7]] * 3)["lif.mem"] == [[0], [7], [14]]

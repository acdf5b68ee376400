"""The bounds that bit-for-bit rests on: worked by hand, against brute force, and true of float32 where they say so."""

import itertools
import time
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.fixed import Overflow, QFormat, Rounding
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
    Linear,
    MaxPool,
    Readout,
    Reshape,
    Transpose,
)
from qleaky.integer.bounds import layer_bounds, lif_bounds
from qleaky.integer.reach import Interval, reach
from qleaky.integer.signals import Signal

SENSOR = QFormat(8, 6, signed=False, zero_point=128)
SPIKES = QFormat(1, 0, signed=False)
Q2_5 = QFormat(8, 5)
WEIGHT = np.array([[3, -5], [127, 0], [-127, 2]], np.int8)


def linear(weight: Any, bias: Any = None, weight_frac_bits: int = 0) -> Linear:
    codes = None if bias is None else np.array(bias)
    return Linear(name="fc", input="input", weight=np.asarray(weight), bias=codes, weight_frac_bits=weight_frac_bits)


def lif(state: QFormat = Q2_5, theta: int = 32, **changes: Any) -> LIF:
    decay = {"decay": MulShift(n=8), "multiplier": np.array(230)}
    return LIF(**{"name": "lif", "input": "fc", "state": state, "theta": np.array(theta)} | decay | changes)


def network(fc: Linear, layer: LIF | None = None, fmt: QFormat = SENSOR) -> IntegerNetwork:
    layers = (fc, layer or lif())
    return IntegerNetwork(inputs=(Input((fc.weight.shape[1],), fmt),), num_steps=3, layers=layers, readouts=(Readout("lif"),))


CHANNELS = np.array([-1, 0]).reshape(2, 1, 1), np.array([3, 5]).reshape(2, 1, 1)
WINDOWS = np.stack([np.full((2, 2, 2), -2), np.ones((2, 2, 2), int)])


def between(low: int, high: int, *shape: int, frac_bits: int = 0) -> Signal:
    return Signal(shape or (2,), frac_bits, np.array(low), np.array(high))


# By hand


@pytest.mark.parametrize(
    ("fmt", "bias", "accumulate"),
    [
        (SENSOR, [1000, -2, 0], 129 * 128),  # rows 8*128 + 1000, 127*128 + 2, 129*128
        (SENSOR, [16000, -2, 0], 8 * 128 + 16000),
        (SENSOR, None, 129 * 128),
        (SPIKES, [1000, -2, 0], 8 + 1000),
        (SPIKES, None, 129),
        (QFormat(8, 0, narrow=True), None, 129 * 127),
        (QFormat(4, 0, signed=False, zero_point=3), None, 129 * 12),
    ],
)
def test_the_accumulate_bound(fmt: QFormat, bias: Any, accumulate: int) -> None:
    bounds = network(linear(WEIGHT, bias), fmt=fmt).proof.layers[0]
    assert (bounds.layer, bounds.kind) == ("fc", "linear")
    assert bounds.accumulate == bounds.largest == bounds.training_bound == accumulate
    assert bounds.accumulator_bits == accumulate.bit_length() + 1
    assert (bounds.training_carrier, bounds.training_limit) == ("float32", 2**24)


def test_the_range_of_a_current() -> None:
    """Rows: 3*127 + 5*128 + 1000; -127*128 - 2 and 127*127 - 2; -127*127 - 2*128 and 127*128 + 2*127."""
    signal = network(linear(WEIGHT, [1000, -2, 0])).signals["fc"]
    assert (signal.low, signal.high, signal.frac_bits, signal.shape) == (-127 * 127 - 256, 127 * 128 + 254, 6, (3,))


CURRENT = 127 * 128 + 254


@pytest.mark.parametrize(
    ("layer", "k", "decay", "step", "carrier", "training"),
    [
        # I has 13 fractional bits, the state 5: k = max(8, 8)
        (lif(), 8, 230 * 128, 230 * 128 + CURRENT + 256 * 32 + 128, "float32", 256 * (128 + 32 + 1)),
        (lif(theta=127), 8, 230 * 128, 230 * 128 + CURRENT + 256 * 127 + 128, "float32", 256 * (128 + 127 + 1)),
        (lif(theta=-32), 8, 230 * 128, 230 * 128 + CURRENT + 256 * 32 + 128, "float32", None),
        (lif(overflow=Overflow.WRAP), 8, 230 * 128, 230 * 128 + CURRENT + 256 * 32 + 128, "float64", None),
        # the leak confines row 3: its currents go down to -16385 / 2**11, so U = -74 stays, and 37 is 32 * 230/256 + 8.06
        (lif(QFormat(8, 2)), 11, 8 * 230 * 74, 8 * 230 * 74 + CURRENT + 2048 * 32 + 1024, "float32", None),
        (lif(QFormat(8, 13)), 8, 230 * 128, 230 * 128 + 256 * CURRENT + 256 * 32 + 128, "float32", 256 * (128 + 33)),
        (lif(QFormat(12, 13)), 8, 230 * 2048, 230 * 2048 + 256 * CURRENT + 256 * 32 + 128, "float64", 256 * (2048 + 33)),
        (lif(QFormat(16, 13)), 8, 230 * 2**15, 230 * 2**15 + 256 * CURRENT + 256 * 32 + 128, "float64", 256 * (2**15 + 33)),
        (lif(QFormat(8, 13), decay=None, multiplier=None), 0, 128, 128 + CURRENT + 32, "float32", 128 + 32 + 1),
    ],
)
def test_the_decay_and_step_bounds(layer: LIF, k: int, decay: int, step: int, carrier: str, training: int | None) -> None:
    bounds = network(linear(WEIGHT, weight_frac_bits=7), layer).proof.layers[1]
    assert (bounds.extra_bits, bounds.decay, bounds.step) == (k, decay, step)
    assert (bounds.training_carrier, bounds.training_bound) == (carrier, training or step)
    assert bounds.training_limit == {"float32": 2**24, "float64": 2**53}[carrier]
    assert bounds.training_exact
    assert bounds.fits_int32


def test_rounding_down_adds_no_half() -> None:
    up, down = (network(linear(WEIGHT), lif(QFormat(8, 0), rounding=r)) for r in (Rounding.HALF_UP, Rounding.FLOOR))
    assert up.proof.layers[1].step - down.proof.layers[1].step in (0, 128)


def test_the_proof_of_a_typical_network_is_frozen() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.integers(-127, 128, shape, dtype=np.int8) for shape in ((64, 12), (9, 64))]
    layers: list[Any] = []
    for index, weight in enumerate(weights, start=1):
        source = f"lif{index - 1}" if index > 1 else "input"
        layers.append(Linear(name=f"fc{index}", input=source, weight=weight, weight_frac_bits=7))
        decay = {"decay": MulShift(n=8), "multiplier": np.array(230)}
        layers.append(LIF(name=f"lif{index}", input=f"fc{index}", state=QFormat(8, 5), theta=np.array(32), **decay))
    typical = IntegerNetwork(inputs=(Input((12,), SENSOR),), num_steps=29, layers=tuple(layers), readouts=(Readout("lif2"),))
    assert typical.proof.exact
    assert [(b.layer, b.largest, b.accumulator_bits, b.training_bound) for b in typical.proof.layers] == [
        ("fc1", 137344, 19, 137344),
        ("lif1", 174601, 19, 41216),
        ("fc2", 4572, 14, 4572),
        ("lif2", 210368, 19, 41216),
    ]


# Where there is no theorem


def test_a_sum_that_float32_cannot_hold_is_a_reason() -> None:
    wide = network(linear(np.full((1, 600), 32767, np.int16)), lif(QFormat(8, 6)))
    reach = 600 * 32767 * 128
    assert not wide.proof.exact
    assert wide.proof.artefact_exact
    assert wide.proof.reasons == wide.proof.training_reasons
    assert wide.proof.reasons[0] == (
        f"layer 'fc': in training an intermediate sum can reach {reach}, more than float32 holds exactly (16777216); "
        f"use fewer weight or state bits, or smaller fan-in."
    )


def test_the_largest_sum_that_float32_holds() -> None:
    row = np.full((1, 1024), 128, np.int16)
    assert network(linear(row)).proof.exact
    row[0, 0] += 1
    assert not network(linear(row)).proof.training_exact


def test_saturation_relieves_float32_and_wrapping_does_not() -> None:
    strong = linear(np.full((1, 1024), 100, np.int16))
    saturating, wrapping, below_zero = (
        network(strong, lif(QFormat(8, 13), **changes)).proof.layers[1]
        for changes in ({}, {"overflow": Overflow.WRAP}, {"theta": -1})
    )
    assert saturating.training_bound == 256 * (128 + 32 + 1)
    assert saturating.training_bound < saturating.step == wrapping.step == wrapping.training_bound
    assert below_zero.training_bound == below_zero.step > 2**24
    assert (saturating.training_exact, wrapping.training_exact, below_zero.training_exact) == (True, True, False)
    assert wrapping.training_carrier == "float64"


def test_a_sum_that_64_bits_cannot_hold_is_no_contract_at_all() -> None:
    far = network(linear(WEIGHT), lif(QFormat(8, 56)))
    assert not far.proof.artefact_exact
    assert "more than 64-bit integers hold (9223372036854775807)" in far.proof.reasons[0]


def test_a_step_below_the_smallest_float_is_no_theorem_about_float32() -> None:
    """Steps of 2**-160 are 0 in float32, however few bits the integers have."""
    one = np.ones((1, 1), np.int8)
    layers = (
        Linear(name="down", input="input", weight=one, weight_frac_bits=60),
        Linear(name="up", input="down", weight=one, weight_frac_bits=-60),
        lif(QFormat(8, 100), input="up"),
    )
    tiny = IntegerNetwork(inputs=(Input((1,), QFormat(8, 100)),), num_steps=1, layers=layers, readouts=(Readout("lif"),))
    assert tiny.proof.artefact_exact
    assert not tiny.proof.training_exact


# Brute force


@st.composite
def small_linears(draw: st.DrawFn) -> tuple[Linear, QFormat]:
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    formats = [SPIKES, QFormat(3, 0), QFormat(3, 0, narrow=True), QFormat(2, 0, signed=False, zero_point=2)]
    row = st.lists(st.integers(-9, 9), min_size=inputs, max_size=inputs)
    bias = draw(st.none() | st.lists(st.integers(-50, 50), min_size=outputs, max_size=outputs))
    return linear(draw(st.lists(row, min_size=outputs, max_size=outputs)), bias), draw(st.sampled_from(formats))


@settings(max_examples=150)
@given(small_linears())
def test_no_input_takes_a_partial_sum_past_the_accumulate_bound(drawn: tuple[Linear, QFormat]) -> None:
    """Every input, every channel, every subset of the terms: a partial sum in some order of summation."""
    fc, fmt = drawn
    bound, signal = network(fc, fmt=fmt).proof.layers[0].accumulate, network(fc, fmt=fmt).signals["fc"]
    levels = np.arange(fmt.lowest, fmt.highest + 1) - fmt.zero_point
    x = np.array(list(itertools.product(levels, repeat=fc.weight.shape[1])))
    bias = np.zeros(len(fc.weight), int) if fc.bias is None else fc.bias
    terms = [*(fc.weight[:, i] * x[:, i : i + 1] for i in range(x.shape[1])), np.broadcast_to(bias, (len(x), len(bias)))]
    sums = [sum(part) for size in range(1, len(terms) + 1) for part in itertools.combinations(terms, size)]
    assert max(int(np.abs(part).max()) for part in sums) <= bound
    assert (int(sums[-1].min()), int(sums[-1].max())) == (signal.low, signal.high)
    if fmt.narrow:
        assert int(np.abs(sums[-1]).max()) == bound, "symmetric inputs attain it"


decays = st.one_of(
    st.none(),
    st.builds(MulShift, n=st.integers(0, 6), rounding=st.none() | st.sampled_from(Rounding)),
    st.builds(ShiftDecay, k=st.integers(1, 4), at_least_one=st.booleans()),
)


@st.composite
def small_lifs(draw: st.DrawFn) -> tuple[LIF, Signal]:
    decay, signed = draw(decays), draw(st.booleans())
    state = QFormat(draw(st.integers(2, 5)), 0, signed)
    layer = lif(
        state,
        draw(st.integers(1, state.highest)),
        decay=decay,
        multiplier=np.array(draw(st.integers(0, 1 << decay.n))) if isinstance(decay, MulShift) else None,
        rounding=draw(st.sampled_from(Rounding)),
        rounding_site=draw(st.sampled_from(RoundingSite)),
        reset_mechanism=draw(st.sampled_from(ResetMechanism)),
        reset_timing=draw(st.sampled_from(ResetTiming)),
        compare=draw(st.sampled_from(Compare)),
    )
    low, high = sorted((draw(st.integers(-40, 40)), draw(st.integers(-40, 40))))
    return layer, Signal((1,), draw(st.integers(-2, 4)), np.array(low), np.array(high))


def intermediates(layer: LIF, mem: int, current: int, shift: int) -> tuple[list[int], list[int]]:
    """Every integer that the decay, and that the sum of one step meet, written from the equations once more."""
    fired = mem > layer.theta if layer.compare is Compare.STRICT else mem >= layer.theta
    reset = fired and layer.reset_timing is not ResetTiming.SAME_STEP
    kept = 0 if reset and layer.reset_mechanism is ResetMechanism.ZERO else mem
    match layer.decay:
        case MulShift(n=n, rounding=rounding):
            assert layer.multiplier is not None
            product = int(layer.multiplier) * kept
            decayed = Fraction(product, 1 << n)
            if layer.rounding_site is RoundingSite.DECAY:
                half = 1 << n >> 1 if (rounding or layer.rounding) in (Rounding.HALF_UP, Rounding.HALF_EVEN) else 0
                decayed, met = Fraction((rounding or layer.rounding).of(decayed)), [product, product + half]
            else:
                met = [product]
        case ShiftDecay(k=k, at_least_one=least):
            lost = kept >> k
            decayed, met = Fraction(kept - (int(np.sign(kept)) if least and lost == 0 else lost)), [kept]
        case None:
            decayed, met = Fraction(kept), [kept]
    bits = layer.decay.n if isinstance(layer.decay, MulShift) and layer.rounding_site is RoundingSite.SUM else 0
    scale = 1 << max(bits, shift, 0)
    total = decayed + current * Fraction(2) ** -shift
    theta = int(layer.theta) if reset and layer.reset_mechanism is ResetMechanism.SUBTRACT else 0
    half = scale // 2 if layer.rounding in (Rounding.HALF_UP, Rounding.HALF_EVEN) else 0
    sums = [scale * decayed, scale * current * Fraction(2) ** -shift, scale * total, scale * (total - theta)]
    return [*met, int(scale * decayed)], [int(value) for value in (*sums, sums[-1] + half)]


@settings(max_examples=400)
@given(small_lifs())
def test_no_membrane_and_current_take_a_step_past_its_bounds(drawn: tuple[LIF, Signal]) -> None:
    """Every membrane that the layer reaches, every current that matters."""
    layer, signal = drawn
    bounds, shift = lif_bounds(layer, signal), layer.current_shift(signal)
    states = reach(layer, Interval(signal.lows, signal.highs), shift).state
    for mem in range(int(states.low.min()), int(states.high.max()) + 1):
        for current in {signal.low, (signal.low + signal.high) // 2, signal.high}:
            decayed, sums = intermediates(layer, mem, current, shift)
            assert max(map(abs, decayed)) <= max(bounds.decay, bounds.step)
            assert max(map(abs, sums)) <= max(bounds.decay, bounds.step)


# Every other kind of layer


WINDOW: dict[str, Any] = {"input": "x", "stride": (1, 1), "pads": ((1, 1), (0, 0))}


@pytest.mark.parametrize(
    ("layer", "sources", "accumulate", "channels", "training"),
    [
        # 4 taps of 2 channels, which reach 3 and 5: 2 * 4 * (3 + 5) + 7, and 4 * 3 + 4 * 5 for weights of 1
        (
            Conv(name="l", weight=WINDOWS, bias=np.array([-7, 0]), weight_frac_bits=1, dilation=(1, 1), **WINDOW),
            [Signal((2, 4, 4), 0, CHANNELS[0], CHANNELS[1])],
            71,
            (7, 8),
            71,
        ),
        (Affine(name="l", input="x", scale=np.array([-3, 1]), bias=np.array([5, -1])), [between(-2, 4)], 17, (4, 6), 17),
        (Affine(name="l", input="x", scale_frac_bits=4), [between(-2, 4)], 64, (8, 8), 64),
        (AveragePool(name="l", kernel=(2, 3), divisor=4, **WINDOW), [between(-2, 4, 2, 5, 5)], 24, (6, 6), 24),
        (MaxPool(name="l", kernel=(2, 3), dilation=(1, 1), **WINDOW), [between(-9, 4, 2, 5, 5)], 9, (5, 5), 9),
        # 4 * 4 on the finer grid, plus 7
        (Add(name="l", inputs=("x", "y"), signs=(1, -1)), [between(-2, 4), between(-7, 1, frac_bits=2)], 23, (6, 6), 23),
        (Concat(name="l", inputs=("x", "y"), axis=0), [between(-2, 4), between(-7, 1, frac_bits=2)], 16, (4, 6), 0),
    ],
)
def test_the_bounds_of_other_layers(layer: Any, sources: list[Signal], accumulate: int, channels: Any, training: int) -> None:
    output = layer.output(*sources)
    bounds = layer_bounds(layer, sources, output)
    assert bounds is not None
    assert (bounds.layer, bounds.kind) == ("l", type(layer).__struct_config__.tag)
    assert (bounds.accumulate, bounds.largest, bounds.training_bound) == (accumulate, accumulate, training)
    assert bounds.channel_accumulator_bits == channels
    assert bounds.accumulator_bits == accumulate.bit_length() + 1
    assert (bounds.input_bound, bounds.output_bound) == (max(x.magnitude for x in sources), output.magnitude)
    assert bounds.float32_exact
    assert bounds.float32_half_even


def test_layers_that_only_move_numbers_have_no_bounds() -> None:
    for layer, x in (
        (Reshape(name="l", input="x", shape=(4,)), between(0, 1, 2, 2)),
        (Transpose(name="l", input="x", axes=(0,)), between(0, 1, 2)),
    ):
        assert layer_bounds(layer, [x], x) is None
    delay = Delay(name="l", input="x", shape=(2,), frac_bits=0, low=0, high=1)
    assert layer_bounds(delay, [], between(0, 1)) is None


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_the_bounds_of_a_conv_are_those_of_the_linear_map_that_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, taps = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    weight, bias = rng.integers(-9, 10, (2 * groups, 2, taps)), rng.integers(-50, 51, 2 * groups)
    lows = -rng.integers(0, 9, (2 * groups, 1))
    x = Signal((2 * groups, 4), 0, lows, lows + rng.integers(0, 12, lows.shape))
    layer = Conv(
        name="l",
        input="x",
        weight=weight,
        bias=bias,
        weight_frac_bits=0,
        stride=(1,),
        pads=((0, 0),),
        dilation=(1,),
        groups=groups,
    )
    rows = np.zeros((2 * groups, *x.shape), int)
    for out, (channel, tap) in itertools.product(range(2 * groups), itertools.product(range(2), range(taps))):
        rows[out, out // 2 * 2 + channel, tap] = weight[out, channel, tap]
    flat = Signal((8 * groups,), 0, *(bound.ravel() for bound in x.full()))
    same = Linear(name="l", input="x", weight=rows.reshape(2 * groups, -1), bias=bias, weight_frac_bits=0)
    one, other = (layer_bounds(kind, [s], kind.output(s)) for kind, s in ((layer, x), (same, flat)))
    assert one is not None
    assert other is not None
    assert (one.accumulate, one.channel_accumulator_bits) == (other.accumulate, other.channel_accumulator_bits)
    assert (layer.output(x).low, layer.output(x).high) == (same.output(flat).low, same.output(flat).high)


def test_the_channels_of_a_layer_need_different_accumulators() -> None:
    """Rows of 1, and of 127 * 100 inputs of at most 128."""
    weight = np.zeros((2, 100), np.int8)
    weight[0, 0], weight[1] = 1, 127
    assert network(linear(weight)).proof.layers[0].channel_accumulator_bits == (9, 22)


@pytest.mark.parametrize(("bits", "fits"), [(16, True), (15, False)])
def test_a_declared_accumulator_that_is_too_narrow_is_a_reason(bits: int, fits: bool) -> None:
    """129 * 128 = 16512 needs 16 bits with its sign."""
    declared = Linear(name="fc", input="input", weight=WEIGHT, weight_frac_bits=0, accumulator_bits=bits)
    proof = network(declared).proof
    assert proof.artefact_exact == fits
    assert fits or proof.artefact_reasons == (
        "layer 'fc': it declares an accumulator of 15 bits, but its sums can reach 16512 and need 16; use a wider accumulator, "
        "fewer weight bits, or smaller fan-in.",
    )


def test_several_spikes_a_step_take_several_thresholds_off() -> None:
    """No leak: 10 + 20 is above the threshold of 10 by two of them."""
    layer = lif(theta=10, decay=None, multiplier=None, max_spikes=3, reset_timing=ResetTiming.SAME_STEP)
    bounds = lif_bounds(layer, Signal((1,), 5, np.array(0), np.array(20)))
    assert (bounds.mem_low, bounds.mem_high) == (0, 30)
    assert (bounds.decay, bounds.step) == (10, 10 + 20 + 2 * 10)
    assert not bounds.overflows


def test_the_bounds_of_many_weights_take_little_memory_and_time() -> None:
    weight = np.random.default_rng(0).integers(-127, 128, (2500, 4000), dtype=np.int8)
    large = Linear(name="fc", input="x", weight=weight, weight_frac_bits=7)
    x = between(-128, 127, 4000)
    tracemalloc.start()
    started = time.process_time()
    bounds = layer_bounds(large, [x], large.output(x))
    spent, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bounds is not None
    assert bounds.accumulate == 128 * int(np.abs(weight.astype(np.int16)).sum(1).max())
    assert peak < 4e6
    assert spent < 1


def test_a_sum_beyond_64_bits_is_seen_where_one_number_stands_for_all_neurons() -> None:
    layer = LIF(name="lif", input="input", state=QFormat(16, 14), theta=np.array(8))
    wide = IntegerNetwork(inputs=(Input((1,), QFormat(32, -20)),), num_steps=2, layers=(layer,), readouts=(Readout("lif"),))
    assert wide.proof.layers[0].step == (1 << 31 << 34) + (1 << 15) + 8
    assert not wide.proof.artefact_exact

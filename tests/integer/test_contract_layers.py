"""The layers of the contract: shapes, grids and ranges of what they emit, and what they refuse."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming
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
from qleaky.integer.signals import absolute_sums, interval_product, magnitude_product, split_signs

BYTE = QFormat(8, 0)


def signal(*shape: int, low: Any = -3, high: Any = 5, frac_bits: int = 2) -> Signal:
    return Signal(shape, frac_bits, np.array(low), np.array(high))


def conv(**changes: Any) -> Conv:
    window = {"stride": (1, 1), "pads": ((0, 0), (0, 0)), "dilation": (1, 1)}
    parts = {"name": "conv", "input": "x", "weight": np.ones((4, 2, 3, 3), np.int8), "weight_frac_bits": 1}
    return Conv(**parts | window | changes)


def pool(kind: Any = MaxPool, **changes: Any) -> Any:
    window = {"kernel": (2, 2), "stride": (2, 2), "pads": ((0, 0), (0, 0))}
    own = {"dilation": (1, 1)} if kind is MaxPool else {"divisor": 4}
    return kind(**{"name": "pool", "input": "x"} | window | own | changes)


def lif(**changes: Any) -> LIF:
    return LIF(**{"name": "lif", "input": "x", "state": BYTE, "theta": np.array(10)} | changes)


# What they emit


def test_a_linear_layer_maps_the_last_axis() -> None:
    """Rows 3*5 + 1*5, and -2*-3 + 0; with the bias."""
    layer = Linear(name="fc", input="x", weight=np.array([[3, 1], [-2, 0]]), bias=np.array([100, -1]), weight_frac_bits=4)
    out = layer.output(signal(7, 2))
    assert (out.shape, out.frac_bits, out.low, out.high) == ((7, 2), 6, -11, 120)
    assert [bound[0].tolist() for bound in out.full()] == [[88, -11], [120, 5]]


def test_a_linear_layer_takes_the_range_of_every_input() -> None:
    layer = Linear(name="fc", input="x", weight=np.array([[3, -2]]), weight_frac_bits=0)
    out = layer.output(Signal((2,), 0, np.array([0, -1]), np.array([1, 4])))
    assert (out.low, out.high) == (3 * 0 - 2 * 4, 3 * 1 - 2 * -1)


@pytest.mark.parametrize("pads", [((0, 0), (0, 0)), ((1, 0), (0, 0))])
def test_a_conv_layer_has_a_range_per_channel(pads: Any) -> None:
    """18 taps of 1 from 2 to 5: 36 to 90; padding brings zeros in."""
    out = conv(bias=np.array([0, 1, 2, 3]), pads=pads).output(signal(2, 6, 5, low=2))
    padded = pads[0][0]
    assert (out.shape, out.frac_bits) == ((4, 4 + padded, 3), 3)
    assert out.lows.ravel().tolist() == [n + (0 if padded else 36) for n in range(4)]
    assert out.highs.ravel().tolist() == [n + 90 for n in range(4)]


def test_a_grouped_conv_reads_its_own_channels() -> None:
    x = Signal((2, 5, 5), 0, np.zeros((2, 1, 1), int), np.array([1, 10]).reshape(2, 1, 1))
    out = conv(weight=np.ones((4, 1, 3, 3), np.int8), groups=2).output(x)
    assert out.highs.ravel().tolist() == [9, 9, 90, 90]


@pytest.mark.parametrize(
    ("layer", "sources", "shape", "frac_bits", "low", "high"),
    [
        (
            Affine(name="a", input="x", scale=np.array(-2), bias=np.array([1, 2, 3]), scale_frac_bits=1),
            [signal(3)],
            (3,),
            3,
            -9,
            9,
        ),
        (Affine(name="a", input="x", scale_frac_bits=3), [signal(3)], (3,), 5, -24, 40),
        (pool(AveragePool), [signal(3, 4, 6)], (3, 2, 3), 4, -12, 20),
        (pool(AveragePool, pads=((1, 1), (0, 0))), [signal(3, 4, 6, low=1)], (3, 3, 3), 4, 0, 20),
        (pool(), [signal(3, 4, 6)], (3, 2, 3), 2, -3, 5),
        (Reshape(name="r", input="x", shape=(3, 4)), [signal(2, 6)], (3, 4), 2, -3, 5),
        (Transpose(name="t", input="x", axes=(2, 0, 1)), [signal(2, 6, 5)], (5, 2, 6), 2, -3, 5),
        (Add(name="s", inputs=("x", "y"), signs=(1, -1)), [signal(3), signal(2, 3, frac_bits=0)], (2, 3), 2, -23, 17),
        (Concat(name="c", inputs=("x", "y"), axis=0), [signal(3), signal(2, frac_bits=1)], (5,), 2, -6, 10),
        (lif(), [signal(3)], (3,), 0, 0, 1),
        (lif(max_spikes=4, graded=np.array([2, -3, 1]), graded_frac_bits=5), [signal(3)], (3,), 5, -12, 8),
    ],
)
def test_what_a_layer_emits(layer: Any, sources: list[Signal], shape: Any, frac_bits: int, low: int, high: int) -> None:
    out = layer.output(*sources)
    assert (out.shape, out.frac_bits, out.low, out.high) == (shape, frac_bits, low, high)


def test_ranges_follow_elements_through_changes_of_shape() -> None:
    x = Signal((2, 3), 0, np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3) + 10)
    turned = Transpose(name="t", input="x", axes=(1, 0)).output(x)
    flat = Reshape(name="r", input="t", shape=(6,)).output(turned)
    joined = Concat(name="c", inputs=("r", "y"), axis=0).output(flat, Signal((1,), 1, np.array(7), np.array(7)))
    assert joined.lows.tolist() == [0, 6, 2, 8, 4, 10, 7]
    assert joined.highs.tolist() == [20, 26, 22, 28, 24, 30, 7]


# Intervals


weights = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(st.integers(-9, 9), min_size=width, max_size=width), min_size=1, max_size=3)
)


@settings(max_examples=150)
@given(weights, st.data())
def test_an_interval_product_is_attained_by_the_worst_inputs(rows: list[list[int]], data: st.DataObject) -> None:
    weight, ends = np.array(rows), st.integers(-4, 4)
    pairs = [sorted((data.draw(ends), data.draw(ends))) for _ in rows[0]]
    lows, highs = (np.array([pair[i] for pair in pairs]) for i in (0, 1))
    inputs = np.array(list(itertools.product(*(range(low, high + 1) for low, high in pairs))))
    low, high = interval_product(weight, lows, highs)
    assert low.tolist() == (inputs @ weight.T).min(0).tolist()
    assert high.tolist() == (inputs @ weight.T).max(0).tolist()
    reach = np.maximum(abs(lows), abs(highs))
    assert magnitude_product(weight, reach).tolist() == (abs(weight) @ reach).tolist()


@pytest.mark.parametrize("bits", [8, 16, 31, 62])
def test_sums_of_weights_are_exact_at_any_size(bits: int) -> None:
    """Through float32, float64, int64 and unbounded integers."""
    top = (1 << (bits - 1)) - 1
    weight = np.array([[top, -top, 1], [-top - 1, -1, 0]])
    assert absolute_sums(weight).tolist() == [2 * top + 1, top + 2]
    assert [sums.tolist() for sums in split_signs(weight)] == [[top + 1, 0], [top, top + 2]]
    low, high = interval_product(weight, np.array([-top]), np.array([top]))
    assert (low.tolist(), high.tolist()) == ([-top * (2 * top + 1), -top * (top + 2)], [top * (2 * top + 1), top * (top + 2)])


def test_rows_of_any_length_are_taken_in_blocks() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1000, 700), (3, 200_000), (1, 1)):
        weight = rng.integers(-127, 128, shape, dtype=np.int8)
        low, high = interval_product(weight, np.array([0]), np.array([255]))
        wide = weight.astype(np.int64)
        assert low.tolist() == (255 * np.minimum(wide, 0).sum(1)).tolist()
        assert high.tolist() == (255 * np.maximum(wide, 0).sum(1)).tolist()


# What they refuse


@pytest.mark.parametrize(
    ("layer", "sources", "message"),
    [
        (
            conv(),
            [signal(2, 9)],
            r"layer 'conv': a window with 2 axes cannot slide over a sample of shape \(2, 9\); pass \(C, H, W\)",
        ),
        (conv(weight=np.ones((1, 1, 2))), [signal(1, 9)], "weight must be a non-empty array of integer codes"),
        (conv(stride=(1,)), [signal(2, 9, 9)], r"stride \(1,\).* give one number of at least 1"),
        (conv(stride=(0, 1)), [signal(2, 9, 9)], r"stride \(0, 1\)"),
        (conv(pads=((0, 0), (-1, 0))), [signal(2, 9, 9)], r"padding \(\(0, 0\), \(-1, 0\)\)"),
        (conv(dilation=(1, 0)), [signal(2, 9, 9)], r"dilation \(1, 0\)"),
        (conv(dilation=(5, 1)), [signal(2, 9, 9)], r"a kernel of \(3, 3\) does not fit into \(9, 9\) with padding"),
        (
            conv(groups=2),
            [signal(2, 9, 9)],
            r"weight of shape \(4, 2, 3, 3\) with 2 groups cannot take 2 channels; it takes 2 per group",
        ),
        (conv(groups=3), [signal(6, 9, 9)], "with 3 groups cannot take 6 channels"),
        (conv(groups=0), [signal(2, 9, 9)], "with 0 groups"),
        (conv(bias=np.zeros(3, int)), [signal(2, 9, 9)], r"layer 'conv': bias of shape \(3,\), expected \(4,\)"),
        (conv(bias=np.zeros(4)), [signal(2, 9, 9)], "bias must be a non-empty array of integer codes"),
        (
            Affine(name="a", input="x", scale=np.array([1, 2])),
            [signal(3)],
            r"layer 'a': scale of shape \(2,\) does not fit a sample of shape",
        ),
        (Affine(name="a", input="x", bias=np.ones((1, 3), int)), [signal(3)], r"bias of shape \(1, 3\) does not fit"),
        (Affine(name="a", input="x", bias=np.ones(3)), [signal(3)], "bias must be a non-empty array of integer codes"),
        (
            pool(AveragePool, divisor=6),
            [signal(2, 4, 4)],
            "layer 'pool': divisor 6 is no power of two, so averages leave the grid",
        ),
        (pool(AveragePool, divisor=0), [signal(2, 4, 4)], "divisor 0 is no power of two"),
        (pool(AveragePool, kernel=(2,)), [signal(2, 4, 4)], "a window with 1 axes"),
        (
            pool(pads=((2, 0), (0, 0)), stride=(1, 1)),
            [signal(2, 4, 4)],
            "layer 'pool': padding .* makes windows without an input",
        ),
        (pool(pads=((1, 1), (0, 0)), dilation=(2, 1)), [signal(2, 1, 2)], "makes windows without an input; use less of it"),
        (
            Reshape(name="r", input="x", shape=(5,)),
            [signal(2, 3)],
            r"layer 'r': a sample of shape \(2, 3\) cannot be reshaped to \(5,\)",
        ),
        (Reshape(name="r", input="x", shape=(-2, -3)), [signal(2, 3)], "cannot be reshaped"),
        (
            Transpose(name="t", input="x", axes=(0, 0)),
            [signal(2, 3)],
            r"layer 't': axes \(0, 0\) are no order of the axes of a sample",
        ),
        (
            Add(name="s", inputs=("x", "y"), signs=(1,)),
            [signal(3), signal(3)],
            r"layer 's': 2 inputs with signs \(1,\); give 1 or -1 for each",
        ),
        (Add(name="s", inputs=("x", "y"), signs=(1, 2)), [signal(3), signal(3)], r"signs \(1, 2\)"),
        (Add(name="s", inputs=(), signs=()), [], "0 inputs"),
        (
            Add(name="s", inputs=("x", "y"), signs=(1, 1)),
            [signal(3), signal(2)],
            r"samples of shapes \(3,\), \(2,\) cannot be added",
        ),
        (
            Concat(name="c", inputs=("x", "y"), axis=0),
            [signal(3), signal(2, 2)],
            r"samples of shapes \(3,\), \(2, 2\) cannot be joined along axis 0",
        ),
        (Concat(name="c", inputs=("x", "y"), axis=1), [signal(3), signal(3)], "cannot be joined along axis 1"),
        (lif(graded=np.array([1, 2])), [signal(3)], r"layer 'lif': graded of shape \(2,\) does not fit neurons \(3,\)"),
        (
            lif(synapse=Synapse(state=BYTE, decay=MulShift(n=1), multiplier=np.array([1, 1]))),
            [signal(3)],
            r"synaptic multiplier of shape \(2,\) does not fit neurons",
        ),
    ],
)
def test_what_a_layer_cannot_take(layer: Any, sources: list[Signal], message: str) -> None:
    with pytest.raises(InputError, match=message):
        layer.output(*sources)


COUNTING = {"reset_timing": ResetTiming.SAME_STEP}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shift": 32}, "layer 'lif': input_shift=32; the current moves up by 0 to 31 bits"),
        ({"input_shift": -1}, "input_shift=-1"),
        ({"graded": np.array(1 << 31)}, "graded code 2147483648 lies outside"),
        ({"graded": np.array(0.5)}, "graded must be a non-empty array of integer codes"),
        ({"max_spikes": 0}, "max_spikes=0; a neuron fires 1 to 32768 times a step"),
        ({"max_spikes": 1 << 16}, "max_spikes=65536"),
        (
            {"max_spikes": 2, "theta": np.array(0)} | COUNTING,
            "lowest threshold code of 0; several spikes a step need a subtracting reset",
        ),
        ({"max_spikes": 2, "reset_mechanism": ResetMechanism.ZERO}, "max_spikes=2 with reset zero/delayed"),
        ({"max_spikes": 2, "reset_timing": ResetTiming.UNDELAYED}, "max_spikes=2 with reset subtract/undelayed"),
        ({"overflow": Overflow.WRAP, "state": QFormat(8, 0, narrow=True)}, "cannot wrap; a narrow format saturates"),
        ({"synapse": Synapse(state=QFormat(8, 0, False, 3))}, "layer 'lif': a synaptic current format has zero_point 0, not 3"),
        ({"synapse": Synapse(state=BYTE, multiplier=np.array(1))}, "a multiplier goes with a MulShift decay"),
        (
            {"synapse": Synapse(state=BYTE, decay=MulShift(n=2), multiplier=np.array(5))},
            "layer 'lif': multiplier code 5 lies outside 0 to 4",
        ),
        (
            {"reset_mechanism": "zeros"},
            "layer 'lif': reset_mechanism='zeros' is unknown. Choose one of 'subtract', 'zero', 'none'",
        ),
        ({"rounding": "up"}, "rounding='up' is unknown"),
    ],
)
def test_what_a_neuron_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lif(**changes)


def test_names_of_options_become_options() -> None:
    layer = lif(reset_mechanism="zero", compare="inclusive", synapse=Synapse(state=BYTE, rounding="floor"))  # type: ignore[arg-type]
    assert layer.reset_mechanism is ResetMechanism.ZERO
    assert layer.compare is Compare.INCLUSIVE
    assert layer.synapse is not None
    assert layer.synapse.rounding is Rounding.FLOOR


def delay(**changes: Any) -> Delay:
    return Delay(**{"name": "late", "input": "lif", "shape": (3,), "frac_bits": 0, "low": 0, "high": 1} | changes)


def network(*layers: Any, **changes: Any) -> IntegerNetwork:
    parts = {
        "inputs": (Input((3,), BYTE, name="x"),),
        "num_steps": 2,
        "layers": layers or (lif(),),
        "readouts": (Readout("lif"),),
    }
    return IntegerNetwork(**parts | changes)


def loop(late: Delay, **changes: Any) -> IntegerNetwork:
    return network(late, Add(name="sum", inputs=("x", "late"), signs=(1, 1)), lif(input="sum", **changes))


TWO = (Input((3,), BYTE, name="x"), Input((3,), BYTE, name="y"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: loop(delay(low=1)), "layer 'late': the range 1 to 1 lacks the zero it begins with"),
        (
            lambda: loop(delay(frac_bits=1)),
            r"layer 'late': it declares shape \(3,\), 1 fractional bits and 0 to 1, but 'lif' emits",
        ),
        (lambda: loop(delay(shape=(1,))), r"it declares shape \(1,\)"),
        (lambda: loop(delay(), max_spikes=2), r"but 'lif' emits \(3,\), 0 and 0 to 2"),
        (lambda: loop(delay(input="nowhere")), "layer 'late' takes its input from 'nowhere', which is no layer"),
        (
            lambda: network(Add(name="sum", inputs=("x", "lif"), signs=(1, 1)), lif(input="sum")),
            "layer 'sum' takes its input from 'lif'",
        ),
        (lambda: network(inputs=()), "A network has at least one input"),
        (
            lambda: network(inputs=(Input((0,), BYTE, name="x"),)),
            r"input 'x' has shape \(0,\); every axis of a sample has at least one",
        ),
        (lambda: network(readouts=()), "A network has at least one readout; otherwise nothing leaves it"),
        (lambda: network(readouts=(Readout("lif"), Readout("lif"))), "The readouts .* name one output twice"),
        (lambda: network(inputs=TWO[:1] * 2), r"found \['x'\]"),
        (
            lambda: network(inputs=(Input((), BYTE, name="x"),), readouts=(Readout("lif", argmax=True),)),
            "there is no class to choose",
        ),
        (lambda: network(inputs=TWO).input, "This network has 2 inputs: x, y"),
        (
            lambda: network(readouts=(Readout("lif"), Readout("lif", "spike_count"))).readout,
            "This network has 2 readouts: lif, lif",
        ),
    ],
)
def test_what_a_network_refuses(build: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


def test_a_recurrent_network_comes_back_from_its_file(tmp_path: Any) -> None:
    first = loop(delay(high=3), max_spikes=3, synapse=Synapse(state=BYTE))
    first.save(tmp_path / "net.qleaky")
    second = IntegerNetwork.load(tmp_path / "net.qleaky")
    assert second.digest == first.digest
    assert second.proof == first.proof
    assert second.moving == {"x", "late", "sum", "lif"}


def test_several_outputs_are_named_after_their_layers() -> None:
    readouts = (Readout("lif", "spike_count", argmax=True), Readout("lif", "membrane_mean"))
    assert network(readouts=readouts).output_names == ("lif.spike_count", "lif.class", "lif.membrane_sum")
    assert network(readouts=readouts[:1]).output_names == ("spike_count", "class")
    assert network(readouts=readouts[:1]).output_name(readouts[0], "class") == "class"


def test_a_float_network_names_its_inputs_and_readouts_alike() -> None:
    one, zeros = np.ones((), np.float32), np.zeros((2, 1, 3), np.float32)
    layer = FloatLIF(name="lif", input="sum", beta=one, theta=one, graded=one)
    add = Add(name="sum", inputs=("x", "y"), signs=(1, 1))
    inputs = (FloatInput((3,), name="x"), FloatInput((3,), BYTE, "static", "y"))
    golden = Golden({"x": zeros, "y": zeros[0]}, {"lif": zeros}, {"lif": zeros})
    parts: dict[str, Any] = {"layers": (add, layer), "reasons": ("beta",), "golden": golden, "num_steps": 2}
    float_network = FloatNetwork(inputs=inputs, readouts=(Readout("lif"), Readout("lif", "last_membrane")), **parts)
    assert float_network.output_names == ("lif.spikes", "lif.last_membrane")
    assert float_network.moving == {"x", "sum", "lif"}
    encoded = float_network.encode((zeros, np.full((1, 3), 2)))
    assert encoded["y"].tolist() == [[2.0, 2.0, 2.0]]
    for ask, message in (
        (lambda: float_network.input, "2 inputs: x, y"),
        (lambda: float_network.readout, "2 readouts: lif, lif"),
    ):
        with pytest.raises(InputError, match=message):
            ask()

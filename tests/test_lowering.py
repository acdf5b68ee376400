"""Lowering: what becomes which integers, and what stays float and why."""

from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Int8BiasPerTensorFixedPointInternalScaling, Int8WeightPerTensorFixedPoint
from brevitas.quant.fixed_point import Int8ActPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, FloatNetwork, IntegerNetwork, Leaky, MulShift, QFormat, QuantLinear, ShiftDecay, lower
from qleaky.errors import FormatError, LoweringError, UsageError
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import LIF, Linear

BYTES = QFormat(8, 4)


def grid_linear(weight: Any, bias: Any = None) -> nn.Linear:
    """An ``nn.Linear`` that holds exactly these numbers."""
    values = torch.tensor(weight, dtype=torch.float32)
    layer = nn.Linear(values.shape[1], values.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(values)
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias, dtype=torch.float32))
    return layer


def leaky(**settings: Any) -> Leaky:
    return Leaky(**{"beta": 230 / 256, "threshold": 1.0, "state_quant": FixedPoint(8, 5), "init_hidden": True} | settings)


def lowered(*layers: nn.Module, inputs: int = 2, **arguments: Any) -> Any:
    options = {"num_steps": 3, "input_format": BYTES} | arguments
    return lower(nn.Sequential(*layers), torch.zeros(1, inputs), **options)


def linear_of(*layers: nn.Module, inputs: int = 2) -> Linear:
    """The contract of the one linear layer before a Leaky."""
    layer = lowered(*layers, leaky(), inputs=inputs).layers[0]
    assert isinstance(layer, Linear)
    return layer


def lif_of(**settings: Any) -> LIF:
    layer = lowered(grid_linear([[1.0, 0.5]]), leaky(**settings)).layers[1]
    assert isinstance(layer, LIF)
    return layer


# Linear layers


def test_a_linear_layer_with_weights_on_a_grid_becomes_their_codes() -> None:
    layer = linear_of(grid_linear([[0.5, -0.75], [3.0, 0.0]], [1.0, -0.5]))
    assert (layer.weight.tolist(), layer.weight_frac_bits, layer.weight.dtype) == ([[2, -3], [12, 0]], 2, np.int8)
    assert layer.bias is not None
    assert layer.bias.tolist() == [64, -32]  # on the grid of the sum, 2**-(2 + 4)


def test_weights_move_to_the_grid_of_a_finer_bias() -> None:
    layer = linear_of(grid_linear([[1.0, 2.0]], [2.0**-7]))
    assert (layer.weight.tolist(), layer.weight_frac_bits) == ([[8, 16]], 3)
    assert layer.bias is not None
    assert layer.bias.tolist() == [1]


@pytest.mark.parametrize(
    ("weight", "bias"), [([[16.0, 1.0]], [2.0**-60]), ([[2.0**-40, 3 * 2.0**-40]], [2.0**30]), ([[2.0**60, 1.0]], None)]
)
def test_weight_and_bias_too_far_apart_for_one_grid_are_a_reason(weight: Any, bias: Any) -> None:
    network = lowered(grid_linear(weight, bias), leaky())
    assert isinstance(network, FloatNetwork)
    assert "layer '0'" in network.reasons[0]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_a_quant_linear_lowers_to_what_it_multiplies_with(bits: int, bias: bool) -> None:
    torch.manual_seed(bits)
    module = QuantLinear(5, 4, weight_bits=bits, bias=bias)
    layer = linear_of(module, inputs=5)
    weight, shift = module.quantized()[0].detach().double().numpy(), layer.weight_frac_bits
    assert np.array_equal(np.ldexp(layer.weight.astype(float), -shift), weight)
    codes = weight / float(module.weight_step())
    assert codes.max() < 1 << (bits - 1)
    assert codes.min() >= -(1 << (bits - 1)) + (bits > 2)
    assert layer.weight.dtype == np.int8  # also where the bias is finer
    assert (layer.bias is not None) == bias


def test_the_bias_of_a_quant_linear_lies_on_the_grid_of_its_weights() -> None:
    torch.manual_seed(0)
    module = QuantLinear(5, 4)
    _, bias = module.quantized()
    step = module.quant_weight().scale
    assert bias is not None
    assert torch.equal(bias, torch.round(module.bias / step) * step)
    assert torch.equal(module(torch.zeros(1, 5))[0], bias)


def test_brevitas_own_linear_layer_lowers() -> None:
    torch.manual_seed(0)
    settings = {"weight_quant": Int8WeightPerTensorFixedPoint, "bias_quant": Int8BiasPerTensorFixedPointInternalScaling}
    theirs = qnn.QuantLinear(5, 4, bias=True, **settings)
    layer = linear_of(theirs, inputs=5)
    assert np.array_equal(np.ldexp(layer.weight.astype(float), -layer.weight_frac_bits), theirs.quant_weight().value.detach())
    assert layer.bias is not None
    bias = np.ldexp(layer.bias.astype(float), -layer.weight_frac_bits - BYTES.frac_bits)
    assert np.array_equal(bias, theirs.quant_bias().value.detach())


@pytest.mark.parametrize("place", ["input_quant", "output_quant"])
def test_a_quantizer_inside_a_brevitas_layer_is_not_passed_over(place: str) -> None:
    torch.manual_seed(0)
    settings = {"weight_quant": Int8WeightPerTensorFixedPoint, place: Int8ActPerTensorFixedPoint}
    layer = qnn.QuantLinear(2, 2, bias=False, **settings)
    layer.train()(torch.rand(9, 2))
    try:
        network = lowered(layer, leaky())
    except LoweringError:
        return
    assert any("'0'" in reason for reason in getattr(network, "reasons", ())), "the contract ignores the quantizer"


# Leaky layers


def test_a_leaky_lowers_to_its_settings() -> None:
    layer = lif_of(
        beta=0.75,
        threshold=1.5,
        reset_mechanism="zero",
        reset_timing="same_step",
        compare="inclusive",
        rounding_site="decay",
        state_quant=FixedPoint(10, 6, rounding="floor", overflow="wrap"),
    )
    assert (layer.state, layer.theta.tolist(), layer.decay, layer.multiplier) == (QFormat(10, 6), 96, MulShift(n=2), 3)
    assert (layer.reset_mechanism, layer.reset_timing, layer.compare) == ("zero", "same_step", "inclusive")
    assert (layer.rounding, layer.rounding_site, layer.overflow) == (Rounding.FLOOR, "decay", Overflow.WRAP)


@pytest.mark.parametrize(
    ("settings", "decay", "multiplier"),
    [
        ({"beta": 1.0}, None, None),
        ({"beta": 1.5}, None, None),
        ({"beta": 0.0}, MulShift(n=0), 0),
        ({"beta": -0.5}, MulShift(n=0), 0),
        ({"beta": 0.5}, MulShift(n=1), 1),
        ({"beta": 230 / 256}, MulShift(n=7), 115),
        ({"beta": 1 - 2**-15}, MulShift(n=15), 32767),
        ({"beta": 0.9, "decay": MulShift(n=8)}, MulShift(n=8), 230),
        ({"beta": 0.9, "decay": MulShift(m=3, n=2)}, MulShift(n=2), 3),
        ({"beta": 0.9, "decay": ShiftDecay(3, at_least_one=True)}, ShiftDecay(3, at_least_one=True), None),
    ],
)
def test_the_decay_of_a_layer(settings: Any, decay: Any, multiplier: int | None) -> None:
    layer = lif_of(**settings)
    assert layer.decay == decay
    assert (None if layer.multiplier is None else layer.multiplier.tolist()) == multiplier


def test_settings_of_each_neuron() -> None:
    layer = lowered(
        grid_linear([[1.0, 0.0], [0.0, 1.0]]), leaky(beta=torch.tensor([0.5, 1.0]), threshold=torch.tensor([1.0, 2.0]))
    ).layers[1]
    assert (layer.theta.tolist(), layer.multiplier.tolist(), layer.decay) == ([32, 64], [1, 2], MulShift(n=1))


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (
            300.0,
            r"layer '1': threshold 300\.0 does not fit Q7\.8 \(range -128\.0 to 127\.99609375, step 0\.00390625\)\.",
        ),
        (300.0, r"Use at least Q9\.8, or rescale the layer"),
        (128.0, r"threshold 128\.0 does not fit.*Use at least Q8\.8"),
        (-129.0, r"threshold -129\.0 does not fit"),
        (float("inf"), r"layer '1': threshold inf does not fit Q7\.8"),
    ],
)
def test_a_threshold_outside_the_format(threshold: float, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        lif_of(threshold=threshold, state_quant=FixedPoint(16, 8), reset_mechanism="none")


# What is measured, and why


def foreign(x: Tensor) -> Tensor:
    return (x > 0).float()


BETA = r"layer '1': beta=0\.89999\d+ is not m / 2\*\*n with n <= 15; the nearest m / 256 is 230/256 = 0\.8984375\. Train with"
REASONS: list[tuple[nn.Module, Any, Any, str]] = [
    (grid_linear([[0.1, 0.2]]), {}, {}, r"layer '0': weights are not on a power-of-two grid of at most 16 bits; use qleaky\.Q"),
    (grid_linear([[1.0], [2.0]], [0.1, 1e-5]), {}, {}, r"layer '0': the bias is not on a power-of-two grid of at most 32 bits"),
    (grid_linear([[1.0, 2.0]]), {"beta": 0.9}, {}, BETA),
    (grid_linear([[1.0, 2.0]]), {"beta": 1 - 2**-16}, {}, r"is not m / 2\*\*n with n <= 15"),
    (
        grid_linear([[1.0, 2.0]]),
        {"threshold": 1.01},
        {},
        r"threshold 1\.0099\d+ is not on the grid of Q2\.5.*1\.0\.",
    ),
    (
        grid_linear([[1.0, 2.0]]),
        {"graded_spikes_factor": 0.3},
        {},
        r"layer '1': graded_spikes_factor 0\.30000\d+ is on no power-of-two grid of 16 bits; use m / 2\*\*n",
    ),
    (grid_linear([[1.0, 2.0]]), {"state_quant": False}, {}, r"layer '1': the membrane has no fixed-point quantizer; pass"),
    (grid_linear([[1.0, 2.0]]), {"state_quant": qleaky.state_quant(4)}, {}, r"the membrane has no fixed-point quantizer"),
    (grid_linear([[1.0, 2.0]]), {"spike_grad": foreign}, {}, r"layer '1': spike_grad is a function of your own"),
    (grid_linear([[1.0, 2.0]]), {}, {"input_format": None}, r"the input has no declared format; pass input_format='spikes'"),
    (
        grid_linear([[1.0, 2.0]]),
        {"threshold": -1.0, "reset_delay": False},
        {},
        r"layer '1': .*undelayed.* asks for a threshold of at least 0.*use reset_timing=",
    ),
]


@pytest.mark.parametrize(("linear", "settings", "arguments", "reason"), REASONS)
def test_what_is_not_on_a_grid_is_measured_and_named(linear: Any, settings: Any, arguments: Any, reason: str) -> None:
    network = lowered(linear, leaky(**settings), inputs=linear.in_features, **arguments)
    assert isinstance(network, FloatNetwork)
    assert len(network.reasons) == 1
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(network.reasons[0])


def test_a_reason_names_the_neuron_that_gives_it() -> None:
    network = lowered(grid_linear([[1.0, 0.0], [0.0, 1.0]]), leaky(beta=torch.tensor([0.5, 0.9])))
    assert "beta=0.89999" in network.reasons[0]
    assert "230/256" in network.reasons[0]


def test_a_bias_of_full_float_precision_is_never_proved() -> None:
    network = lowered(grid_linear([[1.0, 2.0]], [0.1]), leaky())
    assert isinstance(network, FloatNetwork) or not network.proof.exact


def test_every_reason_is_listed() -> None:
    network = lowered(nn.Linear(2, 2), leaky(beta=0.9), nn.Linear(2, 1), leaky(threshold=1.01), input_format=None)
    assert [reason.partition(":")[0] for reason in network.reasons] == [
        *("the input has no declared format; pass input_format='spikes' or a qleaky.QFormat.", "layer '0'", "layer '1'"),
        *("layer '2'", "layer '3'"),
    ]


def test_a_float_network_keeps_what_torch_computed_on_the_sample() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), leaky(beta=0.9, threshold=0.2))
    sample = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    golden = lower(net, sample, num_steps=4).golden
    net[1].reset_hidden()
    with torch.no_grad():
        expected = torch.stack([net(sample) for _ in range(4)])
    assert np.array_equal(golden.spikes["1"], expected)
    assert expected.any()
    assert golden.inputs["input"].shape == (4, 2, 2)
    assert golden.membranes["1"].shape == (4, 2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inhibition": True, "beta": 0.9}, "layer '1': inhibition is not supported yet; construct it with inhibition=False"),
        ({"state_quant": lambda mem: mem}, "its state quantizer .* is a function that no graph can hold; use"),
    ],
)
def test_what_no_graph_can_hold_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        lif_of(**settings)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("what", ["weight", "bias"])
def test_weights_of_a_diverged_training_are_an_error(what: str, value: float) -> None:
    linear = grid_linear([[1.0, 2.0]], [1.0])
    with torch.no_grad():
        getattr(linear, what).fill_(value)
    with pytest.raises((FormatError, LoweringError), match="NaN"):
        lowered(linear, leaky())


# The input's format


@pytest.mark.parametrize(
    ("act_quant", "fmt"),
    [(Int8ActPerTensorFixedPoint, QFormat(8, 5)), (Uint8ActPerTensorFixedPoint, QFormat(8, 6, signed=False))],
)
def test_a_brevitas_quantizer_on_the_input_declares_its_format(act_quant: Any, fmt: QFormat) -> None:
    quantizer = qnn.QuantIdentity(act_quant=act_quant)
    quantizer.train()(torch.linspace(-3, 3, 101))
    network = lowered(quantizer, grid_linear([[1.0, 2.0]]), leaky(), input_format=None)
    assert isinstance(network, IntegerNetwork)
    assert network.input.format == fmt


def test_a_fixed_point_quantizer_on_the_input_declares_its_format() -> None:
    net = (FixedPoint(8, 4), grid_linear([[1.0, 2.0]]), leaky())
    assert lowered(*net, input_format=None).input.format == QFormat(8, 4)
    assert lowered(*net, input_format=QFormat(8, 4)).input.format == QFormat(8, 4)
    with pytest.raises(UsageError, match=r"input_format=Q1\.6 contradicts the network's own input quantizer, Q3\.4"):
        lowered(*net, input_format=QFormat(8, 6))


def test_two_quantizers_on_the_input_are_refused() -> None:
    with pytest.raises(LoweringError, match="quantize"):
        lowered(FixedPoint(8, 4), FixedPoint(8, 2), grid_linear([[1.0, 2.0]]), leaky(), input_format=None)


def test_spikes_are_single_bits() -> None:
    assert lowered(grid_linear([[1.0, 2.0]]), leaky(), input_format="spikes").input.format == QFormat(1, 0, signed=False)

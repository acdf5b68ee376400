"""``from_brevitas`` computes what the Brevitas quantizer computes, and refuses what no fixed-point format does."""

from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from brevitas.inject.enum import RestrictValueType
from brevitas.quant import Int8ActPerTensorFloat, ShiftedUint8ActPerTensorFloat
from brevitas.quant.fixed_point import Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
from torch import Tensor, nn

import qleaky
from qleaky import from_brevitas
from qleaky.errors import InputError
from qleaky.fixed import QFormat, Rounding

SIGNED, UNSIGNED = Int8ActPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
ROUNDINGS = {"ROUND": Rounding.HALF_EVEN, "FLOOR": Rounding.FLOOR, "ROUND_TO_ZERO": Rounding.TOWARD_ZERO}


def calibrated(quantizer: Any, largest: float = 3.0) -> Any:
    """The quantizer after its statistics have seen numbers up to ``largest``."""
    quantizer.train()(torch.linspace(-largest, largest, 101))
    return quantizer.eval()


def probes(step: float) -> Tensor:
    """Random numbers, every half step up to far outside the range, its float neighbours, and the special numbers."""
    halves = torch.arange(-1200, 1201) * (step / 2)
    neighbours = [torch.nextafter(halves, torch.tensor(side)) for side in (-torch.inf, torch.inf)]
    random = torch.randn(2000, generator=torch.Generator().manual_seed(0)) * step * 100
    x = torch.cat([random, halves, *neighbours, torch.tensor([-0.0, 1e30, -1e30])])
    return x[(x == 0) | (x.abs() > 1e-37)]  # Brevitas divides by its scale, where denormals underflow to zero


def assert_equal(ours: qleaky.FixedPoint, theirs: Any) -> None:
    x = probes(ours.spec.format.step)
    with torch.no_grad():
        expected = theirs(x)
    assert torch.equal(ours(x), getattr(expected, "value", expected))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize(
    ("act_quant", "narrow"), [(SIGNED, False), (SIGNED, True), (UNSIGNED, False)], ids=["signed", "narrow", "unsigned"]
)
def test_it_equals_the_quantizer_it_was_made_from(act_quant: Any, bits: int, narrow: bool, rounding: str) -> None:
    options = {"bit_width": bits, "narrow_range": narrow, "float_to_int_impl_type": rounding}
    theirs = calibrated(qnn.QuantIdentity(act_quant=act_quant, **options))
    ours = from_brevitas(theirs)
    fmt = ours.spec.format
    assert (fmt.bits, fmt.signed, ours.spec.rounding) == (bits, act_quant is SIGNED, ROUNDINGS[rounding])
    assert fmt.step == float(theirs.act_quant.scale())
    assert_equal(ours, theirs)


@pytest.mark.parametrize("largest", [0.01, 0.5, 1.0, 7.9, 1000.0])
def test_the_scale_is_taken_as_it_is_now(largest: float) -> None:
    theirs = calibrated(qnn.QuantIdentity(act_quant=SIGNED), largest)
    ours = from_brevitas(theirs)
    assert_equal(ours, theirs)
    calibrated(theirs, 100 * largest)
    assert ours.spec.format.step <= 2 * largest / 128


def test_the_activation_proxy_will_do_in_place_of_its_layer() -> None:
    theirs = calibrated(qnn.QuantIdentity(act_quant=SIGNED))
    assert from_brevitas(theirs.act_quant).spec == from_brevitas(theirs).spec


@pytest.mark.parametrize(
    "activation",
    [
        lambda: qnn.QuantReLU(act_quant=UNSIGNED),
        lambda: qnn.QuantReLU(act_quant=SIGNED),
        lambda: qnn.QuantTanh(act_quant=SIGNED),
        lambda: qnn.QuantSigmoid(act_quant=UNSIGNED),
        lambda: qnn.QuantHardTanh(act_quant=SIGNED, min_val=-1.0, max_val=1.0),
    ],
    ids=["relu", "relu signed", "tanh", "sigmoid", "hardtanh"],
)
def test_an_activation_function_before_the_quantizer_is_computed_or_refused(activation: Any) -> None:
    theirs = calibrated(activation())
    try:
        ours = from_brevitas(theirs)
    except InputError:
        return
    assert_equal(ours, theirs)


def float_scale() -> Any:
    return calibrated(qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat))


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (
            float_scale,
            r"scale 0\.0\d+ is not a power of two.*nearest is 2\*\*-5\. Use a fixed-point quantizer such as brevitas",
        ),
        (lambda: calibrated(qnn.QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat)), "has a zero point; a membrane format"),
        (
            lambda: calibrated(qnn.QuantIdentity(act_quant=SIGNED, float_to_int_impl_type="CEIL")),
            "rounding mode 'CEIL' has no counterpart; use one of ROUND, FLOOR, ROUND_TO_ZERO",
        ),
        (
            lambda: calibrated(qnn.QuantIdentity(act_quant=UNSIGNED, narrow_range=True)),
            "an unsigned narrow range drops the highest code",
        ),
        (
            lambda: calibrated(qnn.QuantTanh(act_quant=SIGNED)),
            "the quantizer computes Tanh first, which no membrane format does; use a QuantIdentity",
        ),
        (lambda: qnn.QuantIdentity(act_quant=None), r"the quantizer is disabled \(act_quant=None\)"),
        (lambda: nn.ReLU(), "ReLU is no Brevitas activation quantizer; pass e.g. a QuantIdentity"),
        (lambda: qnn.QuantLinear(2, 2, weight_quant=Int8WeightPerTensorFixedPoint), "no Brevitas activation quantizer"),
    ],
    ids=["float scale", "zero point", "ceil", "unsigned narrow", "activation", "disabled", "no quantizer", "weights"],
)
def test_what_no_fixed_point_format_computes_is_refused(quantizer: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_brevitas(quantizer())


def test_a_scale_per_channel_is_refused() -> None:
    options = {
        "scaling_per_output_channel": True,
        "per_channel_broadcastable_shape": (1, 4),
        "scaling_stats_permute_dims": (1, 0),
    }
    theirs = qnn.QuantIdentity(act_quant=SIGNED, restrict_scaling_type=RestrictValueType.POWER_OF_TWO, **options)
    theirs.train()(torch.randn(8, 4))
    with pytest.raises(InputError, match=r"the scale has shape \(1, 4\); a state has one scale for all neurons"):
        from_brevitas(theirs.eval())


def test_a_membrane_on_a_brevitas_grid_lowers() -> None:
    state = from_brevitas(calibrated(qnn.QuantIdentity(act_quant=SIGNED, bit_width=6)))
    net = nn.Sequential(qleaky.QuantLinear(2, 3), qleaky.Leaky(0.5, 1.0, state_quant=state, init_hidden=True))
    network = qleaky.lower(net, torch.zeros(1, 2), num_steps=3, input_format=QFormat(8, 4))
    assert isinstance(network, qleaky.IntegerNetwork)
    assert network.lif_layers[0].state == QFormat(6, 3)
    assert network.lif_layers[0].rounding is Rounding.HALF_EVEN

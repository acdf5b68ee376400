"""The numbers that quantized layers compute with, from plain Python integers and fractions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qleaky import QFormat, QuantConv1d, QuantConv2d, QuantLinear
from qleaky.layers.exponents import UNSET, power_of_two

WIDTHS: list[Any] = [8, 7, 6, 5, 4, 3, 2, "ternary", "binary"]
LEVELS = {2: [-2, -1, 0, 1], "ternary": [-1, 0, 1], "binary": [-1, 1]}


def levels(weight_bits: Any) -> list[int]:
    """Every code: symmetric from 3 bits on."""
    highest = 0 if isinstance(weight_bits, str) else 2 ** (weight_bits - 1) - 1
    return LEVELS.get(weight_bits) or list(range(-highest, highest + 1))


def nearest(weight: float, step: Fraction, codes: list[int]) -> Fraction:
    """The level next to a weight; of two the one with the even code, or the upper one where there are only -1 and 1."""
    distance = min(abs(code * step - Fraction(weight)) for code in codes)
    found = [code for code in codes if abs(code * step - Fraction(weight)) == distance]
    return step * next((code for code in found if code % 2 == 0), found[-1])


def quantizing_error(weights: list[float], exponent: int, codes: list[int]) -> Fraction:
    step = Fraction(2) ** exponent
    return sum(((nearest(w, step, codes) - Fraction(w)) ** 2 for w in weights), Fraction(0))


def best(weights: list[float], codes: list[int], depth: int) -> int:
    """The exponent of least error among the one that clips nothing upwards and those below it."""
    covering = math.ceil(math.log2(Fraction(max(map(abs, weights))) / max(codes)))
    return min(range(covering, covering - depth - 1, -1), key=lambda e: quantizing_error(weights, e, codes))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weight_bits", WIDTHS)
def test_weights_are_the_nearest_levels_of_the_grid_with_the_least_error(weight_bits: Any, per_channel: bool) -> None:
    torch.manual_seed(0)
    layer = QuantLinear(7, 3, weight_bits, per_channel=per_channel)
    codes, depth = levels(weight_bits), 2 if weight_bits in (6, 7, 8) else 4
    rows = layer.weight.detach().tolist()
    groups = rows if per_channel else [list(itertools.chain(*rows))] * 3
    found = layer.quantized()[0]
    for row, group, got in zip(rows, groups, found.tolist(), strict=True):
        step = Fraction(2) ** best(group, codes, depth)
        assert [Fraction(value) for value in got] == [nearest(weight, step, codes) for weight in row]


@pytest.mark.parametrize("weight_bits", WIDTHS)
def test_weights_on_a_grid_stay_what_they_are(weight_bits: Any) -> None:
    codes = levels(weight_bits)
    weight = torch.tensor([codes, codes[::-1]], dtype=torch.float32) * 2.0**-5
    layer = nn.Linear(len(codes), 2)
    with torch.no_grad():
        layer.weight.copy_(weight)
    assert torch.equal(QuantLinear.from_float(layer, weight_bits=weight_bits).quantized()[0], weight)


def test_the_sign_of_zero_is_plus_one() -> None:
    layer = QuantLinear(3, 1, "binary", bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, -0.0, -0.5]]))
    weight = layer.quantized()[0]
    assert torch.equal(weight.sign(), torch.tensor([[1.0, 1.0, -1.0]]))


@pytest.mark.parametrize("weight_bits", WIDTHS)
@pytest.mark.parametrize("input_format", ["spikes", QFormat(8, 5)])
def test_the_bias_is_as_fine_as_weight_codes_of_8_bits_allow(weight_bits: Any, input_format: Any) -> None:
    torch.manual_seed(1)
    layer = QuantLinear(5, 4, weight_bits, input_format=input_format)
    _, bias = layer.quantized()
    bits = 2 if isinstance(weight_bits, str) else weight_bits
    step = float(layer.weight_step()) * 2.0 ** -(8 - bits) * (1 if input_format == "spikes" else 2.0**-5)
    assert bias is not None
    assert bias.tolist() == [round(b / step) * step for b in layer.bias.tolist()]


@pytest.mark.parametrize("weight_bits", [2, 3, 4, "ternary", "binary"])
def test_channels_far_apart_still_have_codes_of_8_bits_on_one_grid(weight_bits: Any) -> None:
    layer = QuantLinear(6, 3, weight_bits, per_channel=True)
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([[1.0], [0.01], [0.00001]]))
    weight, bias = layer.quantized()
    assert bias is not None
    finest = float(layer.weight_step().min())
    assert weight.abs().max() / finest <= 128
    assert layer.weight_step().max() / finest == 2**layer.grid.codes.room
    assert torch.equal(bias / finest, torch.round(bias / finest))


@pytest.mark.parametrize("make", [lambda **s: QuantConv1d(2, 3, 3, **s), lambda **s: QuantConv2d(2, 3, 3, **s)])
def test_a_convolution_has_the_numbers_of_a_linear_layer_with_its_weights(make: Any) -> None:
    conv = make(weight_bits=3, per_channel=True)
    linear = nn.Linear(conv.weight[0].numel(), 3)
    with torch.no_grad():
        linear.weight.copy_(conv.weight.reshape(3, -1))
        linear.bias.copy_(conv.bias)
    mine, theirs = conv.quantized(), QuantLinear.from_float(linear, weight_bits=3, per_channel=True).quantized()
    assert torch.equal(mine[0].reshape(3, -1), theirs[0])
    assert torch.equal(mine[1], theirs[1])


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weight_bits", WIDTHS)
def test_weights_of_zero_give_zero(weight_bits: Any, per_channel: bool) -> None:
    layer = QuantLinear(4, 3, weight_bits, per_channel=per_channel)
    with torch.no_grad():
        layer.weight.zero_()
    weight, bias = layer.quantized()
    assert bias is not None
    assert weight.isfinite().all()
    assert (weight == 0).all() or weight_bits == "binary"


def test_a_channel_of_zeros_leaves_the_others_alone() -> None:
    torch.manual_seed(2)
    layer = QuantLinear(6, 3, 4, per_channel=True)
    with torch.no_grad():
        layer.weight[1] = 0
    alone = nn.Linear(6, 2)
    with torch.no_grad():
        alone.weight.copy_(layer.weight[[0, 2]])
    expected = QuantLinear.from_float(alone, weight_bits=4, per_channel=True).quantized()[0]
    assert torch.equal(layer.quantized()[0][[0, 2]], expected)


@pytest.mark.parametrize("exponent", [-126, -100, -1, 0, 1, 100, 127])
def test_powers_of_two_are_exact(exponent: int) -> None:
    assert float(power_of_two(torch.tensor(exponent, dtype=torch.int32))) == 2.0**exponent


def test_gradients_pass_straight_through() -> None:
    layer = QuantLinear(3, 2, 2)
    x = torch.tensor([[1.0, -2.0, 3.0]])
    layer(x).sum().backward()
    assert layer.bias is not None
    assert torch.equal(layer.weight.grad, x.expand(2, 3))
    assert torch.equal(layer.bias.grad, torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_hold_the_same_numbers(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    layer = QuantLinear(6, 4, 4)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.to(torch.bfloat16).to(torch.float16))  # what every type holds
    weight = layer.quantized()[0]
    assert torch.equal(layer.to(dtype).quantized()[0].float(), weight)


def test_brevitas_gives_the_same_weights() -> None:
    layer = QuantLinear(5, 4, 3, per_channel=True)
    theirs = layer.quant_weight()
    assert torch.equal(theirs.value, layer.quantized()[0])
    assert torch.equal(theirs.scale, layer.weight_step())
    assert int(theirs.bit_width) == 3


def test_a_new_layer_fits_its_weights_until_it_trains() -> None:
    layer: Any = QuantLinear(5, 4).eval()

    def step() -> Tensor:
        step: Tensor = layer.weight_step()
        return step

    before = step()
    with torch.no_grad():
        layer.weight *= 8
    assert int(layer.weight_exponent) == UNSET
    assert torch.equal(step(), 8 * before)

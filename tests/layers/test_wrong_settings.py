"""What quantized layers refuse, and what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from qleaky import QuantConv1d, QuantConv2d, QuantLinear
from qleaky.errors import InputError


@pytest.mark.parametrize("weight_bits", [0, 1, 9, 4.0, True, None, "quaternary"])
@pytest.mark.parametrize("kind", [QuantLinear, QuantConv1d, QuantConv2d])
def test_a_number_of_bits_that_there_is_not(kind: Any, weight_bits: Any) -> None:
    with pytest.raises(InputError, match=rf"Quant\w+: weight_bits={weight_bits!r}; choose 2 to 8, 'ternary' or 'binary'"):
        kind(3, 2, *(() if kind is QuantLinear else (1,)), weight_bits=weight_bits)


def test_same_padding_with_a_stride() -> None:
    with pytest.raises(InputError, match="QuantConv2d: padding='same' with stride=2; it asks for a stride of 1"):
        QuantConv2d(3, 2, 3, 2, "same")


class Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def with_weight_of(shape: tuple[int, ...]) -> nn.Linear:
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.zeros(shape))
    return layer


@pytest.mark.parametrize(
    ("kind", "layer", "message"),
    [
        (QuantLinear, nn.Conv1d(3, 2, 1), r"QuantLinear\.from_float: got a Conv1d; pass a torch\.nn\.Linear"),
        (QuantConv1d, nn.Conv2d(3, 2, 1), r"QuantConv1d\.from_float: got a Conv2d; pass a torch\.nn\.Conv1d"),
        (QuantConv2d, nn.ConvTranspose2d(3, 2, 1), r"QuantConv2d\.from_float: got a ConvTranspose2d; pass a torch\.nn\.Conv2d"),
        (QuantLinear, None, r"QuantLinear\.from_float: got a NoneType"),
        (QuantLinear, Scaled(3, 2), "Scaled has a forward of its own, so it may compute something else than"),
        (QuantLinear, weight_norm(nn.Linear(3, 2)), "the layer computes its weight"),
        (
            QuantLinear,
            with_weight_of((2, 4)),
            r"the layer's weight has shape \(2, 4\), where its own settings ask for \(2, 3\)",
        ),
        (
            QuantConv2d,
            nn.Conv2d(3, 2, 1, padding_mode="circular"),
            "padding_mode='circular' has no integer form; pad with zeros",
        ),
    ],
)
def test_layers_that_cannot_be_taken_over(kind: Any, layer: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind.from_float(layer)


def test_a_quantized_layer_can_be_quantized_to_other_bits() -> None:
    layer = QuantLinear(5, 4)
    again = QuantLinear.from_float(layer, weight_bits=3)
    assert again.weight_bits == 3
    assert torch.equal(again.weight, layer.weight)

"""Quantized layers to train with, on Brevitas' fixed-point weight quantizers."""

from __future__ import annotations

from typing import Any

import brevitas.nn as qnn
import torch
import torch.nn.functional as F
from brevitas.quant import Int8WeightPerTensorFixedPoint
from torch import Tensor

from qleaky._lif import StraightThrough
from qleaky.errors import InputError


class QuantLinear(qnn.QuantLinear):  # type: ignore[misc]
    """y = x W^T + b with W on a power-of-two grid and b on the same grid, so that sums are exact integers.

    W is quantized to ``weight_bits`` signed bits (narrow: symmetric codes) by Brevitas' ``Int8WeightPerTensorFixedPoint``,
    whose scale is the power of two that covers the largest weight; b is rounded to W's step, which is on the grid of the
    sum for every fixed-point input. Gradients pass straight through.

    Args:
        in_features: length of an input vector.
        out_features: number of outputs.
        weight_bits: 2..8.
        bias: whether there is a b.

    Raises:
        InputError: weight_bits outside 2..8.

    Shapes: x (..., in_features) -> (..., out_features).
    """

    def __init__(self, in_features: int, out_features: int, weight_bits: int = 8, bias: bool = True) -> None:
        if not 2 <= weight_bits <= 8:
            raise InputError(f"QuantLinear: weight_bits={weight_bits}; choose 2 to 8.")
        super().__init__(
            in_features, out_features, bias=bias, weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=weight_bits
        )
        self.weight_bits = weight_bits

    def quantized(self) -> tuple[Tensor, Tensor | None]:
        """W and b as the forward pass uses them."""
        weight = self.quant_weight()
        if self.bias is None:
            return weight.value, None
        step = weight.scale.detach()
        bias: Tensor = StraightThrough.apply(self.bias, torch.round(self.bias.detach() / step) * step)  # type: ignore[no-untyped-call]
        return weight.value, bias

    def forward(self, input_: Tensor) -> Tensor:
        """The layer's output."""
        return F.linear(input_, *self.quantized())

    def extra_repr(self) -> str:
        """As torch's, with the bits."""
        base: Any = super().extra_repr()
        return f"{base}, weight_bits={self.weight_bits}"

"""A linear layer whose sums are exact integers."""

from __future__ import annotations

from typing import Any, Self

import brevitas.nn as qnn
import torch.nn.functional as F
from torch import Tensor, nn

from qleaky.layers.accumulator import InputFormat
from qleaky.layers.brevitas_core import injector
from qleaky.layers.codes import WeightBits, codes_of
from qleaky.layers.float_layers import check_float_layer, check_options, taken_over
from qleaky.layers.quantized_layer import QuantizedLayer


class QuantLinear(QuantizedLayer, qnn.QuantLinear):  # type: ignore[misc]
    """y = x W^T + b with W and b on power-of-two grids, so that sums are exact integers.

    Args:
        in_features: length of an input vector.
        out_features: number of outputs.
        weight_bits: 3..8 (symmetric codes), 2 (codes -2..1), "ternary" (-1, 0, 1) or "binary" (-1, +1).
        bias: whether there is a b.
        per_channel: a scale for each output instead of one for all.
        accumulator_bits: P, so that sum|w| * max|x| + |b| <= 2**(P-1) - 1 in integer codes in every forward pass (A2Q).
        input_format: what x is: "spikes", or a :class:`~qleaky.QFormat`. It sets max|x| and the grid of b.

    Raises:
        InputError: weight_bits, accumulator_bits or input_format that make no sense, or an accumulator too narrow.
        FormatError: in forward, weights that are not finite.

    Shapes: x (..., in_features) -> (..., out_features).

    >>> QuantLinear(12, 9, weight_bits=4)
    QuantLinear(in_features=12, out_features=9, bias=True, weight_bits=4)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        weight_bits: WeightBits = 8,
        bias: bool = True,
        *,
        per_channel: bool = False,
        accumulator_bits: int | None = None,
        input_format: InputFormat = "spikes",
    ) -> None:
        check_options("QuantLinear", weight_bits, input_format)
        codes = codes_of(weight_bits, "QuantLinear")
        super().__init__(in_features, out_features, bias=bias, weight_quant=injector(codes))
        self._set_up(weight_bits, per_channel, accumulator_bits, input_format)

    @classmethod
    def from_float(cls, layer: nn.Linear, **settings: Any) -> Self:
        """The quantized layer with a float layer's weights and bias.

        Args:
            layer: a ``torch.nn.Linear``; it is not changed.
            settings: weight_bits, per_channel, accumulator_bits and input_format, as for the constructor.

        Raises:
            InputError: another kind of layer, or one that computes its weights or has a forward of its own.
        """
        check_float_layer(cls.__name__, layer, nn.Linear)
        return taken_over(cls(layer.in_features, layer.out_features, bias=layer.bias is not None, **settings), layer)

    def forward(self, input_: Tensor) -> Tensor:
        """The layer's output."""
        return F.linear(input_, *self.quantized())

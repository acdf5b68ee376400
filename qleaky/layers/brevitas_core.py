"""A layer's grid as Brevitas sees it: an injector whose quantizer asks the layer itself."""

from __future__ import annotations

from typing import Any

import torch
from brevitas.quant import Int8WeightPerTensorFixedPoint
from torch import Tensor, nn

from qleaky.layers.codes import Codes


class GridQuant(nn.Module):
    """What Brevitas calls a ``tensor_quant``: weights -> (values, scale, zero point, bit width), on the layer's own grid.

    It keeps nothing itself: Brevitas makes it anew whenever a parameter is set or a state dict is loaded.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._layer = (module,)  # in a tuple, as a module that is an attribute would be a child

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The weights of the layer, quantized."""
        layer = self._layer[0]
        value, step, bits = layer.quantized_weight(weight), layer.weight_step(), layer.codes.bits
        return value, step, torch.zeros((), device=value.device), torch.tensor(float(bits), device=value.device)


class FollowingWeightQuant(Int8WeightPerTensorFixedPoint):  # type: ignore[misc]
    """Brevitas' fixed-point weight quantizer with a scale that follows the weights, in place of one from statistics."""

    tensor_quant = GridQuant


def injector(codes: Codes) -> Any:
    """The injector of a layer with these codes."""
    return FollowingWeightQuant.let(bit_width=codes.bits, narrow_range=codes.lowest == -codes.highest, signed=True)

"""Weights and biases of a quantized layer: the power-of-two steps that change least of what the layer computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qleaky.layers import QuantizedLayer
from qleaky.layers.codes import Codes
from qleaky.layers.exponents import best_exponent, power_of_two, round_to_codes

DEPTH = 3
"""How many powers of two below the one of the plain least squared error, and above it, are tried."""

Parameters = tuple[Tensor, Tensor | None]


def weighted_exponent(rows: Tensor, codes: Codes, importance: Tensor) -> Tensor:
    """For every row the exponent with the least sum of importance * (w - q(w))**2, q as a QuantizedLayer rounds.

    Args:
        rows: weights (R, n): a row for each exponent.
        codes: those of the layer.
        importance: (R, n) or (n,); the mean square of what each weight multiplies.
    """
    plain = best_exponent(rows, codes)[0]
    candidates = [plain + shift for shift in range(1, -DEPTH, -1)]
    errors = [(importance * (_rounded(rows, each, codes) - rows).square()).sum(1) for each in candidates]
    best = torch.stack(errors).argmin(0)
    return torch.stack(candidates).gather(0, best.unsqueeze(0)).squeeze(0)


def _rounded(rows: Tensor, exponent: Tensor, codes: Codes) -> Tensor:
    step = power_of_two(exponent).unsqueeze(1).to(rows.dtype)
    return round_to_codes(rows, step, codes) * step


def rows_of(weight: Tensor, per_channel: bool) -> Tensor:
    """Weights with a row for each exponent."""
    return weight.detach().reshape(weight.shape[0] if per_channel else 1, -1)


@torch.no_grad()
def put(layer: QuantizedLayer, float_layer: Any, factor: float, exponent: Tensor) -> Parameters:
    """Give a quantized layer the float layer's numbers times ``factor`` and an exponent; W and b as it then uses them.

    The weights that training starts from are clipped to where they round to the outermost codes, so that the layer's
    exponent, which follows them, stays.
    """
    layer.weight_exponent.copy_(exponent.view_as(layer.weight_exponent))
    rows = rows_of(float_layer.weight, layer.per_channel) * factor
    step = power_of_two(exponent.reshape(-1, 1)).to(rows.dtype)
    clipped = torch.minimum(torch.maximum(rows, layer.codes.lowest * step), layer.codes.highest * step)
    layer.weight.copy_((clipped if layer.codes.has_zero else rows).view_as(layer.weight))
    if layer.bias is not None:
        layer.bias.copy_(float_layer.bias.detach() * factor)
    weight, bias = layer.quantized()
    return weight.detach(), None if bias is None else bias.detach()


def clipped_share(layer: QuantizedLayer, float_layer: Any, factor: float) -> float:
    """The share of weights further than half a step beyond the outermost codes."""
    rows = rows_of(float_layer.weight, layer.per_channel) * factor
    if not layer.codes.has_zero:
        return 0.0
    scaled = rows / power_of_two(layer.weight_exponent.reshape(-1, 1)).to(rows.dtype)
    return float(((scaled > layer.codes.highest + 0.5) | (scaled < layer.codes.lowest - 0.5)).double().mean())

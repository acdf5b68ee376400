"""Weights and biases of a quantized layer: the power-of-two steps that change least of what the layer computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qleaky.layers import QuantizedLayer
from qleaky.layers.codes import Codes
from qleaky.layers.exponents import best_exponent, followed, power_of_two, round_to_codes

DEPTH = 3
"""How many powers of two below the one of the plain least squared error, and above it, are tried."""

INSIDE = 0.49
"""How far from a code, in steps, a weight still surely rounds to it."""

KEPT = (1.0, 0.75, 0.5, 0.25, 0.0)
"""How much of the distance to their codes weights may keep; of none no other exponent has a smaller error."""

Parameters = tuple[Tensor, Tensor | None]


def weighted_exponent(rows: Tensor, codes: Codes, importance: Tensor) -> Tensor:
    """For every row the exponent with the least sum of importance * (w - q(w))**2, q as a QuantizedLayer rounds.

    Args:
        rows: weights (R, n): a row for each exponent.
        codes: those of the layer.
        importance: (R, n) or (n,); the mean square of what each weight multiplies.
    """
    plain = best_exponent(rows, codes)
    candidates = [used(plain + shift, rows, codes) for shift in range(1, -DEPTH, -1)]
    errors = [(importance * (_rounded(rows, each, codes) - rows).square()).sum(1) for each in candidates]
    best = torch.stack(errors).argmin(0)
    return torch.stack(candidates).gather(0, best.unsqueeze(0)).squeeze(0)


def used(exponent: Tensor, rows: Tensor, codes: Codes) -> Tensor:
    """Exponents, none so large that it leaves half of the codes unused: the next smaller one has all of its levels then."""
    largest = rows.abs().amax(1).double().clamp(min=2.0**-100)
    return torch.minimum(exponent, torch.ceil(torch.log2(largest / codes.highest)).to(exponent.dtype))


def _rounded(rows: Tensor, exponent: Tensor, codes: Codes) -> Tensor:
    step = power_of_two(exponent).unsqueeze(1).to(rows.dtype)
    return round_to_codes(rows, step, codes) * step


def rows_of(weight: Tensor, per_channel: bool) -> Tensor:
    """Weights with a row for each exponent."""
    return weight.detach().reshape(weight.shape[0] if per_channel else 1, -1)


@torch.no_grad()
def put(layer: QuantizedLayer, float_layer: Any, factor: float, exponent: Tensor, codes: Tensor | None = None) -> Parameters:
    """Give a quantized layer the float layer's numbers times ``factor`` and an exponent; W and b as it then uses them.

    The weights that training starts from are the float ones, moved no further than to where they round to the outermost codes
    or, where ``codes`` are given, to these.
    """
    layer.weight_exponent.copy_(exponent.view_as(layer.weight_exponent))
    rows = rows_of(float_layer.weight, layer.per_channel) * factor
    step = power_of_two(exponent.reshape(-1, 1)).to(rows.dtype)
    low: Tensor | int = layer.codes.lowest if codes is None else codes.reshape(rows.shape) - INSIDE
    high: Tensor | int = layer.codes.highest if codes is None else codes.reshape(rows.shape) + INSIDE
    moved = torch.minimum(torch.maximum(rows, low * step), high * step) if layer.codes.has_zero else rows
    layer.weight.copy_(moved.view_as(layer.weight))
    if layer.bias is not None:
        layer.bias.copy_(float_layer.bias.detach() * factor)
    weight, bias = layer.quantized()
    return weight.detach(), None if bias is None else bias.detach()


@torch.no_grad()
def hold_exponent(layer: QuantizedLayer) -> None:
    """Let the exponents, which follow the weights in training, stay where they are for now.

    Where they would move at once, as their squared error is not the least, the weights that training starts from are moved
    toward their codes, until they would not; what the layer computes stays the same.
    """
    rows, codes = layer.weight.clone(), layer.quantized()[0]
    for kept in KEPT:
        layer.weight.copy_(codes + (rows - codes) * kept)
        if _stays(layer) and torch.equal(layer.quantized()[0], codes):
            return


def _stays(layer: QuantizedLayer) -> bool:
    exponent = layer.weight_exponent.reshape(-1)
    return torch.equal(followed(exponent, rows_of(layer.weight, layer.per_channel), layer.codes), exponent)


def clipped_share(layer: QuantizedLayer, float_layer: Any, factor: float) -> float:
    """The share of weights further than half a step beyond the outermost codes."""
    rows = rows_of(float_layer.weight, layer.per_channel) * factor
    if not layer.codes.has_zero:
        return 0.0
    scaled = rows / power_of_two(layer.weight_exponent.reshape(-1, 1)).to(rows.dtype)
    return float(((scaled > layer.codes.highest + 0.5) | (scaled < layer.codes.lowest - 0.5)).double().mean())

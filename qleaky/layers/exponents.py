"""Which power of two is the step of a weight's grid: the least squared error, with hysteresis in training."""

from __future__ import annotations

import torch
from torch import Tensor

from qleaky.layers.codes import Codes

UNSET = torch.iinfo(torch.int32).min
"""What ``weight_exponent`` holds until a layer has a scale of its own: the scale that fits its weights best."""

MARGIN = 1.125
_SMALLEST, _LARGEST = -100, 100


def power_of_two(exponent: Tensor) -> Tensor:
    """2**exponent in float32, from its bits: exp2 and pow may be an ulp off."""
    return ((exponent.clamp(-126, 127) + 127) << 23).view(torch.float32)


def round_to_codes(weight: Tensor, step: Tensor, codes: Codes) -> Tensor:
    """The nearest codes (ties to even, sign(0) = +1 for binary ones), saturating, still carried in floating point."""
    if not codes.has_zero:
        return (weight >= 0).to(weight.dtype).mul_(2).sub_(1)
    return torch.div(weight, step).round_().clamp_(codes.lowest, codes.highest)


def root_error(rows: Tensor, exponent: Tensor, codes: Codes) -> Tensor:
    """sqrt(sum (w - q(w))**2) of every row."""
    step = power_of_two(exponent).to(rows.dtype)
    if not codes.has_zero:
        distance: Tensor = torch.linalg.vector_norm(rows.abs().sub_(step.unsqueeze(1)), dim=1)
        return distance
    scaled = rows / step.unsqueeze(1)
    error = scaled.round().clamp_(codes.lowest, codes.highest).sub_(scaled)
    length: Tensor = torch.linalg.vector_norm(error, dim=1)
    return length * step


def best_exponent(rows: Tensor, codes: Codes) -> Tensor:
    """For every row (a channel, or the whole tensor) the exponent of least squared error.

    Candidates are the smallest exponent that clips nothing and the 4 below it (2 for more than 5 bits); among equals the
    larger wins. A row of zeros takes the largest of the others, which binds no other channel, or one for weights in [-1, 1].
    """
    largest = rows.abs().amax(1)
    mantissa, exponent = torch.frexp(largest / codes.highest)
    covering = (exponent - (mantissa == 0.5).int()).clamp(_SMALLEST, _LARGEST).to(torch.int32)
    best, least = covering, root_error(rows, covering, codes)
    for below in range(1, (2 if codes.bits > 5 else 4) + 1):
        error = root_error(rows, covering - below, codes)
        best, least = torch.where(error < least, covering - below, best), torch.minimum(error, least)
    return _without_zeros(best, largest == 0, codes)


def _without_zeros(exponent: Tensor, zeros: Tensor, codes: Codes) -> Tensor:
    others = torch.where(zeros, _SMALLEST - codes.bits, exponent).amax()
    return torch.where(zeros, torch.where(zeros.all(), -codes.highest.bit_length(), others), exponent)


def followed(current: Tensor, rows: Tensor, codes: Codes) -> Tensor:
    """The exponents that rows of weights have after ``current``: the best, where there are none yet.

    ::

        e <- min(max(e, best(w / MARGIN)), best(w * MARGIN))

    so e stays while it is the best one for weights up to MARGIN smaller or larger than these, and a scale that was just passed
    is not taken again before the weights have gone back by MARGIN**2. Asking again with the same weights changes nothing.
    Rows of zeros keep what they have.
    """
    low, high = best_exponent(rows / MARGIN, codes), best_exponent(rows * MARGIN, codes)
    moved = torch.where(rows.any(1), torch.minimum(torch.maximum(current, low), high), current)
    return torch.where(current == UNSET, best_exponent(rows, codes), moved)

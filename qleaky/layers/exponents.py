"""Which power of two is the step of a weight's grid: the least squared error, with hysteresis in training."""

from __future__ import annotations

import torch
from torch import Tensor

from qleaky.layers.codes import Codes

UNSET = torch.iinfo(torch.int32).min
"""What ``weight_exponent`` holds until a layer has a scale of its own: the scale that fits its weights best."""

HYSTERESIS = 0.7
DEPTH = 4
_SMALLEST, _LARGEST = -100, 100


def power_of_two(exponent: Tensor) -> Tensor:
    """2**exponent in float32, from its bits: exp2 and pow may be an ulp off."""
    return ((exponent.clamp(-126, 127) + 127) << 23).view(torch.float32)


def round_to_codes(weight: Tensor, step: Tensor, codes: Codes) -> Tensor:
    """The nearest codes (ties to even, sign(0) = +1 for binary ones), saturating, still carried in floating point."""
    if not codes.has_zero:
        return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)
    return torch.div(weight, step).round_().clamp_(codes.lowest, codes.highest)


def squared_error(rows: Tensor, exponent: Tensor, codes: Codes) -> Tensor:
    """sum (w - q(w))**2 of every row, in units that are the same for all exponents."""
    step = power_of_two(exponent).unsqueeze(1).to(rows.dtype)
    return round_to_codes(rows, step, codes).mul_(step).sub_(rows).square_().sum(1)


def best_exponent(rows: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
    """For every row (a channel, or the whole tensor) the exponent of least squared error, and that error.

    Candidates are the smallest exponent that clips nothing and the DEPTH ones below it; among equals the larger wins. A row
    of zeros takes the largest of the others, which binds no other channel, or that of codes between -1 and 1.
    """
    largest = rows.abs().amax(1)
    mantissa, exponent = torch.frexp(largest / codes.highest)
    covering = (exponent - (mantissa == 0.5).int()).clamp(_SMALLEST, _LARGEST).to(torch.int32)
    best, least = covering, squared_error(rows, covering, codes)
    for below in range(1, DEPTH + 1):
        error = squared_error(rows, covering - below, codes)
        best, least = torch.where(error < least, covering - below, best), torch.minimum(error, least)
    return _without_zeros(best, largest == 0, codes), least


def _without_zeros(exponent: Tensor, zeros: Tensor, codes: Codes) -> Tensor:
    default = -codes.highest.bit_length()
    others = torch.where(zeros, _SMALLEST - 1, exponent).amax()
    return torch.where(zeros, torch.where(others < _SMALLEST, default, others), exponent)


def followed(current: Tensor, rows: Tensor, codes: Codes) -> Tensor:
    """The exponents that rows of weights have after ``current``.

    An exponent changes only where the best one has less than HYSTERESIS times its squared error, and then to the best, whose
    own error nothing undercuts: asking again with the same weights changes nothing.
    """
    best, least = best_exponent(rows, codes)
    kept = (current != UNSET) & ~(least < HYSTERESIS * squared_error(rows, current.clamp(_SMALLEST - DEPTH, 127), codes))
    return torch.where(kept, current, best)

"""``state_quant``: the level tables of snntorch's state quantizer."""

from __future__ import annotations

import math

import torch

from qleaky.errors import InputError
from qleaky.quantizers.levels import Levels

_MULTIPLIERS = {1: 0.05, 2: 0.1, 3: 0.3, 4: 0.5, 5: 0.7, 6: 0.9, 7: 0.925}


def state_quant(
    num_bits: int = 8,
    uniform: bool = True,
    thr_centered: bool = True,
    threshold: float = 1,
    lower_limit: float = 0,
    upper_limit: float = 0.2,
    multiplier: float | None = None,
) -> Levels:
    """The grid of snntorch 1.0.0's ``functional.quant.state_quant``, equal to it bit for bit and without its cost.

    2**num_bits levels from -threshold * (1 + lower_limit) to threshold * (1 + upper_limit): equidistant if ``uniform``,
    else exponentially dense around the threshold (``thr_centered``) or zero, with ``multiplier`` as the base.

    Raises:
        InputError: num_bits outside 1..16, a threshold that is not positive, or limits that leave no levels.
    """
    if not 1 <= num_bits <= 16 or not threshold > 0:
        raise InputError(f"state_quant: num_bits={num_bits}, threshold={threshold}; they must be 1 to 16, and positive.")
    low, high = -threshold - threshold * lower_limit, threshold + threshold * upper_limit
    if uniform:
        return Levels(torch.linspace(low, high, 1 << num_bits))
    base = _MULTIPLIERS.get(num_bits, 0.95) if multiplier is None else multiplier
    low = -(threshold + (threshold * lower_limit))
    try:
        return Levels(torch.tensor(_exponential_levels(1 << num_bits, base, low, threshold if thr_centered else 0, high)))
    except (ZeroDivisionError, OverflowError):
        raise InputError(
            f"state_quant: upper_limit={upper_limit} and multiplier={multiplier} leave no room for levels; enlarge upper_limit."
        ) from None


def _exponential_levels(count: int, base: float, low: float, centre: float, high: float) -> list[float]:
    """Levels whose distances shrink by ``base`` toward the centre, in snntorch's order of float operations."""
    below = math.floor(count * ((centre - low) / (high - low)))
    above = count - below
    levels: list[float] = []
    if below:
        room = _power_sum(base, below) / (centre - low)
        level = low
        for j in range(below):
            levels.append(level)
            level += base**j / room
    if above:
        room = _power_sum(base, above) / (high - centre)
        level = centre
        for j in reversed(range(above)):
            level += base**j / room
            levels.append(level)
    return levels


def _power_sum(base: float, count: int) -> float:
    """base**(count-1) + ... + base**0, added in this order."""
    total: float = 0
    for j in reversed(range(count)):
        total += base**j
    return total

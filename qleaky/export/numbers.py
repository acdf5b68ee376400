"""Numbers of a graph with their worst-case intervals, and what rounding and clipping make of these."""

from __future__ import annotations

from dataclasses import dataclass

from qleaky.fixed import Rounding
from qleaky.integer.layers import Signal


class TooWide(Exception):  # noqa: N818  no error: the caller takes a wider type
    """A number that the carrier may not hold exactly."""


@dataclass(frozen=True)
class Num:
    """A tensor whose value is i * 2**-bits for integers ``low`` <= i <= ``high``.

    With ``solid`` only integers below that in magnitude are held exactly; of others the tensor, too, holds ``solid`` or more,
    with the right sign. So it is with float32 sums beyond 2**24: enough for a state that saturates there anyway.
    """

    name: str
    low: int
    high: int
    bits: int = 0
    solid: int | None = None

    @property
    def magnitude(self) -> int:
        """The largest absolute integer."""
        return max(-self.low, self.high)


def exact(*numbers: Num) -> None:
    """Refuse numbers that are not exact everywhere.

    Raises:
        TooWide: one is not.
    """
    if any(a.solid is not None for a in numbers):
        raise TooWide


def rounding_range(end: int, bits: int, rounding: Rounding) -> int:
    """An end of the range of a rounded number, at most one too far out."""
    if rounding is Rounding.HALF_EVEN:
        return (end + (1 << (bits - 1))) >> bits
    return -(-end >> bits) if rounding is Rounding.TOWARD_ZERO and end < 0 else end >> bits


def taken_range(signal: Signal, shift: int, add: int, clip: tuple[int, int] | None = None) -> tuple[int, int]:
    """The interval of a signal's integers, clipped, shifted left, plus ``add``."""
    low, high = signal.low, signal.high
    if clip is not None:
        low, high = (min(max(end, clip[0]), clip[1]) for end in (low, high))
    return (low << shift) + add, (high << shift) + add

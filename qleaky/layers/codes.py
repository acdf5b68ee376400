"""The codes that a weight may have, by its number of bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qleaky.errors import InputError

WeightBits = int | Literal["ternary", "binary"]
CODE_BITS = 8  # the exporter's fastest products take 8-bit codes


@dataclass(frozen=True)
class Codes:
    """Integers ``lowest``..``highest``; ``has_zero`` is False for binary weights, -1 and +1 alone.

    ``bits`` is the width that stores one code. Weights of 3 to 8 bits are narrow (symmetric: -2**(b-1) + 1 to
    2**(b-1) - 1), so that no sign reaches further than the other; 2 bits have all four codes, -2 to 1, as without the lowest
    they would be ternary.
    """

    bits: int
    lowest: int
    highest: int
    has_zero: bool = True

    @property
    def largest(self) -> int:
        """The largest absolute code."""
        return max(-self.lowest, self.highest)

    @property
    def room(self) -> int:
        """By how many bits a code may be shifted and still fit 8 bits."""
        return CODE_BITS - self.bits


def codes_of(weight_bits: WeightBits, where: str) -> Codes:
    """The codes of ``weight_bits``: 2 to 8, "ternary" or "binary".

    Raises:
        InputError: anything else.

    >>> codes_of(4, "fc"), codes_of("binary", "fc").room
    (Codes(bits=4, lowest=-7, highest=7, has_zero=True), 6)
    """
    if weight_bits == "binary":
        return Codes(2, -1, 1, has_zero=False)
    if weight_bits == "ternary":
        return Codes(2, -1, 1)
    if isinstance(weight_bits, bool) or not isinstance(weight_bits, int) or not 2 <= weight_bits <= CODE_BITS:
        raise InputError(f"{where}: weight_bits={weight_bits!r}; choose 2 to 8, 'ternary' or 'binary'.")
    highest = (1 << (weight_bits - 1)) - 1
    return Codes(weight_bits, -2 if weight_bits == 2 else -highest, highest)

"""The encoder of an integer input: a raw sample -> its code, as :meth:`QFormat.quantize` rounds and saturates."""

from __future__ import annotations

from qleaky.export.c.text import literal
from qleaky.fixed import QFormat


def encoder_body(fmt: QFormat, ctype: str) -> list[str]:
    """Statements that return the code of raw * 2^-raw_frac_bits, rounded half up and saturated.

    ::

        x = raw * 2^(frac_bits - raw_frac_bits)
        code = min(max(floor(x + 1/2), LOW), HIGH) + zero_point        LOW, HIGH: the format's range less zero_point

    No intermediate number leaves int32_t, whatever raw and raw_frac_bits are: a shift to the right by 32 bits or more leaves
    0, one to the left by 31 or more leaves LOW, 0 or HIGH, and less is multiplied out only where the result is in the range.
    """
    low, high = fmt.lowest - fmt.zero_point, fmt.highest - fmt.zero_point
    finest, coarsest = literal(fmt.frac_bits + 32), literal(fmt.frac_bits - 31)
    offset = "" if not fmt.zero_point else f" {'+' if fmt.zero_point > 0 else '-'} {literal(abs(fmt.zero_point))}"
    lowest, highest = literal(low), literal(high)
    return [
        f"const int32_t bits = raw_frac_bits > {finest} ? {finest} : raw_frac_bits < {coarsest} ? {coarsest} : raw_frac_bits;",
        f"const int32_t down = bits - {literal(fmt.frac_bits)};"
        if fmt.frac_bits >= 0
        else f"const int32_t down = bits + {-fmt.frac_bits};",
        "const int32_t right = down < 1 ? 1 : down > 31 ? 31 : down;",
        "const int32_t left = down > 0 ? 0 : down < -30 ? 30 : -down;",
        "const int32_t rounded = down > 31 ? 0 : (raw >> right) + ((raw >> (right - 1)) & 1);",
        "const int32_t power = (int32_t)1 << left;",
        f"const int32_t most = {highest} >> left;",
        f"const int32_t least = ({lowest} + (power - 1)) >> left;",
        "const int32_t over = down < -30 ? (raw > 0) : (raw > most);",
        "const int32_t under = down < -30 ? (raw < 0) : (raw < least);",
        "const int32_t product = (over | under) != 0 ? 0 : raw * power;",
        f"const int32_t widened = over != 0 ? {highest} : under != 0 ? {lowest} : product;",
        f"const int32_t narrowed = rounded < {lowest} ? {lowest} : rounded > {highest} ? {highest} : rounded;",
        f"return ({ctype})((down > 0 ? narrowed : widened){offset});",
    ]

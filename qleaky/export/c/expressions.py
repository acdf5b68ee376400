"""int32_t expressions of C: literals, powers of two, rounding, overflow; none of them overflows within a layer's bounds."""

from __future__ import annotations

from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer.proof import INT32_MAX


def literal(number: int) -> str:
    """An int32_t constant. C has no negative ones: -2147483648 would negate a number that needs 64 bits.

    >>> literal(5), literal(-5), literal(-(1 << 31))
    ('5', '-5', '(-2147483647 - 1)')
    """
    return str(number) if number >= -INT32_MAX else f"(-{INT32_MAX} - 1)"


def scaled(term: str, bits: int) -> str:
    """term * 2**bits: a product, since C has no left shift of negative numbers.

    >>> scaled("u", 8), scaled("u", 0)
    ('256 * u', 'u')
    """
    return f"{1 << bits} * {term}" if bits else term


def rounded(name: str, bits: int, rounding: Rounding) -> str:
    """round(name / 2**bits), where ``name`` is a variable and right shifts are arithmetic.

    ::

        FLOOR         a >> k
        HALF_UP       (a + 2**(k-1)) >> k
        HALF_EVEN     (a + 2**(k-1) - 1 + (1 where a >> k is odd)) >> k
        TOWARD_ZERO   (a + (2**k - 1 where a < 0)) >> k

    >>> rounded("sum", 4, Rounding.HALF_UP)
    '(sum + 8) >> 4'
    """
    if bits == 0:
        return name
    half = (1 << bits) >> 1
    match rounding:
        case Rounding.FLOOR:
            return f"{name} >> {bits}"
        case Rounding.HALF_UP:
            return f"({name} + {half}) >> {bits}"
        case Rounding.HALF_EVEN:
            return f"({name} + {half - 1} + (({name} >> {bits}) & 1)) >> {bits}"
        case Rounding.TOWARD_ZERO:
            return f"({name} + ({name} < 0 ? {2 * half - 1} : 0)) >> {bits}"


def fitted(name: str, fmt: QFormat, overflow: Overflow, *, low: int, high: int) -> str:
    """overflow(name) for a variable that after overflow lies between ``low`` and ``high``: an end never reached needs no code.

    WRAP keeps the low bits, and moves what is above the sign bit down again: ((a & 255) ^ 128) - 128.

    >>> fitted("v", QFormat(8, 0), Overflow.SATURATE, low=-128, high=127)
    'v < -128 ? -128 : v > 127 ? 127 : v'
    >>> fitted("v", QFormat(8, 0), Overflow.SATURATE, low=-90, high=127)
    'v > 127 ? 127 : v'
    >>> fitted("v", QFormat(8, 0), Overflow.WRAP, low=-128, high=127)
    '((v & 255) ^ 128) - 128'
    """
    if overflow is Overflow.WRAP:
        return _wrapped(name, fmt)
    ends, low_end = name, literal(fmt.lowest)
    if overflow is Overflow.SATURATE and high >= fmt.highest:
        ends = f"{name} > {fmt.highest} ? {fmt.highest} : {ends}"
    if overflow is Overflow.SATURATE and low <= fmt.lowest:
        ends = f"{name} < {low_end} ? {low_end} : {ends}"
    return ends


def _wrapped(name: str, fmt: QFormat) -> str:
    if fmt.bits == 32:  # int32_t itself: the sum would have to overflow first
        return name
    mask = (1 << fmt.bits) - 1
    sign = 1 << (fmt.bits - 1)
    return f"(({name} & {mask}) ^ {sign}) - {sign}" if fmt.signed else f"{name} & {mask}"

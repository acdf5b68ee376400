"""Numbers of one neuron in an ONNX graph as formulas for z3, with the interval that each lies in.

A number is an integer expression times 2**-bits. What intervals decide is decided at once (a Clip that clips nothing is its
input, a comparison that can come out one way only is that), so two graphs that differ in nothing reachable give the same
formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import z3

EXACT = 1 << 24


class NoProofError(Exception):
    """The graph has something here that no formula is made of."""


@dataclass(frozen=True)
class Number:
    """``expr`` * 2**-bits, between ``low`` and ``high`` (both integers, in the same unit)."""

    expr: Any
    low: int
    high: int
    bits: int = 0

    def __post_init__(self) -> None:
        """Within what int32 and float32 both hold exactly, so that graphs compute what formulas say."""
        if max(-self.low, self.high) > EXACT:
            raise NoProofError(f"{self.low} to {self.high} may leave what float32 holds")

    def at(self, bits: int) -> Number:
        """The same number in a finer unit."""
        factor = 1 << (bits - self.bits)
        return self if factor == 1 else Number(self.expr * factor, self.low * factor, self.high * factor, bits)


Term = Number | Any  # or a truth value: bool, or a z3 Bool


def constant(value: Any) -> Term:
    """A number of a graph, exactly."""
    if isinstance(value, bool):
        return value
    exact = Fraction(value)
    bits = exact.denominator.bit_length() - 1
    code = int(exact * (1 << bits))
    return Number(code, code, code, bits)


def variable(name: str, low: int, high: int, bits: int = 0) -> Number:
    """Any integer between two ends, or the one that there is."""
    return Number(low if low == high else z3.Int(name), low, high, bits)


def aligned(*terms: Number) -> list[Number]:
    bits = max(term.bits for term in terms)
    return [term.at(bits) for term in terms]


def number(term: Term) -> Number:
    """Truth values are 0 and 1."""
    if isinstance(term, Number):
        return term
    if isinstance(term, bool):
        return constant(int(term))
    return Number(z3.If(term, 1, 0), 0, 1)


def add(a: Number, b: Number) -> Number:
    a, b = aligned(a, b)
    return Number(a.expr + b.expr, a.low + b.low, a.high + b.high, a.bits)


def sub(a: Number, b: Number) -> Number:
    a, b = aligned(a, b)
    return Number(a.expr - b.expr, a.low - b.high, a.high - b.low, a.bits)


def mul(a: Number, b: Number) -> Number:
    if not isinstance(a.expr, int) and not isinstance(b.expr, int):
        raise NoProofError("a product of two variables")
    ends = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return Number(a.expr * b.expr, min(ends), max(ends), a.bits + b.bits)


def clip(a: Number, low: Number | None, high: Number | None) -> Number:
    """As ONNX: first the lower end, then the upper."""
    if low is not None:
        a, low = aligned(a, low)
        if a.low < low.low:
            a = low if a.high <= low.low else Number(_ite(a.expr < low.expr, low.expr, a.expr), low.low, a.high, a.bits)
    if high is not None:
        a, high = aligned(a, high)
        if a.high > high.low:
            a = high if a.low >= high.low else Number(_ite(a.expr > high.expr, high.expr, a.expr), a.low, high.low, a.bits)
    return a


def greater(a: Number, b: Number, *, equal: bool) -> Term:
    a, b = aligned(a, b)
    if a.low > b.high or (equal and a.low >= b.high):
        return True
    if a.high < b.low or (not equal and a.high <= b.low):
        return False
    return a.expr >= b.expr if equal else a.expr > b.expr


def equals(a: Number, b: Number) -> Term:
    a, b = aligned(a, b)
    if a.high < b.low or b.high < a.low:
        return False
    return a.expr == b.expr


def where(condition: Term, a: Term, b: Term) -> Term:
    if isinstance(condition, bool):
        return a if condition else b
    if not isinstance(a, Number) or not isinstance(b, Number):
        return z3.If(condition, truth(a), truth(b))
    a, b = aligned(a, b)
    return Number(_ite(condition, a.expr, b.expr), min(a.low, b.low), max(a.high, b.high), a.bits)


def truth(term: Term) -> Any:
    if isinstance(term, Number):
        return greater(number(term), constant(0), equal=False) if term.low >= 0 else z3.Not(equals(term, constant(0)))
    return term


def negated(term: Term) -> Term:
    return not term if isinstance(term, bool) else z3.Not(term)


def both(a: Term, b: Term) -> Term:
    if isinstance(a, bool) or isinstance(b, bool):
        fixed, other = (a, b) if isinstance(a, bool) else (b, a)
        return other if fixed else False
    return z3.And(a, b)


def floor(a: Number) -> Number:
    return _divided(a, 1 << a.bits)


def _divided(a: Number, by: int) -> Number:
    """Rounded down, to an integer."""
    if by == 1:
        return Number(a.expr, a.low, a.high)
    expr = a.expr // by if isinstance(a.expr, int) else a.expr / by  # z3's division by a positive number rounds down
    return Number(expr, a.low // by, a.high // by)


def ceil(a: Number) -> Number:
    lower = floor(Number(-a.expr, -a.high, -a.low, a.bits))
    return Number(-lower.expr, -lower.high, -lower.low)


def toward_zero(a: Number, by: int) -> Number:
    """Of an integer divided by a positive one, or of a fraction (by its unit)."""
    if a.low >= 0:
        return _divided(a, by)
    up = ceil_by(a, by)
    if a.high <= 0:
        return up
    down = _divided(a, by)
    return Number(_ite(a.expr >= 0, down.expr, up.expr), up.low, down.high)


def ceil_by(a: Number, by: int) -> Number:
    lower = _divided(Number(-a.expr, -a.high, -a.low), by)
    return Number(-lower.expr, -lower.high, -lower.low)


def half_even(a: Number) -> Number:
    """Rounded to the nearest integer, of two to the even one."""
    if a.bits == 0:
        return a
    half = 1 << (a.bits - 1)
    up = _divided(Number(a.expr + half, a.low + half, a.high + half), 1 << a.bits)
    if isinstance(a.expr, int):
        value = round(Fraction(a.expr, 1 << a.bits))
        return Number(value, value, value)
    tie = z3.And((a.expr + half) % (1 << a.bits) == 0, up.expr % 2 == 1)
    return Number(z3.If(tie, up.expr - 1, up.expr), up.low - 1, up.high)


def masked(a: Number, mask: int) -> Number:
    """The bits of a mask that is 2**n - 1, minus a power of two, or one power of two less 1 (all two's complement)."""
    if isinstance(a.expr, int):
        return constant(a.expr & mask)
    if mask < 0 and (-mask) & (-mask - 1) == 0:
        lower = _divided(a, -mask)
        return Number(lower.expr * -mask, lower.low * -mask, lower.high * -mask)
    if mask > 0 and mask & (mask + 1) == 0:
        return a if a.low >= 0 and a.high <= mask else Number(a.expr % (mask + 1), 0, mask)
    raise NoProofError(f"a mask of {mask}")


def wrapped(a: Number, low: int, high: int) -> Number:
    """Brought into a type's range modulo its size."""
    if a.low >= low and a.high <= high:
        return a
    size = high - low + 1
    if isinstance(a.expr, int):
        return constant((a.expr - low) % size + low)
    return Number((a.expr - low) % size + low, low, high)


def least(a: Number, b: Number) -> Number:
    if isinstance(b.expr, int):
        return clip(a, None, b)
    return where(greater(a, b, equal=False), b, a)


def most(a: Number, b: Number) -> Number:
    if isinstance(b.expr, int):
        return clip(a, b, None)
    return where(greater(a, b, equal=False), a, b)


def quotient(a: Number, by: Number) -> Number:
    """Toward zero, by a positive constant."""
    if not isinstance(by.expr, int) or by.expr <= 0 or a.bits or by.bits:
        raise NoProofError("a division by what is no positive constant")
    return toward_zero(a, by.expr)


def sign(a: Number) -> Number:
    return where(
        greater(a, constant(0), equal=False),
        constant(1),
        where(greater(constant(0), a, equal=False), constant(-1), constant(0)),
    )


def same(a: Term, b: Term) -> bool:
    """Whether two formulas are one and the same."""
    if isinstance(a, Number) and isinstance(b, Number):
        a, b = aligned(a, b)
        return _identical(a.expr, b.expr)
    return not isinstance(a, Number) and not isinstance(b, Number) and _identical(a, b)


def differ(a: Term, b: Term) -> Any:
    """That two terms are not equal."""
    if isinstance(a, Number) or isinstance(b, Number):
        a, b = aligned(number(a), number(b))
        return _boolean(a.expr != b.expr)
    return z3.Xor(_boolean(a), _boolean(b))


def _boolean(a: Any) -> Any:
    return z3.BoolVal(a) if isinstance(a, bool) else a


def _identical(a: Any, b: Any) -> bool:
    if isinstance(a, int) or isinstance(b, int):
        return type(a) is type(b) and a == b
    return bool(a.eq(b))


def _ite(condition: Any, a: Any, b: Any) -> Any:
    if isinstance(condition, bool):
        return a if condition else b
    return z3.If(condition, a, b)


ELEMENTWISE: dict[str, Callable[[Sequence[Any]], Any]] = {
    "Identity": lambda x: x[0],
    "Add": lambda x: add(*map(number, x)),
    "Sub": lambda x: sub(*map(number, x)),
    "Mul": lambda x: mul(*map(number, x)),
    "Clip": lambda x: clip(number(x[0]), *(None if end is None else number(end) for end in (*x[1:], None, None)[:2])),
    "Greater": lambda x: greater(*map(number, x), equal=False),
    "GreaterOrEqual": lambda x: greater(*map(number, x), equal=True),
    "Equal": lambda x: equals(*map(number, x)),
    "Where": lambda x: where(*x),
    "And": lambda x: both(*x),
    "Not": lambda x: negated(x[0]),
    "Floor": lambda x: floor(number(x[0])),
    "Ceil": lambda x: ceil(number(x[0])),
    "Round": lambda x: half_even(number(x[0])),
    "Min": lambda x: least(*map(number, x)),
    "Max": lambda x: most(*map(number, x)),
    "Sign": lambda x: sign(number(x[0])),
    "BitwiseAnd": lambda x: masked(number(x[0]), int(number(x[1]).expr)),
    "Div": lambda x: quotient(*map(number, x)),
}

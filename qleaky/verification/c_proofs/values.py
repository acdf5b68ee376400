"""Integers of C99 as z3 bit vectors: their types, promotions, conversions, and what operations on them ask for.

``int`` has 32 bits, as on every machine that the code is for (qleaky_runtime.h asserts it).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import z3

Term = Any


class CType(NamedTuple):
    """An integer type."""

    bits: int
    signed: bool

    @property
    def lowest(self) -> int:
        """The smallest number."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest number."""
        return (1 << (self.bits - self.signed)) - 1


INT, UNSIGNED = CType(32, True), CType(32, False)
TYPES = {f"{sign}int{bits}_t": CType(bits, not sign) for sign in ("", "u") for bits in (8, 16, 32)}


class Value(NamedTuple):
    """A number of a type: ``term`` is a bit vector of its width."""

    term: Term
    type: CType

    @classmethod
    def constant(cls, number: int, ctype: CType = INT) -> Value:
        """A literal."""
        return cls(z3.BitVecVal(number, ctype.bits), ctype)

    def wide(self, bits: int = 64) -> Term:
        """The same number as a signed bit vector of ``bits`` > 32 bits."""
        return _extended(self, bits)

    @property
    def truth(self) -> Term:
        """Whether it is not 0."""
        return self.term != 0


class Condition(NamedTuple):
    """What must hold for an operation to have a defined result, as a formula, and in words."""

    holds: Term
    what: str


def _extended(value: Value, bits: int) -> Term:
    more = bits - value.type.bits
    if more <= 0:
        return value.term if more == 0 else z3.Extract(bits - 1, 0, value.term)
    return z3.SignExt(more, value.term) if value.type.signed else z3.ZeroExt(more, value.term)


def promoted(value: Value) -> Value:
    """Types narrower than int become int, which holds all their numbers (C99 6.3.1.1)."""
    return value if value.type.bits == 32 else Value(_extended(value, 32), INT)


def common(a: Value, b: Value) -> tuple[Value, Value]:
    """Both as int, or where one is unsigned both as that (C99 6.3.1.8)."""
    a, b = promoted(a), promoted(b)
    ctype = UNSIGNED if UNSIGNED in (a.type, b.type) else INT
    return Value(a.term, ctype), Value(b.term, ctype)


def converted(value: Value, ctype: CType) -> tuple[Value, list[Condition]]:
    """A conversion: modulo 2**bits to unsigned types; to signed ones the number must be one of theirs (C99 6.3.1.3)."""
    result = Value(_extended(value, ctype.bits), ctype)
    fits = value.type.lowest >= ctype.lowest and value.type.highest <= ctype.highest
    if fits or not ctype.signed:
        return result, []
    same = _extended(result, 33) == _extended(value, 33)
    return result, [Condition(same, f"a number that int{ctype.bits}_t does not hold is converted to it")]


def arithmetic(operator: str, a: Value, b: Value) -> tuple[Value, list[Condition]]:
    """+ - * / %, of the common type."""
    a, b = common(a, b)
    if operator in ("/", "%"):
        return _divided(operator, a, b)
    term = {"+": a.term + b.term, "-": a.term - b.term, "*": a.term * b.term}[operator]
    if not a.type.signed:
        return Value(term, a.type), []
    names = {
        "+": (z3.BVAddNoOverflow(a.term, b.term, True), z3.BVAddNoUnderflow(a.term, b.term)),
        "-": (z3.BVSubNoOverflow(a.term, b.term), z3.BVSubNoUnderflow(a.term, b.term, True)),
        "*": (z3.BVMulNoOverflow(a.term, b.term, True), z3.BVMulNoUnderflow(a.term, b.term)),
    }
    return Value(term, INT), [Condition(z3.And(*names[operator]), f"a {operator} of int overflows")]


def _divided(operator: str, a: Value, b: Value) -> tuple[Value, list[Condition]]:
    conditions = [Condition(b.term != 0, f"a {operator} by 0")]
    if not a.type.signed:
        return Value((z3.UDiv if operator == "/" else z3.URem)(a.term, b.term), a.type), conditions
    conditions.append(Condition(z3.Not(z3.And(a.term == INT.lowest, b.term == -1)), f"a {operator} of int overflows"))
    return Value(a.term / b.term if operator == "/" else z3.SRem(a.term, b.term), INT), conditions


def bitwise(operator: str, a: Value, b: Value) -> Value:
    """& | ^, of the common type."""
    a, b = common(a, b)
    return Value({"&": a.term & b.term, "|": a.term | b.term, "^": a.term ^ b.term}[operator], a.type)


def shifted(operator: str, a: Value, b: Value) -> tuple[Value, list[Condition]]:
    """<< and >>, of the left operand's type (C99 6.5.7).

    By 0 to 31; of a signed number to the left only where it is not negative and stays one, to the right arithmetic.
    """
    a, b = promoted(a), promoted(b)
    conditions = [Condition(z3.ULT(b.term, 32), f"a {operator} by less than 0 or more than 31 bits")]
    if operator == ">>":
        return Value(a.term >> b.term if a.type.signed else z3.LShR(a.term, b.term), a.type), conditions
    term = a.term << b.term
    if a.type.signed:
        kept = z3.And(a.term >= 0, (term >> b.term) == a.term, term >= 0)
        conditions.append(Condition(kept, "a << of a negative number, or one that loses bits"))
    return Value(term, a.type), conditions


def compared(operator: str, a: Value, b: Value) -> Value:
    """Comparisons, which are 0 or 1 of type int."""
    a, b = common(a, b)
    signed = {"<": a.term < b.term, "<=": a.term <= b.term, ">": a.term > b.term, ">=": a.term >= b.term}
    unsigned = {"<": z3.ULT, "<=": z3.ULE, ">": z3.UGT, ">=": z3.UGE}
    if operator in ("==", "!="):
        return flag(a.term == b.term if operator == "==" else a.term != b.term)
    return flag(signed[operator] if a.type.signed else unsigned[operator](a.term, b.term))


def flag(condition: Term) -> Value:
    """1 where a condition holds, else 0."""
    return Value(z3.If(condition, z3.BitVecVal(1, 32), z3.BitVecVal(0, 32)), INT)


def chosen(condition: Term, a: Value, b: Value) -> Value:
    """One of two numbers of the common type."""
    a, b = common(a, b)
    return Value(z3.If(condition, a.term, b.term), a.type)

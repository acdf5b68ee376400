"""The statement about an input's encoder: for every raw number and every grid it gives the exactly rounded, saturated code."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import z3

from qleaky.fixed import QFormat
from qleaky.verification.c_proofs.executing import Machine
from qleaky.verification.c_proofs.reading import Source
from qleaky.verification.c_proofs.results import Open, Proved, Refuted, Result
from qleaky.verification.c_proofs.solving import Deadline, UndecidedError, counterexample, valued
from qleaky.verification.c_proofs.specification import BITS, number
from qleaky.verification.c_proofs.values import INT, Condition, Term, Value

ENCODED = "the encoder rounds half up and saturates, exactly, for every raw number on every grid"
_COARSEST, _FINEST = 31, 32


def prove_encoder(source: Source, function: str, name: str, fmt: QFormat, seconds: float) -> Result:
    """The encoder of input ``name``."""
    start, deadline = perf_counter(), Deadline.after(seconds)
    raw, bits = z3.BitVec("raw", 32), z3.BitVec("raw_frac_bits", 32)
    try:
        for assumption, grid, code in _cases(fmt, raw, bits):
            conditions: list[Condition] = []
            got = Machine(source, conditions).call(function, [Value(raw, INT), Value(grid, INT)]).wide(BITS)
            claim = z3.And(got == code, *(condition.holds for condition in conditions))
            if (model := counterexample(assumption, claim, deadline)) is not None:
                undefined = [c.what for c in conditions if z3.is_false(model.eval(c.holds, True))]
                inputs = {"raw": valued(model, raw), "raw_frac_bits": valued(model, grid)}
                what = undefined[0] if undefined else "another code"
                return Refuted(name, ENCODED, what, None, inputs, {"code": valued(model, got)}, {"code": valued(model, code)})
    except UndecidedError as reason:
        return Open(name, ENCODED, str(reason))
    return Proved(name, ENCODED, perf_counter() - start)


def _cases(fmt: QFormat, raw: Term, bits: Term) -> Iterator[tuple[Term, Term, Term]]:
    """Every grid: an assumption on its fractional bits, these, and the code.

    ::

        x = raw * 2**(frac_bits - raw_frac_bits)        code = min(max(floor(x + 1/2), low), high) + zero_point

    Where raw is finer by 33 bits and more, |x| is at most 1/4 and the code that of 0; where it is coarser by 32 and more, any
    raw but 0 lies beyond every format.
    """
    value = z3.SignExt(BITS - 32, raw)
    limit = z3.If(value > 0, number(fmt.highest), z3.If(value < 0, number(fmt.lowest), number(fmt.zero_point)))
    for down in range(-_COARSEST, _FINEST + 1):
        grid = z3.BitVecVal(fmt.frac_bits + down, 32)
        rounded = (2 * value + (1 << down)) >> (down + 1) if down > 0 else value * (1 << -down)
        yield z3.BoolVal(True), grid, _saturated(fmt, rounded)
    yield bits > fmt.frac_bits + _FINEST, bits, number(fmt.zero_point)
    yield bits < fmt.frac_bits - _COARSEST, bits, limit


def _saturated(fmt: QFormat, rounded: Term) -> Term:
    code = rounded + fmt.zero_point
    return z3.If(code < fmt.lowest, number(fmt.lowest), z3.If(code > fmt.highest, number(fmt.highest), code))

"""Deciding claims with z3: a claim holds if its negation has no solution."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

import z3

from qleaky.verification.c_proofs.values import Term

# z3's own way for bit vectors is the fastest for most; what it does not decide soon, circuits with shared parts often do.
_FIRST = 10.0
_CIRCUITS = ("simplify", "propagate-values", "solve-eqs", "elim-uncnstr", "simplify", "bit-blast", "aig", "sat")


class UndecidedError(Exception):
    """z3 gave no answer in the time that it had; the message says so. Never leaves this package."""


@dataclass(frozen=True)
class Deadline:
    """The moment at which a statement is left open, and the seconds that it had."""

    at: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """From now."""
        return cls(monotonic() + seconds, seconds)


def counterexample(assumption: Term, claim: Term, deadline: Deadline) -> Any | None:
    """A model in which the assumption holds and the claim does not; None where the claim is proved.

    Raises:
        UndecidedError: no answer before the deadline.
    """
    reason = ""
    for solver, seconds in ((z3.SolverFor("QF_BV"), _FIRST), (z3.Then(*_CIRCUITS).solver(), float("inf"))):
        left = min(deadline.at - monotonic(), seconds)
        if left <= 0:
            break
        solver.set("timeout", max(1, int(1000 * left)))
        solver.add(assumption, z3.Not(claim))
        answer = solver.check()
        if answer != z3.unknown:
            return solver.model() if answer == z3.sat else None
        reason = f" ({solver.reason_unknown()})"
    raise UndecidedError(f"z3 gave no answer within {deadline.seconds:g} s{reason}")


def valued(model: Any, term: Term) -> int:
    """The signed number that a term has in a model."""
    return int(model.eval(term, model_completion=True).as_signed_long())

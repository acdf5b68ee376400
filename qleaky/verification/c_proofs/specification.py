"""One step of one neuron in 64 bits, from the equations of docs/numerics.md: what the C must equal for all inputs.

Nothing here is taken from the exporter. Numbers are signed bit vectors of 64 bits; :func:`fits` says when these suffice.
"""

from __future__ import annotations

from typing import NamedTuple

import z3

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer.lif import LIF, Synapse
from qleaky.verification.c_proofs.values import Term

BITS = 64


class Step(NamedTuple):
    """U[t], J[t] (None without a synapse) and what is emitted."""

    mem: Term
    syn: Term | None
    emitted: Term


class Constants(NamedTuple):
    """One neuron's own numbers."""

    theta: int
    multiplier: int
    syn_multiplier: int
    graded: int


def number(value: int) -> Term:
    """A constant of 64 bits."""
    return z3.BitVecVal(value, BITS)


def neuron_step(layer: LIF, own: Constants, shifts: tuple[int, int], mem: Term, syn: Term | None, current: Term) -> Step:
    """(U[t-1], J[t-1], I[t]) -> (U[t], J[t], emission).

    ::

        J = overflow(round(decay(J) + I))                with a synapse; J is then what the membrane integrates
        R = count(U[t-1])                                0 for SAME_STEP
        V = overflow(round(decay(U or 0) + I - R*theta))
        n = count(V)
        U = V, V - n*theta, V*(1-n), V - (n-R)*theta or V - (n-R)*V

    ``shifts``: how many bits the current is finer than the synapse's state (or the membrane's), and what the membrane
    integrates finer than the membrane; negative where coarser.
    """
    into, membrane = shifts
    if layer.synapse is not None and syn is not None:
        syn = current = _charge(layer.synapse, own.syn_multiplier, syn, current, into, number(0))
    early = layer.reset_timing is not ResetTiming.SAME_STEP
    reset = count(layer, mem, own.theta) if early else number(0)
    held = z3.If(reset > 0, number(0), mem) if layer.reset_mechanism is ResetMechanism.ZERO else mem
    taken = reset * own.theta if layer.reset_mechanism is ResetMechanism.SUBTRACT else number(0)
    charged = _charge(layer, own.multiplier, held, current, membrane, taken)
    spikes = count(layer, charged, own.theta)
    emitted = spikes * (own.graded if layer.graded is not None else 1)
    return Step(charged - _late(layer, own, charged, spikes - reset), syn, emitted)


def _late(layer: LIF, own: Constants, charged: Term, spikes: Term) -> Term:
    """What the late reset takes; ``spikes`` less those that the early one took for."""
    if layer.reset_timing is ResetTiming.DELAYED or layer.reset_mechanism is ResetMechanism.NONE:
        return number(0)
    return spikes * (own.theta if layer.reset_mechanism is ResetMechanism.SUBTRACT else charged)


def count(layer: LIF, mem: Term, theta: int) -> Term:
    """How many spikes fire: theta is taken off as long as what is left fires, ``max_spikes`` times at most.

    Spike number s = 0, 1, ... fires where U - s*theta > theta (or >=); the most that the membrane's format allows are tried.
    """
    strict = layer.compare is Compare.STRICT
    if layer.max_spikes == 1:
        return _one_where(mem > theta if strict else mem >= theta)
    tried = min(layer.max_spikes, layer.state.highest // theta + 1)
    left = [mem - s * theta for s in range(tried)]
    return z3.Sum([_one_where(rest > theta if strict else rest >= theta) for rest in left])


def _one_where(condition: Term) -> Term:
    return z3.If(condition, number(1), number(0))


def _charge(part: LIF | Synapse, multiplier: int, held: Term, current: Term, shift: int, taken: Term) -> Term:
    """overflow(round(A)), with A a fraction over 2**extra."""
    decayed, bits = _decayed(part, multiplier, held)
    extra = max(bits, shift, 0)
    total = decayed * (1 << (extra - bits)) + current * (1 << (extra - shift)) - taken * (1 << extra)
    return overflowed(rounded(total, extra, part.rounding), part.state, part.overflow)


def _decayed(part: LIF | Synapse, multiplier: int, held: Term) -> tuple[Term, int]:
    """The decayed state as a fraction over 2**bits."""
    match part.decay:
        case None:
            return held, 0
        case ShiftDecay(k=k, at_least_one=at_least_one):
            lost = rounded(held, k, Rounding.FLOOR)
            if at_least_one:
                one = z3.If(held > 0, number(1), z3.If(held < 0, number(-1), number(0)))
                lost = z3.If(lost == 0, one, lost)
            return held - lost, 0
        case MulShift(n=n) if part.rounding_site is RoundingSite.SUM:
            return held * multiplier, n
        case MulShift(n=n, rounding=own):
            return rounded(held * multiplier, n, own or part.rounding), 0


def rounded(a: Term, bits: int, rounding: Rounding) -> Term:
    """round(a / 2**bits), from floor and the remainder that it leaves."""
    if bits == 0:
        return a
    floor = a >> bits
    rest = a - floor * (1 << bits)
    twice, whole = rest * 2, number(1 << bits)
    up = {
        Rounding.FLOOR: z3.BoolVal(False),
        Rounding.HALF_UP: twice >= whole,
        Rounding.HALF_EVEN: z3.Or(twice > whole, z3.And(twice == whole, z3.Extract(0, 0, floor) == 1)),
        Rounding.TOWARD_ZERO: z3.And(a < 0, rest != 0),
    }[rounding]
    return z3.If(up, floor + 1, floor)


def overflowed(code: Term, fmt: QFormat, overflow: Overflow) -> Term:
    """The code brought into its format; PROVED_NONE leaves it, and another statement says that it was there."""
    low, high = number(fmt.lowest), number(fmt.highest)
    match overflow:
        case Overflow.SATURATE:
            return z3.If(code < low, low, z3.If(code > high, high, code))
        case Overflow.WRAP:
            return ((code - low) & ((1 << fmt.bits) - 1)) + low
        case Overflow.PROVED_NONE:
            return code


def fits(largest: int) -> bool:
    """Whether 64 bits hold a sum of magnitudes up to ``largest``, at one more bit and with a remainder that is doubled."""
    return largest < 1 << (BITS - 3)

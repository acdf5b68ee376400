"""Which states a neuron can reach, in any number of steps: interval analysis from the real currents, leaks and thresholds.

Every function here maps intervals to intervals that hold all results for all of their elements. Arrays broadcast: one
interval for all neurons, one per channel, or one per neuron. Numbers are int64 where they fit, else Python integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, resets_early, resets_late
from qleaky.fixed import Overflow, Rounding, round_shift, round_shift_array
from qleaky.integer.lif import LIF, Synapse, decay_bits
from qleaky.integer.signals import INT64_SAFE, IntArray, magnitudes

STEPS = 64
NARROWING = 16


class Interval(NamedTuple):
    """Integers from ``low`` to ``high``, elementwise."""

    low: IntArray
    high: IntArray

    @property
    def magnitude(self) -> IntArray:
        """The largest absolute integer, elementwise."""
        return magnitudes(self.low, self.high)


class Reach(NamedTuple):
    """``state``: before a step (zero included); ``charged``: after overflow, before late resets; ``overflows``: somewhere."""

    state: Interval
    charged: Interval
    overflows: bool


def reach(part: LIF | Synapse, current: Interval, shift: int) -> Reach:
    """The states that currents in an interval, at ``shift`` more bits than the state, can lead to from zero.

    The interval X of a neuron is grown from {0} until one step stays inside it: then it holds for any number of steps. Where
    that takes more than ``STEPS`` rounds, the leak's geometric bound takes its place if one step stays inside that,

    ::

        |U| <= (|I| + 2) / (1 - beta)

    else the format's limits, within which overflow keeps every state.
    """
    step = _Step(part, current, shift)
    zero = step.zeros()
    state = Interval(zero, zero)
    for _ in range(STEPS):
        after = _hull(state, step.after(state))
        if all(np.array_equal(a, b) for a, b in zip(after, state, strict=True)):
            break
        state = after
    else:
        state = _accelerated(step, state)
    rounded = step.rounded(state)
    return Reach(state, step.fitted(rounded), bool(step.outside(rounded).any()))


def _accelerated(step: _Step, grown: Interval) -> Interval:
    """An interval that one step cannot leave, from one that still grows; then smaller again as long as that is easy.

    Only the ends that grow are replaced, by the geometric bound or else by the format's limit.
    """
    after, state = step.after(grown), step.limits()
    for ends in (step.limits(), step.geometric()):
        low = np.where(after.low < grown.low, np.minimum(ends.low, grown.low), grown.low)
        high = np.where(after.high > grown.high, np.maximum(ends.high, grown.high), grown.high)
        guess = Interval(low, high)
        state = _where(_inside(step.after(guess), guess), guess, state)
    zero = step.zeros()
    for _ in range(NARROWING):
        after = _hull(Interval(zero, zero), step.after(state))
        state = Interval(np.maximum(state.low, after.low), np.minimum(state.high, after.high))
    return state


def _where(mask: IntArray, a: Interval, b: Interval) -> Interval:
    return Interval(np.where(mask, a.low, b.low), np.where(mask, a.high, b.high))


class _Step:
    """One step of a LIF layer's membranes, or of its synaptic currents, on intervals."""

    def __init__(self, part: LIF | Synapse, current: Interval, shift: int) -> None:
        self.part = part
        self.bits = decay_bits(part)
        self.extra = max(self.bits, shift, 0)
        self.count = part.max_spikes if isinstance(part, LIF) else 0
        self.kind = self._kind(current, shift)
        self.current = Interval(*(self._array(bound) << (self.extra - shift) for bound in current))
        self.multiplier = None if part.multiplier is None else self._array(part.multiplier)
        self.theta = self._array(part.theta if isinstance(part, LIF) else np.zeros((), np.int64))

    def _kind(self, current: Interval, shift: int) -> Any:
        """int64 where neither a decayed state with its resets, nor a current can leave it."""
        state = (2 * self.count + 4) << (self.part.state.bits + self.extra + (0 if self.bits else 15))
        magnitude = max(abs(int(current.low.min())), abs(int(current.high.max())))
        return np.int64 if state + (magnitude << (self.extra - shift)) < INT64_SAFE else object

    def _array(self, values: IntArray) -> IntArray:
        """With an axis, since an operation on none gives no array of Python integers."""
        return np.atleast_1d(values.astype(self.kind))

    def zeros(self) -> IntArray:
        """One zero for every neuron that may differ from others."""
        shapes = [self.current.low.shape, self.current.high.shape, self.theta.shape]
        shapes += [] if self.multiplier is None else [self.multiplier.shape]
        return np.zeros(np.broadcast_shapes(*shapes), self.kind)

    def limits(self) -> Interval:
        """What the format holds."""
        return Interval(self.zeros() + self.part.state.lowest, self.zeros() + self.part.state.highest)

    def after(self, u: Interval) -> Interval:
        """States before a step -> states after it."""
        v = self.fitted(self.rounded(u))
        part = self.part
        if not isinstance(part, LIF) or not resets_late(part.reset_mechanism, part.reset_timing):
            return v
        after = self._reset(v, _same, 0)
        if part.reset_timing is not ResetTiming.UNDELAYED:
            return after
        either = self._clip(_hull(after, self._given_back(v, part.reset_mechanism)))
        return _where(self.counts(u.high) > 0, either, after)

    def _given_back(self, v: Interval, mechanism: ResetMechanism) -> Interval:
        """V where an undelayed reset fires again, V + theta (or V + V) where it does not and gives back what it took."""
        quiet = np.minimum(v.high, self._edge(1) - 1)
        low, high = (v.low + self.theta, quiet + self.theta) if mechanism is ResetMechanism.SUBTRACT else (2 * v.low, 2 * quiet)
        return Interval(np.minimum(v.low, low), np.maximum(v.high, high))

    def rounded(self, u: Interval) -> Interval:
        """round(decay(U) + I - R*theta), before overflow."""
        part = self.part
        early = isinstance(part, LIF) and resets_early(part.reset_mechanism, part.reset_timing)
        base = self._reset(u, self.decayed, self.bits) if early else Interval(*(self.decayed(end) for end in u))
        raised = (bound << (self.extra - self.bits) for bound in base)
        sums = (bound + current for bound, current in zip(raised, self.current, strict=True))
        return Interval(*(_round(total, self.extra, part.rounding) for total in sums))

    def fitted(self, rounded: Interval) -> Interval:
        """Overflow: a wrapped interval that leaves the format may be anywhere in it."""
        clipped = self._clip(rounded)
        return _where(self.outside(rounded), self.limits(), clipped) if self.part.overflow is Overflow.WRAP else clipped

    def outside(self, rounded: Interval) -> IntArray:
        """Where a sum may leave the format."""
        outside: IntArray = (rounded.low < self.part.state.lowest) | (rounded.high > self.part.state.highest)
        return outside

    def _clip(self, bounds: Interval) -> Interval:
        lowest, highest = self.part.state.lowest, self.part.state.highest
        return Interval(*(np.minimum(np.maximum(bound, lowest), highest) for bound in bounds))

    def _reset(self, u: Interval, f: Callable[[IntArray], IntArray], bits: int) -> Interval:
        """The range of f(U) - n(U)*theta, or with a zero reset of f(U) and f(0): f is the decay, or the identity.

        f(U) - n*theta rises with U while the count n stays the same. From one count to the next its least and largest values
        do not rise, because U - f(U) does not fall for U >= 0: the first and the last count hold the extremes.
        """
        part = self.part
        first, last = self.counts(u.low), self.counts(u.high)
        several = last > first
        top = np.where(several, self._edge(first + 1) - 1, u.high)
        if isinstance(part, LIF) and part.reset_mechanism is ResetMechanism.ZERO:
            silent = first == 0
            low = np.where(silent, np.where(several, np.minimum(u.low, 0), u.low), 0)
            high = np.where(silent, np.where(several, np.maximum(top, 0), u.high), 0)
            return Interval(f(low), f(high))
        theta = self.theta << bits
        bottom = np.where(several, self._edge(last), u.low)
        return Interval(
            np.minimum(f(u.low) - first * theta, f(bottom) - last * theta),
            np.maximum(f(u.high) - last * theta, f(top) - first * theta),
        )

    def counts(self, u: IntArray) -> IntArray:
        """How many spikes a membrane fires."""
        part = self.part
        if not isinstance(part, LIF):
            return np.zeros_like(u)
        strict = int(part.compare is Compare.STRICT)
        if self.count == 1:
            return (u >= self.theta + strict).astype(self.kind)
        count: IntArray = np.minimum(np.maximum((u - strict) // self.theta, 0), self.count)
        return count

    def _edge(self, count: Any) -> IntArray:
        """The least membrane that fires ``count`` times."""
        strict = int(isinstance(self.part, LIF) and self.part.compare is Compare.STRICT)
        edge: IntArray = count * self.theta + strict
        return edge

    def decayed(self, u: IntArray) -> IntArray:
        """The decayed state at ``bits`` extra bits; it rises with u."""
        part = self.part
        if isinstance(part.decay, ShiftDecay):
            lost = u >> part.decay.k
            return u - (np.where(lost == 0, (u > 0).astype(self.kind) - (u < 0), lost) if part.decay.at_least_one else lost)
        if not isinstance(part.decay, MulShift) or self.multiplier is None:
            return u
        product = u * self.multiplier
        if part.rounding_site is RoundingSite.SUM:
            return product
        return _round(product, part.decay.n, part.decay.rounding or part.rounding)

    def geometric(self) -> Interval:
        """A guess at the states that the leak confines; :func:`reach` tests it."""
        limits, (leak, bits) = self.limits(), self._leak()
        reset = (np.abs(self.theta) * leak >> bits) * self.count + 1
        raised = np.where(self.theta < 0, -self.theta, 0)
        pulls = (np.clip(pull, 0, 1 << (self.extra + 33)) for pull in (-self.current.low, self.current.high))
        down, up = (-(-pull >> self.extra) + 2 for pull in pulls)
        lasting = (-(-(pull << bits) // np.where(leak == 0, 1, leak)) for pull in (down, up + raised))
        low, high = (np.where(leak == 0, limits.high, total) for total in lasting)
        return Interval(np.maximum(-np.maximum(low, down + reset), limits.low), np.minimum(high, limits.high))

    def _leak(self) -> tuple[IntArray, int]:
        """1 - beta as an integer and its fractional bits."""
        if isinstance(self.part.decay, ShiftDecay):
            return np.ones(1, self.kind), self.part.decay.k
        if isinstance(self.part.decay, MulShift) and self.multiplier is not None:
            return (1 << self.part.decay.n) - self.multiplier, self.part.decay.n
        return np.zeros(1, self.kind), 0


def _same(u: IntArray) -> IntArray:
    return u


def _hull(a: Interval, b: Interval) -> Interval:
    return Interval(np.minimum(a.low, b.low), np.maximum(a.high, b.high))


def _inside(a: Interval, b: Interval) -> IntArray:
    inside: IntArray = (a.low >= b.low) & (a.high <= b.high)
    return inside


def _round(values: IntArray, shift: int, rounding: Rounding) -> IntArray:
    if values.dtype != object:
        return round_shift_array(values, shift, rounding)
    return np.asarray(np.frompyfunc(lambda value: round_shift(int(value), shift, rounding), 1, 1)(values), object)

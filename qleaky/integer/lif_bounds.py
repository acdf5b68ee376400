"""The bounds of a LIF layer and of its synaptic current, from the states that they can reach."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from qleaky.dynamics import Compare, MulShift, ResetMechanism, RoundingSite, float32_carries
from qleaky.fixed import Overflow, Rounding
from qleaky.integer.lif import LIF, Synapse, decay_bits
from qleaky.integer.proof import FLOAT32_EXACT, FLOAT64_EXACT, LayerBounds
from qleaky.integer.reach import Interval, Reach, reach
from qleaky.integer.signals import INT64_SAFE, IntArray, Signal, as_integers


def lif_bounds(layer: LIF, x: Signal) -> LayerBounds:
    """The decay and step bounds of the neurons, with the saturation relief for a float32 carrier where it applies.

    ::

        decay = 2**(k-n) * m * max|U|
        step  = 2**k * (m * max|U| / 2**n + max|I| + n_max * |theta|) + h

    max|U| is that of the states that a neuron can reach from zero (:func:`qleaky.integer.reach.reach`): at most, and often
    less than, what its format holds. With a synapse, I is the synaptic current. A step is at least one code of the state and
    one of the current at k extra bits, even where both stay zero: these are what its shifts multiply by.
    """
    current, synapse = Interval(x.lows, x.highs), None
    entering = x.magnitude
    if layer.synapse is not None:
        synapse, found = _part_bounds(layer.name, layer.synapse, current, layer.current_shift(x))
        current, entering = found.charged, int(found.charged.magnitude.max())
        synapse = msgspec.structs.replace(synapse, input_bound=x.magnitude, output_bound=entering)
    bounds, _ = _part_bounds(layer.name, layer, current, layer.membrane_shift(x))
    emitted = layer.output(x).magnitude
    return msgspec.structs.replace(bounds, input_bound=entering, output_bound=emitted, synapse=synapse)


def _part_bounds(name: str, part: LIF | Synapse, current: Interval, shift: int) -> tuple[LayerBounds, Reach]:
    """What membranes and synaptic currents have in common, and the states they reach."""
    k = max(decay_bits(part), shift, 0)
    found = reach(part, current, shift)
    terms = _terms(part, current, shift, found)
    decay, step = int(terms.decay.max()), int(terms.sums.max()) + _half(k, part.rounding)
    step = max(step, 1 << k, 1 << (k - shift))
    least = int(np.maximum(terms.decay, terms.sums).min())
    carried = _relieved(part, max(decay, step), decay, terms.taken, k)
    mems = [int(end) for bounds in (found.state, found.charged) for end in (bounds.low.min(), bounds.high.max())]
    in_float32 = float32_carries(part.state, part.overflow)
    bounds = LayerBounds(
        layer=name,
        kind="lif" if isinstance(part, LIF) else "synapse",
        decay=decay,
        step=step,
        extra_bits=k,
        accumulator_bits=max(decay, step).bit_length() + 1,
        channel_accumulator_bits=(least.bit_length() + 1, max(decay, step).bit_length() + 1),
        training_carrier="float32" if in_float32 else "float64",
        training_bound=carried,
        training_limit=FLOAT32_EXACT if in_float32 else FLOAT64_EXACT,
        half_even_bound=_half_even_bound(part, terms, k, carried),
        finest_bits=part.state.frac_bits + k,
        mem_low=min(mems),
        mem_high=max(mems),
        overflows=found.overflows,
    )
    return bounds, found


class _Terms(NamedTuple):
    """Per neuron the largest integer of the decay, and of the sum at k extra bits.

    And of all neurons the largest current at k extra bits, and the most that a reset may take off.
    """

    decay: IntArray
    sums: IntArray
    current: int
    taken: int


def _terms(part: LIF | Synapse, current: Interval, shift: int, found: Reach) -> _Terms:
    k = max(decay_bits(part), shift, 0)
    taken = _taken(part, found) if isinstance(part, LIF) else np.zeros(1, np.int64)
    states, currents = found.state.magnitude, current.magnitude
    worst = (int(states.max()) << (k + 17)) + (int(currents.max()) << (k - shift)) + (int(taken.max()) << k)
    kind: Any = np.int64 if worst < INT64_SAFE else object
    states, currents, taken = (np.atleast_1d(numbers).astype(kind) for numbers in (states, currents, taken))
    decay, decayed = _decay_terms(part, states, k)
    currents = currents << (k - shift)
    return _Terms(decay, decayed + currents + (taken << k), int(currents.max()), int(taken.max()))


def _taken(layer: LIF, found: Reach) -> IntArray:
    """What a reset takes off each neuron at most: its threshold, as often as it can fire."""
    theta: IntArray = np.abs(np.atleast_1d(as_integers(layer.theta)))
    if layer.max_spikes == 1 or layer.reset_mechanism is not ResetMechanism.SUBTRACT:
        return theta
    highest = np.maximum(found.state.high, found.charged.high) - (layer.compare is Compare.STRICT)
    return as_integers(theta * np.clip(highest // theta, 1, layer.max_spikes))


def _decay_terms(part: LIF | Synapse, states: IntArray, k: int) -> tuple[IntArray, IntArray]:
    """The largest integer that the decay computes, and the largest decayed state, both at k extra bits."""
    if not isinstance(part.decay, MulShift) or part.multiplier is None:
        return states << k, states << k
    n, product = part.decay.n, np.atleast_1d(part.multiplier).astype(states.dtype) * states
    if part.rounding_site is RoundingSite.SUM:
        return product << (k - n), product << (k - n)
    rounded = -(-product >> n) << k
    return np.maximum(product + _half(n, part.decay.rounding or part.rounding), rounded), rounded


def _half(bits: int, rounding: Rounding) -> int:
    """What rounding adds before it drops ``bits`` bits."""
    return (1 << bits) // 2 if rounding in (Rounding.HALF_UP, Rounding.HALF_EVEN) else 0


def _relieved(part: LIF | Synapse, bound: int, exact: int, taken: int, bits: int) -> int:
    """The bound of a float carrier: sums that saturate either way need not be exact, what is up to ``exact`` must be."""
    if part.overflow is not Overflow.SATURATE or (isinstance(part, LIF) and part.theta.min() < 0):
        return bound
    room = max(-part.state.lowest, part.state.highest + 1) + taken + 1
    return min(bound, max(exact, room << bits))


def _half_even_bound(part: LIF | Synapse, terms: _Terms, k: int, carried: int) -> int:
    """The bound at one bit more, for HALF_UP and FLOOR from a half-even rounding; 0 where TOWARD_ZERO forbids that.

    Sums that saturate need not be exact; the current with the constant in it must be.
    """
    roundings = {part.rounding} if k else set()
    own = isinstance(part.decay, MulShift) and part.rounding_site is RoundingSite.DECAY
    if own and isinstance(part.decay, MulShift):
        roundings.add(part.decay.rounding or part.rounding)
    if Rounding.TOWARD_ZERO in roundings:
        return 0
    if roundings <= {Rounding.HALF_EVEN}:
        return carried
    decay = 2 * int(terms.decay.max()) + ((1 << part.decay.n) if own and isinstance(part.decay, MulShift) else 0)
    constant = 1 if part.rounding is Rounding.HALF_UP else 1 << k
    exact = max(decay, 2 * terms.current + constant)
    return _relieved(part, max(exact, 2 * int(terms.sums.max()) + constant), exact, terms.taken, k + 1)

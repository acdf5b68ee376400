"""Inputs that bring chosen neurons exactly to their thresholds, step after step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qleaky.fixed import Rounding, round_shift_array
from qleaky.integer import LIF, IntegerNetwork
from qleaky.integer.lif import Synapse
from qleaky.reference.arrays import Charge, lif_step
from qleaky.reference.stepper import Stepper
from qleaky.verification.vectors.candidates import Batch, Inputs
from qleaky.verification.vectors.influence import influence

Ints = NDArray[np.int64]
WEIGHTS, PAIRED, MOST_STEPS = 128, 96, 64
FAR = 1 << 40
AIMS = ("threshold", "under", "over")


class ThresholdSearch:
    """Drives one neuron after the other of a layer whose current is linear in the inputs.

    At every step the current is found that brings the neuron's sum to theta from the membrane it has, or to a code far from
    theta and within the least of another ("under", "over", where half-up or floor round), and inputs whose
    weighted sum is that current: by the largest weights first, then what is left by smaller ones. Static inputs are found for
    the first step, where no input changes with time; else they rest, as all do after :data:`MOST_STEPS` steps.
    """

    def __init__(self, network: IntegerNetwork, layer: LIF, inputs: Inputs, event: str = "threshold") -> None:
        self._network, self._layer, self._inputs, self._event = network, layer, inputs, event
        self._stepper = Stepper(network)
        moving = tuple(source for source in inputs.sources if source.time == "sequence")
        self._driven = moving or inputs.sources
        self.steps = min(network.num_steps, MOST_STEPS) if moving else 1
        ranges = [(s.format.lowest - s.format.zero_point, s.format.highest - s.format.zero_point, s) for s in self._driven]
        self._low, self._high = (
            np.concatenate([np.full(int(np.prod(r[2].shape, dtype=np.int64)), r[i]) for r in ranges]) for i in (0, 1)
        )
        self._total = _Total()
        shape = network.signals[layer.name].shape
        self._theta = np.broadcast_to(layer.theta.astype(np.int64), shape).reshape(-1)
        self._quiet = (self._theta >> 1) | 1  # odd, so that half-even would round an exact half below it down
        self._at_rest = self._current(inputs.filled(1, "zero_point"), 0)

    @property
    def possible(self) -> bool:
        """Whether there is such a sum: with no extra bits nothing is rounded."""
        layer = self._layer
        rounds = layer.extra_bits(self._network.signals[layer.input]) and layer.rounding in (Rounding.HALF_UP, Rounding.FLOOR)
        return self._event == "threshold" or bool(rounds)

    def batch(self, missing: NDArray[np.bool_], count: int) -> Batch:
        """``count`` samples; at each step one of the ``missing`` neurons is brought to theta, another one than before."""
        batch, tried = self._inputs.filled(count, "zero_point"), np.zeros(len(missing), np.int64)
        mem = np.zeros((count, *self._network.signals[self._layer.name].shape), np.int64)
        left = np.broadcast_to(missing, (count, len(missing))).copy()
        for t in range(self.steps):
            needed, possible = self._needed(mem)
            neurons = _one_each(possible & left, tried)
            needed = needed[np.arange(count), neurons]
            self._write(batch, t, greedy(self._coefficients(neurons), needed, self._low, self._high))
            mem, _ = self._step(mem, self._current(batch, t))
            left &= ~self._there(self._total.charge.total.reshape(count, -1), self._total.charge.extra)
        return batch

    def _coefficients(self, neurons: NDArray[np.intp]) -> Ints:
        shape = self._network.signals[self._layer.input].shape
        wanted = np.zeros((len(neurons), int(np.prod(shape, dtype=np.int64))), np.int64)
        wanted[np.arange(len(neurons)), neurons] = 1
        found = influence(self._network, self._layer.input, wanted.reshape(-1, *shape))
        return np.concatenate([found[source.name].reshape(len(neurons), -1) for source in self._driven], axis=1)

    def _needed(self, mem: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Per neuron (N, neurons) the weighted sum of inputs that brings it to theta, and whether that exists."""
        layer, count = self._layer, len(mem)
        self._step(mem, np.zeros_like(mem))
        total, extra = self._total.charge.total.reshape(count, -1), self._total.charge.extra
        aim = self._aim(extra)
        signal = self._network.signals[layer.input]
        finer = extra - layer.membrane_shift(signal)
        current = (aim - total + ((1 << finer) >> 1)) >> finer
        lows, highs = (ends.reshape(-1) for ends in signal.full())
        possible: NDArray[np.bool_] = self._there(total + (current << finer), extra) & (current >= lows) & (current <= highs)
        return current - self._at_rest.reshape(-1), possible

    def _aim(self, extra: int) -> Ints:
        """The sum to have: in the middle of what rounds to theta, or last before the edge of a code in the middle."""
        if self._event == "threshold":
            return (self._theta << extra) + _middle(self._theta, extra, self._layer.rounding)
        first = (self._quiet << extra) - (0 if self._layer.rounding is Rounding.FLOOR else (1 << extra) >> 1)
        return first if self._event == "over" else first - 1

    def _there(self, total: Ints, extra: int) -> NDArray[np.bool_]:
        """Whether a sum is what is wanted."""
        if self._event == "threshold":
            return np.asarray(round_shift_array(total, extra, self._layer.rounding) == self._theta)
        return np.asarray(total == self._aim(extra))

    def _step(self, mem: Ints, current: Ints) -> tuple[Ints, Ints]:
        shift = self._layer.membrane_shift(self._network.signals[self._layer.input])
        return lif_step(self._layer, mem, current, shift, self._total)

    def _current(self, batch: Batch, t: int) -> Ints:
        """What the layer receives at step ``t``, from a batch kept sample first."""
        codes = {s.name: batch[s.name][:, t if s.time == "sequence" else 0] for s in self._inputs.sources}
        integers = self._stepper.integers(codes)
        return self._stepper.current(self._layer, integers)

    def _write(self, batch: Batch, t: int, integers: Ints) -> None:
        start = 0
        for source in self._driven:
            size = int(np.prod(source.shape, dtype=np.int64))
            values = integers[:, start : start + size].reshape(-1, *source.shape) + source.format.zero_point
            batch[source.name][:, t] = values
            start += size


class _Total:
    """Keeps the last sum."""

    charge: Charge

    def charged(self, layer: str, part: LIF | Synapse, charge: Charge) -> None:
        """Keep it."""
        self.charge = charge


def _one_each(possible: NDArray[np.bool_], tried: Ints) -> NDArray[np.intp]:
    """For every sample (first axis) another neuron: of those that are possible the one ``tried`` least, which is counted."""
    chosen = np.empty(len(possible), np.intp)
    for sample, row in enumerate(possible):
        chosen[sample] = np.argmin(np.where(row, tried, tried + FAR))
        tried[chosen[sample]] += 1
    return chosen


def greedy(coefficients: Ints, needed: Ints, low: Ints, high: Ints) -> Ints:
    """Integers x (N, I) in [low, high] with sum(coefficients * x) = needed, or near it where such are not found."""
    order = np.argsort(-np.abs(coefficients), axis=1, kind="stable")
    used = int((coefficients != 0).sum(axis=1).max(initial=0))
    columns = np.arange(used) if used <= WEIGHTS else np.arange(WEIGHTS) * (used - 1) // (WEIGHTS - 1)
    rows, left, found = np.arange(len(needed)), needed.copy(), np.zeros_like(coefficients)
    for column in columns:
        place = order[:, column]
        g = coefficients[rows, place]
        quotient = np.abs(left) // np.maximum(np.abs(g), 1) * np.sign(left) * np.sign(g)
        x = np.clip(quotient, low[place], high[place])
        found[rows, place] = x
        left -= g * x
    for row in np.flatnonzero(left):
        _mend(found[row], coefficients[row], int(left[row]), low, high, order[row, columns[-PAIRED:]])
    return found


def _mend(x: Ints, g: Ints, left: int, low: Ints, high: Ints, places: NDArray[np.intp]) -> None:
    """Add or take one at two of the places so that the sum grows by ``left``, where that can be done."""
    up, down = places[x[places] < high[places]], places[x[places] > low[places]]
    changes = np.concatenate([g[up], -g[down]])
    where, by = np.concatenate([up, down]), np.repeat([1, -1], (len(up), len(down)))
    hits = np.argwhere((changes[:, None] + changes == left) & (where[:, None] != where))
    for each in hits[:1].ravel():
        x[where[each]] += by[each]


def _middle(theta: Ints, extra: int, rounding: Rounding) -> Ints:
    """From theta * 2**extra to the middle of what is rounded to theta."""
    half = (1 << extra) >> 1
    match rounding:
        case Rounding.FLOOR:
            return np.full_like(theta, half)
        case Rounding.TOWARD_ZERO:
            return half * np.sign(theta)
        case _:
            return np.zeros_like(theta)

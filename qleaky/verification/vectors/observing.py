"""What the reference does on inputs, neuron by neuron: what happened that a wrong network may get wrong, how far sums went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.dynamics import Compare, MulShift, RoundingSite, resets_early, resets_late
from qleaky.fixed import Overflow, Rounding, round_shift_array
from qleaky.integer import LIF, IntegerNetwork
from qleaky.integer.graph import samples as pick
from qleaky.integer.lif import Synapse
from qleaky.reference.arrays import Charge
from qleaky.reference.stepper import Stepper, Values
from qleaky.verification.vectors.moments import MOMENTS, Classes, Exercise, Moments
from qleaky.verification.vectors.places import places

EVENTS = ("fired", "reset", "chain", "threshold", "above", "low", "high", "tie", "other_tie", "under", "other_under", "over")
CHAIN = 4
PIECE_NUMBERS = 1 << 22
FAR = np.iinfo(np.int32).max
Bools = NDArray[np.bool_]
Bound = tuple[str, str]


@dataclass(frozen=True)
class Observation:
    """Of every sample (first axis) and neuron (second axis): what happened in some step.

    Attributes:
        events: by name, bool (samples, neurons). "fired": it spiked; "reset": a spike's reset acted; "chain": it spiked in at
            least :data:`CHAIN` consecutive steps (in all, where the network runs fewer); "threshold": what is compared with
            the threshold equalled it (or a multiple at which one spike more begins); "above": it was one code from there, on
            the other side of the comparison; "low", "high": the rounded sum lay below, above the state's format, so that it
            saturated or wrapped; "tie": an exact half, which half-up and half-even round to different codes; "other_tie":
            one that they round alike, but not where a graph carries membranes moved by an odd number; "under", "other_under":
            the least more in the sum would have rounded to another code than the even, or odd, one; "over": the least less
            would have. These five inside the format, where saturation hides nothing.
        goals: what else is worth having, each by name (samples, any number): see :mod:`qleaky.verification.vectors.moments`.
        pushed: the last layer's rounded sums, added up over the steps, int64 (samples, neurons of that layer).
        gaps: by how much the largest number of a readout that chooses a class led the next, int64 (samples, readouts).
        closest: the least distance of the compared membrane from the threshold, int32.
        reached: by layer and bound ("accumulate", "decay", "step", also behind "synapse."), the largest integer, (samples,).
    """

    events: dict[str, Bools]
    closest: NDArray[np.int32]
    reached: dict[Bound, NDArray[Any]]
    goals: dict[str, Bools]
    gaps: NDArray[np.int64]
    pushed: NDArray[np.int64]

    def joined(self, other: Observation) -> Observation:
        """The samples of both."""
        return Observation(
            {name: np.concatenate([found, other.events[name]]) for name, found in self.events.items()},
            np.concatenate([self.closest, other.closest]),
            {bound: np.concatenate([found, other.reached[bound]]) for bound, found in self.reached.items()},
            {name: np.concatenate([found, other.goals[name]]) for name, found in self.goals.items()},
            np.concatenate([self.gaps, other.gaps]),
            np.concatenate([self.pushed, other.pushed]),
        )


def bounds(network: IntegerNetwork) -> dict[Bound, int]:
    """Every bound of the proof that a run can approach, by layer and name."""
    found: dict[Bound, int] = {}
    for layer in network.proof.layers:
        if layer.accumulate:
            found[layer.layer, "accumulate"] = layer.accumulate
        else:
            for prefix, part in (("", layer), ("synapse.", layer.synapse)):
                if part is not None:
                    found |= {(layer.layer, f"{prefix}decay"): part.decay, (layer.layer, f"{prefix}step"): part.step}
    return found


class Observer:
    """The reference of a network, watched.

    Raises:
        LoweringError: sums that 64-bit integers cannot hold.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self._stepper = Stepper(network, self)
        self.places = {(place.layer, place.kind): place for place in places(network)}
        self.last = self.places[network.lif_layers[-1].name, "mem"]
        self.neurons = max(place.span.stop for place in self.places.values())
        self._thetas = {
            lif.name: np.broadcast_to(lif.theta.astype(np.int64), network.signals[lif.name].shape).reshape(-1)
            for lif in network.lif_layers
        }
        self._bounds = tuple(bounds(network))
        self._run: _Run
        self._last: bool

    def observe(self, codes: Mapping[str, NDArray[Any]]) -> Observation:
        """Run samples of encoded inputs (T, B, ...), or (B, ...)."""
        found: Observation | None = None
        for _, part in self.pieces(codes):
            found = part if found is None else found.joined(part)
        assert found is not None
        return found

    def pieces(self, codes: Mapping[str, NDArray[Any]]) -> Iterator[tuple[int, Observation]]:
        """As :meth:`observe`, in pieces that fit in memory, each with the number of its first sample."""
        first = self.network.inputs[0]
        samples = codes[first.name].shape[1 if first.time == "sequence" else 0]
        numbers = sum(int(np.prod(signal.shape, dtype=np.int64)) for signal in self.network.signals.values())
        size = max(1, PIECE_NUMBERS // numbers)
        for start in range(0, samples, size):
            picked = np.arange(start, min(start + size, samples))
            yield start, self._piece(pick(self.network.inputs, dict(codes), picked))

    def _piece(self, codes: dict[str, NDArray[Any]]) -> Observation:
        network, stepper = self.network, self._stepper
        static = {source.name for source in network.inputs if source.time == "static"}
        first = network.inputs[0].name
        batch = codes[first].shape[0 if first in static else 1]
        self._run = _Run(batch, self.neurons, self._bounds, math.prod(self.last.shape))
        moments, weights, classes = Moments(network, self.places, batch), Exercise(network, batch), Classes(network, batch)
        self._last = False
        still = stepper.still(stepper.integers({name: array for name, array in codes.items() if name in static}))
        self._accumulated(still, moving=False)
        states = stepper.start(batch)
        for t in range(network.num_steps):
            self._last = t == network.num_steps - 1
            moving = stepper.integers({name: array[t] for name, array in codes.items() if name not in static})
            states, values = stepper.step(states, still | moving)
            self._accumulated(values, moving=True)
            moments.step(t, self._run.now)
            weights.step(values, self._run.now, self.places)
            classes.step(values, states.membranes)
        goals = {"moments": moments.found, "weights": weights.found(), "classes": classes.gaps() == 0}
        return self._run.observation(min(CHAIN, network.num_steps), goals, classes.gaps())

    def charged(self, layer: str, part: LIF | Synapse, charge: Charge) -> None:
        """A step of membranes or synaptic currents, from the reference."""
        run, batch = self._run, len(charge.total)
        span = self.places[layer, "mem" if isinstance(part, LIF) else "syn"].span
        rounded, kept = (array.reshape(batch, -1) for array in (charge.rounded, charge.kept))
        run.happened("low", span, rounded < part.state.lowest)
        run.happened("high", span, rounded > part.state.highest)
        if charge.extra:
            total = charge.total.reshape(batch, -1)
            inside = (rounded > part.state.lowest) & (rounded < part.state.highest) | (part.overflow is Overflow.WRAP)
            half, low = 1 << (charge.extra - 1), total & ((2 << charge.extra) - 1)
            run.happened("tie", span, inside & (low == half))
            run.happened("other_tie", span, inside & (low == half + (1 << charge.extra)))
            more, less = (round_shift_array(total + by, charge.extra, part.rounding) != rounded for by in (1, -1))
            run.happened("under", span, inside & more & (rounded % 2 == 0))
            run.happened("other_under", span, inside & more & (rounded % 2 == 1))
            run.happened("over", span, inside & less)
        if isinstance(part, LIF):
            self._compared(part, kept)
            if layer == self.last.layer:
                run.pushed += rounded
        prefix = "" if isinstance(part, LIF) else "synapse."
        run.reach((layer, f"{prefix}step"), charge.total, _half(charge.extra, part.rounding))
        run.reach((layer, f"{prefix}decay"), charge.decayed, 0)
        if isinstance(part.decay, MulShift) and part.rounding_site is RoundingSite.DECAY:
            run.reach((layer, f"{prefix}decay"), charge.product, _half(part.decay.n, part.decay.rounding or part.rounding))

    def _compared(self, layer: LIF, kept: NDArray[Any]) -> None:
        """V, of which it depends whether a neuron fires."""
        run, span = self._run, self.places[layer.name, "mem"].span
        theta = self._thetas[layer.name]
        distance = np.minimum(_distance(layer, kept, theta), FAR)
        run.happened("threshold", span, distance == 0)
        strict = layer.compare is Compare.STRICT
        run.happened("above", span, _distance(layer, kept - 1 if strict else kept + 1, theta) == 0)
        np.minimum(run.closest[:, span], distance, out=run.closest[:, span], casting="unsafe")
        fired = kept > theta if layer.compare is Compare.STRICT else kept >= theta
        run.fired(span, fired)
        late = resets_late(layer.reset_mechanism, layer.reset_timing)
        if late or (resets_early(layer.reset_mechanism, layer.reset_timing) and not self._last):
            run.events["reset"][:, span] |= fired

    def _accumulated(self, values: Values, moving: bool) -> None:
        for layer, bound in self._bounds:
            if bound == "accumulate" and layer in values and (layer in self.network.moving) is moving:
                self._run.reach((layer, bound), values[layer], 0)


class _Run:
    """What one piece of samples has met so far."""

    def __init__(self, batch: int, neurons: int, bounds: tuple[Bound, ...], last: int) -> None:
        shape = (batch, neurons)
        self.events = {name: np.zeros(shape, np.bool_) for name in EVENTS}
        self.now = {name: np.zeros(shape, np.bool_) for name in MOMENTS}
        self.closest = np.full(shape, FAR, np.int32)
        self.chain, self.longest = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        self.pushed = np.zeros((batch, last), np.int64)
        self.reached = {bound: np.zeros(batch, np.int64) for bound in bounds}

    def reach(self, bound: Bound, values: NDArray[Any], half: int) -> None:
        """Take the largest |value|, and |value + half| where a rounding adds that before it shifts."""
        flat = values.reshape(len(values), -1)
        largest = np.maximum(flat.max(axis=1) + half, -flat.min(axis=1))
        np.maximum(self.reached[bound], largest, out=self.reached[bound])

    def happened(self, event: str, span: slice, where: Bools) -> None:
        """In this step, and so in some step."""
        self.now[event][:, span] = where
        self.events[event][:, span] |= where

    def fired(self, span: slice, fired: Bools) -> None:
        """Count the steps on end in which each neuron fires."""
        current, longest = self.chain[:, span], self.longest[:, span]
        current += 1
        current *= fired
        np.maximum(longest, current, out=longest)

    def observation(self, chain: int, goals: dict[str, Bools], gaps: NDArray[np.int64]) -> Observation:
        self.events["fired"] = self.longest > 0
        self.events["chain"] = self.longest >= chain
        return Observation(self.events, self.closest, self.reached, goals, gaps, self.pushed)


def _distance(layer: LIF, kept: NDArray[Any], theta: NDArray[np.int64]) -> NDArray[Any]:
    """|V - theta|, or for several spikes a step from the nearest n*theta at which their number changes."""
    nearest = theta if layer.max_spikes == 1 else np.clip((kept + theta // 2) // theta, 1, layer.max_spikes) * theta
    distance: NDArray[Any] = np.abs(kept - nearest)
    return distance


def _half(bits: int, rounding: Rounding) -> int:
    return (1 << bits) // 2 if rounding in (Rounding.HALF_UP, Rounding.HALF_EVEN) else 0

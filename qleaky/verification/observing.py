"""What the reference does on inputs, neuron by neuron: what happened that a wrong network may get wrong, how far sums went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.dynamics import MulShift, RoundingSite
from qleaky.fixed import Rounding
from qleaky.integer import LIF, IntegerNetwork
from qleaky.integer.graph import samples as pick
from qleaky.integer.lif import Synapse
from qleaky.reference.arrays import Charge
from qleaky.reference.stepper import Stepper, Values

EVENTS = ("fired", "chain", "threshold", "low", "high", "tie")
CHAIN = 4
PIECE_NUMBERS = 1 << 22
FAR = np.iinfo(np.int32).max
Bools = NDArray[np.bool_]
Bound = tuple[str, str]


@dataclass(frozen=True)
class Place:
    """Where the neurons of a layer, or its synaptic currents ("syn"), stand in the flat axis of an observation."""

    layer: str
    kind: str
    shape: tuple[int, ...]
    span: slice


@dataclass(frozen=True)
class Observation:
    """Of every sample (first axis) and neuron (second axis): what happened in some step.

    Attributes:
        events: by name, bool (samples, neurons). "fired": it spiked; "chain": in at least :data:`CHAIN` consecutive steps (in
            all, where the network runs fewer); "threshold": what is compared with the threshold equalled it (or a multiple
            at which one spike more begins); "low", "high": the rounded sum lay below, above the state's format, so that it
            saturated or wrapped; "tie": the rounding was decided by an exact half.
        closest: the least distance of the compared membrane from the threshold, int32.
        reached: by layer and bound ("accumulate", "decay", "step", also behind "synapse."), the largest integer, (samples,).
    """

    events: dict[str, Bools]
    closest: NDArray[np.int32]
    reached: dict[Bound, NDArray[Any]]

    def joined(self, other: Observation) -> Observation:
        """The samples of both."""
        return Observation(
            {name: np.concatenate([found, other.events[name]]) for name, found in self.events.items()},
            np.concatenate([self.closest, other.closest]),
            {bound: np.concatenate([found, other.reached[bound]]) for bound, found in self.reached.items()},
        )


def places(network: IntegerNetwork) -> tuple[Place, ...]:
    """Membranes of all layers in order, then synaptic currents."""
    found, start = [], 0
    for kind, lifs in (("mem", network.lif_layers), ("syn", [lif for lif in network.lif_layers if lif.synapse is not None])):
        for lif in lifs:
            shape = network.signals[lif.name].shape
            size = int(np.prod(shape, dtype=np.int64))
            found.append(Place(lif.name, kind, shape, slice(start, start + size)))
            start += size
    return tuple(found)


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
        self.places = {(place.layer, place.kind): place for place in places(network)}
        self.neurons = max(place.span.stop for place in self.places.values())
        self._stepper = Stepper(network, self)
        self._bounds = tuple(bounds(network))
        self._run: _Run

    def observe(self, codes: Mapping[str, NDArray[Any]]) -> Observation:
        """Run samples of encoded inputs (T, B, ...), or (B, ...), in pieces that fit in memory."""
        found: Observation | None = None
        for piece in self._pieces(dict(codes)):
            part = self._piece(piece)
            found = part if found is None else found.joined(part)
        assert found is not None
        return found

    def _pieces(self, codes: dict[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[Any]]]:
        first = self.network.inputs[0]
        samples = codes[first.name].shape[1 if first.time == "sequence" else 0]
        numbers = sum(int(np.prod(signal.shape, dtype=np.int64)) for signal in self.network.signals.values())
        size = max(1, PIECE_NUMBERS // numbers)
        for start in range(0, samples, size):
            yield pick(self.network.inputs, codes, np.arange(start, min(start + size, samples)))

    def _piece(self, codes: dict[str, NDArray[Any]]) -> Observation:
        network, stepper = self.network, self._stepper
        static = {source.name for source in network.inputs if source.time == "static"}
        first = network.inputs[0].name
        batch = codes[first].shape[0 if first in static else 1]
        self._run = _Run(batch, self.neurons, self._bounds)
        still = stepper.still(stepper.integers({name: array for name, array in codes.items() if name in static}))
        self._accumulated(still, moving=False)
        states = stepper.start(batch)
        for t in range(network.num_steps):
            moving = stepper.integers({name: array[t] for name, array in codes.items() if name not in static})
            states, values = stepper.step(states, still | moving)
            self._emitted(values)
            self._accumulated(values, moving=True)
        return self._run.observation(min(CHAIN, network.num_steps))

    def charged(self, layer: str, part: LIF | Synapse, charge: Charge) -> None:
        """A step of membranes or synaptic currents, from the reference."""
        run, batch = self._run, len(charge.total)
        span = self.places[layer, "mem" if isinstance(part, LIF) else "syn"].span
        rounded, kept = (array.reshape(batch, -1) for array in (charge.rounded, charge.kept))
        run.events["low"][:, span] |= rounded < part.state.lowest
        run.events["high"][:, span] |= rounded > part.state.highest
        if charge.extra:
            total = charge.total.reshape(batch, -1)
            run.events["tie"][:, span] |= (total & ((1 << charge.extra) - 1)) == 1 << (charge.extra - 1)
        if isinstance(part, LIF):
            distance = _distance(part, kept, self.network.signals[layer].shape)
            run.events["threshold"][:, span] |= distance == 0
            np.minimum(run.closest[:, span], np.minimum(distance, FAR), out=run.closest[:, span], casting="unsafe")
        prefix = "" if isinstance(part, LIF) else "synapse."
        run.reach((layer, f"{prefix}step"), charge.total, _half(charge.extra, part.rounding))
        run.reach((layer, f"{prefix}decay"), charge.decayed, 0)
        if isinstance(part.decay, MulShift) and part.rounding_site is RoundingSite.DECAY:
            run.reach((layer, f"{prefix}decay"), charge.product, _half(part.decay.n, part.decay.rounding or part.rounding))

    def _emitted(self, values: Values) -> None:
        for place in self.places.values():
            if place.kind == "mem":
                fired = values[place.layer].reshape(len(self._run.closest), -1) != 0
                current, longest = self._run.chain[:, place.span], self._run.longest[:, place.span]
                current += 1
                current *= fired
                np.maximum(longest, current, out=longest)

    def _accumulated(self, values: Values, moving: bool) -> None:
        for layer, bound in self._bounds:
            if bound == "accumulate" and layer in values and (layer in self.network.moving) is moving:
                self._run.reach((layer, bound), values[layer], 0)


class _Run:
    """What one piece of samples has met so far."""

    def __init__(self, batch: int, neurons: int, bounds: tuple[Bound, ...]) -> None:
        shape = (batch, neurons)
        self.events = {name: np.zeros(shape, np.bool_) for name in EVENTS}
        self.closest = np.full(shape, FAR, np.int32)
        self.chain, self.longest = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        self.reached = {bound: np.zeros(batch, np.int64) for bound in bounds}

    def reach(self, bound: Bound, values: NDArray[Any], half: int) -> None:
        """Take the largest |value|, and |value + half| where a rounding adds that before it shifts."""
        flat = values.reshape(len(values), -1)
        largest = np.maximum(flat.max(axis=1) + half, -flat.min(axis=1))
        np.maximum(self.reached[bound], largest, out=self.reached[bound])

    def observation(self, chain: int) -> Observation:
        self.events["fired"] = self.longest > 0
        self.events["chain"] = self.longest >= chain
        return Observation(self.events, self.closest, self.reached)


def _distance(layer: LIF, kept: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """|V - theta|, or for several spikes a step from the nearest n*theta at which their number changes."""
    theta = np.broadcast_to(layer.theta.astype(np.int64), shape).reshape(-1)
    if layer.max_spikes == 1:
        return np.abs(kept - theta)
    nearest = np.clip((kept + theta // 2) // theta, 1, layer.max_spikes)
    distance: NDArray[Any] = np.abs(kept - nearest * theta)
    return distance


def _half(bits: int, rounding: Rounding) -> int:
    return (1 << bits) // 2 if rounding in (Rounding.HALF_UP, Rounding.HALF_EVEN) else 0

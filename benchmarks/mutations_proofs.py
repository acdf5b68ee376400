"""Whether a mutant computes the same as its original for all inputs: proved for one neuron at a time, by intervals or by z3.

Every value that both graphs name (a membrane, spikes) and that a fault could change must come out equal, given that all
others are. In such a step the state is any that the proof of the contract allows (:mod:`qleaky.integer.reach`), the current
any that its weights allow. By induction over steps and layers the graphs then agree everywhere. Where that is too coarse, the
neuron of an unrolled graph runs from zero through all of its steps, with any currents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mutations_terms as terms
import numpy as np
import onnx
import z3
from mutations_dirty import Dirty
from mutations_neuron import Contract, Element, Found, Neuron
from mutations_terms import NoProofError

from qleaky import IntegerNetwork
from qleaky.dynamics import Compare
from qleaky.integer.reach import Interval, reach
from qleaky.verification.mutants.reading import Reading

TIMEOUT_MS = 5_000


@dataclass(frozen=True)
class Proof:
    """How a mutant was proved equal: "bounds" (intervals alone) or "z3"; and of what."""

    by: str
    of: str


class Prover:
    """Proofs about mutants of one artefact."""

    def __init__(self, network: IntegerNetwork, data: bytes) -> None:
        self.network, self.original = network, Reading(onnx.load_model_from_string(data))
        self.contract = Contract(network, reached(network))
        self._answers: dict[Any, bool] = {}

    def proof(self, data: bytes) -> Proof | None:
        """A proof that a mutant equals its original on all inputs; None where none was found, which says nothing."""
        mutant = Reading(onnx.load_model_from_string(data))
        for steps in (False, True):
            try:
                return self._proved(mutant, from_zero=steps)
            except (NoProofError, RecursionError):
                continue
        return None

    def _proved(self, mutant: Reading, *, from_zero: bool) -> Proof:
        dirty = Dirty(self.original, mutant, self._silent)
        solved, places = False, []
        for value in dirty.obligations:
            for element in self._elements(value):
                pair = [self._neuron(reading, value, element, from_zero).term() for reading in (self.original, mutant)]
                places.append(value)
                if not all(terms.same(a.found, b.found) for a, b in [pair]):
                    self._solve(*pair)
                    solved = True
        names = list(dict.fromkeys(places))
        return Proof("z3" if solved else "bounds", ", ".join(names[:2]) + (f" and {len(names) - 2} more" if names[2:] else ""))

    def _neuron(self, reading: Reading, value: str, element: Element, from_zero: bool) -> Neuron:
        return Neuron(self.contract, reading, self.original, value, element, from_zero=from_zero)

    def _silent(self, layer: str, channels: int, touched: Any) -> bool:
        """Whether these channels of a layer never fire, since no membrane that they reach is above the threshold."""
        lif, shape = next(lif for lif in self.network.lif_layers if lif.name == layer), self.network.signals[layer].shape
        if channels not in (shape[0], int(np.prod(shape))):
            return False
        high = np.broadcast_to(self.contract.states[layer, "mem"].high, shape)
        fires = high >= lif.theta if lif.compare is Compare.INCLUSIVE else high > lif.theta
        return not fires.reshape(channels, -1)[touched].any()

    def _elements(self, value: str) -> Iterator[Element]:
        """The neurons of a layer."""
        site = self.original.by_name.get(value)
        layer = "" if site is None else site.layer
        if layer not in self.network.signals:
            raise NoProofError(f"{value} is of no layer")
        yield from np.ndindex(self.network.signals[layer].shape)

    def _solve(self, a: Found, b: Found) -> None:
        """That they cannot differ.

        Raises:
            NoProofError: they may.
        """
        facts = [*a.facts, *b.facts, terms.differ(a.found, b.found)]
        key = tuple(sorted({fact.sexpr() for fact in facts}))
        if key not in self._answers:
            solver = z3.Solver()
            solver.set("timeout", TIMEOUT_MS)
            solver.add(*facts)
            self._answers[key] = solver.check() == z3.unsat
        if not self._answers[key]:
            raise NoProofError("they may differ")


def reached(network: IntegerNetwork) -> dict[tuple[str, str], Interval]:
    """The states of every layer, of every neuron where they differ, as the proof of the contract finds them."""
    found: dict[tuple[str, str], Interval] = {}
    for lif in network.lif_layers:
        x = network.signals[lif.input]
        current = Interval(x.lows, x.highs)
        if lif.synapse is not None:
            state = reach(lif.synapse, current, lif.current_shift(x))
            found[lif.name, "syn"] = current = state.charged
        mem = reach(lif, current, lif.membrane_shift(x))
        low, high = np.minimum(mem.state.low, mem.charged.low), np.maximum(mem.state.high, mem.charged.high)
        found[lif.name, "mem"] = Interval(low, high)
    return found

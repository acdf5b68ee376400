"""A network prepared for NumPy: one time step at a time, and whole runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qleaky.errors import InputError, LoweringError
from qleaky.integer.layers import LIF, Delay, Layer
from qleaky.integer.network import IntegerNetwork
from qleaky.reference.array_layers import Int64, Map, prepare
from qleaky.reference.arrays import Watch, lif_step, synapse_step
from qleaky.reference.recording import Recording, read_out

Values = dict[str, Int64]


@dataclass(frozen=True)
class States:
    """What layers keep between steps, each (B, ...): membranes U, synaptic currents J, and what delays emit next."""

    membranes: Values
    synapses: Values
    delayed: Values


class Stepper:
    """The reference of a network, prepared once: ``states, values = stepper.step(states, inputs)``.

    ``watch`` sees every sum before it is brought into its format.

    Raises:
        InputError: the network has no integers.
        LoweringError: its sums exceed 64-bit integers, or the proof has another reason against it.
    """

    def __init__(self, network: IntegerNetwork, watch: Watch | None = None) -> None:
        if not isinstance(network, IntegerNetwork):
            raise InputError(f"qleaky.run computes integers; a {type(network).__name__} has none. Its reference is torch.")
        if not network.proof.artefact_exact:
            raise LoweringError("The reference runs in 64-bit integers: " + " ".join(network.proof.artefact_reasons))
        self.network = network
        self._watch = watch
        sums = {bounds.layer: bounds.accumulate for bounds in network.proof.layers}
        self._maps: dict[str, Map] = {
            layer.name: prepare(layer, [network.signals[name] for name in layer.inputs], sums.get(layer.name, 0))
            for layer in network.layers
            if not isinstance(layer, (LIF, Delay))
        }

    def start(self, batch: int) -> States:
        """States of zero for ``batch`` samples."""
        signals, lifs = self.network.signals, self.network.lif_layers

        def zeros(name: str) -> Int64:
            return np.zeros((batch, *signals[name].shape), np.int64)

        return States(
            {lif.name: zeros(lif.name) for lif in lifs},
            {lif.name: zeros(lif.name) for lif in lifs if lif.synapse is not None},
            {layer.name: zeros(layer.name) for layer in self.network.layers if isinstance(layer, Delay)},
        )

    def integers(self, codes: Mapping[str, Any]) -> Values:
        """Codes -> the integers c - zero_point that the first layers see."""
        offsets = {source.name: source.format.zero_point for source in self.network.inputs}
        return {name: np.asarray(values).astype(np.int64) - offsets[name] for name, values in codes.items()}

    def still(self, inputs: Values) -> Values:
        """Everything that is the same in all steps, from the integers (B, ...) of the static inputs."""
        values = {source.name: inputs[source.name] for source in self.network.inputs if source.time == "static"}
        for layer in self.network.layers:
            if layer.name not in self.network.moving:
                values[layer.name] = self._map(layer, values)
        return values

    def step(self, states: States, inputs: Values) -> tuple[States, Values]:
        """One time step: (states before, integers (B, ...) of the inputs) -> (states after, what every layer emits).

        ``inputs`` may hold what :meth:`still` computed; it is not computed again.
        """
        values, membranes, synapses = dict(inputs), dict(states.membranes), dict(states.synapses)
        for layer in self.network.layers:
            if isinstance(layer, Delay):
                values[layer.name] = states.delayed[layer.name]
            elif isinstance(layer, LIF):
                values[layer.name] = self._neurons(layer, membranes, synapses, values[layer.input])
            elif layer.name not in values:
                values[layer.name] = self._map(layer, values)
        delayed = {layer.name: values[layer.input] for layer in self.network.layers if isinstance(layer, Delay)}
        return States(membranes, synapses, delayed), values

    def current(self, layer: LIF, inputs: Values) -> Int64:
        """What ``layer`` receives of the integers (B, ...) of the inputs, where no layer with a state lies between."""
        values, wanted = dict(inputs), {layer.input}
        for other in reversed(self.network.layers):
            wanted |= set(other.inputs) if other.name in wanted else set()
        for other in self.network.layers:
            if other.name in wanted:
                values[other.name] = self._map(other, values)
        return values[layer.input]

    def _map(self, layer: Layer, values: Values) -> Int64:
        return self._maps[layer.name](*(values[name] for name in layer.inputs))

    def _neurons(self, layer: LIF, membranes: Values, synapses: Values, current: Int64) -> Int64:
        x = self.network.signals[layer.input]
        if layer.synapse is not None:
            charge = synapse_step(layer.synapse, synapses[layer.name], current, layer.current_shift(x))
            current = synapses[layer.name] = charge.kept
            if self._watch is not None:
                self._watch.charged(layer.name, layer.synapse, charge)
        shift = layer.membrane_shift(x)
        membranes[layer.name], spikes = lif_step(layer, membranes[layer.name], current, shift, self._watch)
        return spikes if layer.graded is None else spikes * layer.graded.astype(np.int64)


def run(network: IntegerNetwork, inputs: Any) -> Recording:
    """Run the reference on a batch and record every spike and every state.

    Args:
        network: the contract.
        inputs: (T, B, ...), or (B, ...) for a static input; codes, or floats on the input's grid. A network with several
            inputs takes a dict by name, or a tuple in their order.

    Raises:
        InputError: inputs that the network cannot take (:meth:`IntegerNetwork.encode` says which), or more than memory holds.
        LoweringError: sums that 64-bit integers cannot hold.
    """
    stepper = Stepper(network)
    codes = network.encode_all(inputs)
    static = {source.name: source.time == "static" for source in network.inputs}
    batch = next(array.shape[0 if static[name] else 1] for name, array in codes.items())
    still = stepper.still(stepper.integers({name: array for name, array in codes.items() if static[name]}))
    moving = {name: array for name, array in codes.items() if not static[name]}
    states = stepper.start(batch)
    spikes, membranes, synapses = (_records(network.num_steps, kind) for kind in (states.membranes,) * 2 + (states.synapses,))
    for t in range(network.num_steps):
        states, values = stepper.step(states, still | stepper.integers({name: array[t] for name, array in moving.items()}))
        for record, found in ((spikes, values), (membranes, states.membranes), (synapses, states.synapses)):
            for name, array in record.items():
                array[t] = found[name]
    return Recording(spikes, membranes, read_out(network, spikes, membranes), synapses)


def _records(num_steps: int, like: Values) -> Values:
    try:
        return {name: np.empty((num_steps, *state.shape), np.int64) for name, state in like.items()}
    except MemoryError as error:
        numbers = num_steps * sum(state.size for state in like.values())
        raise InputError(
            f"{num_steps:,} steps record {numbers:,} numbers, more than there is memory for; pass fewer samples, or take "
            f"single steps with qleaky.reference.Stepper."
        ) from error

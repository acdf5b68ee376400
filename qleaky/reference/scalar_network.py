"""A whole network on one sample in scalar Python integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qleaky.integer import LIF, Delay, Input, IntegerNetwork
from qleaky.integer.graph import by_name
from qleaky.reference.scalar import lif_step, synapse_step
from qleaky.reference.scalar_layers import Integers, evaluate, integers


def run_scalar(network: IntegerNetwork, codes: Any) -> dict[str, list[Any]]:
    """A whole network on one sample: every state and every spike of every step, in unbounded integers.

    Args:
        network: the contract.
        codes: (T, ...) input codes, an array or nested lists; of a static input (...) or T times the same. A network with
            several inputs takes a dict by name, or a tuple in their order.

    Returns:
        ``"<layer>.mem"``, ``"<layer>.spk"`` (what the layer emits) and, where there is a synapse, ``"<layer>.syn"``: each a
        list of T nested lists of integers.
    """
    over_time = {i.name: _over_time(i, values, network.num_steps) for i, values in _pairs(network, codes)}
    states, delayed = _zeros(network)
    record: dict[str, list[Any]] = {f"{lif.name}.{kind}": [] for lif in network.lif_layers for kind in ("mem", "spk")}
    record |= {f"{lif.name}.syn": [] for lif in network.lif_layers if lif.synapse is not None}
    for t in range(network.num_steps):
        values = {name: inputs[t] for name, inputs in over_time.items()}
        for layer in network.layers:
            match layer:
                case Delay():
                    values[layer.name] = delayed[layer.name]
                case LIF():
                    values[layer.name] = _neurons(network, layer, states, values[layer.input])
                    record[f"{layer.name}.spk"].append(values[layer.name].tolist())
                case _:
                    signals = [network.signals[name] for name in layer.inputs]
                    sources = [values[name] for name in layer.inputs]
                    values[layer.name] = evaluate(layer, sources, signals, network.signals[layer.name].shape)
        for name, state in states.items():
            record[name].append(state.tolist())
        delayed = {layer.name: values[layer.input] for layer in network.layers if isinstance(layer, Delay)}
    return record


def _pairs(network: IntegerNetwork, codes: Any) -> list[tuple[Input, Any]]:
    named = by_name(network.inputs, codes)
    return [(i, named[i.name]) for i in network.inputs]


def _over_time(source: Input, codes: Any, num_steps: int) -> list[Integers]:
    """The integers c - zero_point of every step."""
    values = integers(integers(codes) - source.format.zero_point)
    still = source.time == "static" and values.ndim == len(source.shape)
    return [integers(values)] * num_steps if still else [integers(step) for step in values]


def _zeros(network: IntegerNetwork) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """States under their names in the record, and what delays emit in the first step."""
    states, delayed = {}, {}
    for layer in network.layers:
        zero = integers(np.zeros(network.signals[layer.name].shape, int))
        if isinstance(layer, LIF):
            states[f"{layer.name}.mem"] = zero
            if layer.synapse is not None:
                states[f"{layer.name}.syn"] = zero
        elif isinstance(layer, Delay):
            delayed[layer.name] = zero
    return states, delayed


def _neurons(network: IntegerNetwork, layer: LIF, states: dict[str, Integers], current: Integers) -> Integers:
    """One step of every neuron: replaces its states, and gives what it emits."""
    x = network.signals[layer.input]
    if layer.synapse is not None:
        name, shift = f"{layer.name}.syn", layer.current_shift(x)
        neurons = _each(x.shape, states[name], current, layer.synapse.multiplier, shift)
        current = states[name] = _shaped([synapse_step(layer.synapse, *neuron) for neuron in neurons], x.shape)
    name, shift = f"{layer.name}.mem", layer.membrane_shift(x)
    neurons = _each(x.shape, states[name], current, layer.theta, layer.multiplier, shift)
    steps = [lif_step(layer, *neuron) for neuron in neurons]
    states[name] = _shaped([mem for mem, _ in steps], x.shape)
    spikes = _shaped([count for _, count in steps], x.shape)
    return spikes if layer.graded is None else _shaped([n * g for n, g in _each(x.shape, spikes, layer.graded)], x.shape)


def _each(shape: tuple[int, ...], *codes: Any) -> Iterator[Any]:
    """The integers of one neuron after the other; 0 for codes that the layer has not."""
    columns = (np.broadcast_to(integers(0 if c is None else c), shape).reshape(-1).tolist() for c in codes)
    return zip(*columns, strict=True)


def _shaped(numbers: list[int], shape: tuple[int, ...]) -> Integers:
    return integers(np.array(numbers, object).reshape(shape))

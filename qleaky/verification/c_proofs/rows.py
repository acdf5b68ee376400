"""The neurons of a layer, those that behave alike taken together: constants, and the intervals of their states and currents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from qleaky.integer.lif import LIF
from qleaky.integer.reach import Interval, reach
from qleaky.integer.signals import IntArray, Signal, as_integers
from qleaky.verification.c_proofs.specification import Constants

Ends = tuple[int, int]


class Row(NamedTuple):
    """Neurons with the same constants. ``neuron`` is the first of them; ``arguments`` are what the C is given for them."""

    neuron: int
    own: Constants
    arguments: dict[str, int]
    mem: Ends
    syn: Ends | None
    current: Ends


def rows(layer: LIF, x: Signal, arguments: Mapping[str, IntArray], *, apart: bool) -> list[Row]:
    """The rows of a layer: all currents of the layer for every neuron, or (``apart``) its own currents for each.

    States are those that such neurons reach from zero, in any number of steps.
    """
    columns = _columns(layer, x.shape) | {f"argument {name}": values for name, values in arguments.items()}
    if apart:
        columns |= {"low": _flat(x.lows, x.shape), "high": _flat(x.highs, x.shape)}
    table = np.stack([values.astype(object) for values in columns.values()], axis=1)
    first = sorted({tuple(row): k for k, row in reversed(list(enumerate(table.tolist())))}.values())
    own = {name: values[first] for name, values in columns.items()}
    low = own.get("low", np.full(len(first), x.low))
    high = own.get("high", np.full(len(first), x.high))
    mem, syn = _intervals(layer, x, own, Interval(as_integers(low), as_integers(high)))
    return [
        Row(
            neuron,
            Constants(*(int(own[name][i]) for name in Constants._fields)),
            {name: int(own[f"argument {name}"][i]) for name in arguments},
            _ends(mem, i),
            None if syn is None else _ends(syn, i),
            (int(low[i]), int(high[i])),
        )
        for i, neuron in enumerate(first)
    ]


def _columns(layer: LIF, shape: tuple[int, ...]) -> dict[str, IntArray]:
    given = {
        "theta": layer.theta,
        "multiplier": layer.multiplier,
        "syn_multiplier": None if layer.synapse is None else layer.synapse.multiplier,
        "graded": layer.graded,
    }
    return {name: _flat(np.zeros((), np.int64) if values is None else values, shape) for name, values in given.items()}


def _flat(values: IntArray, shape: tuple[int, ...]) -> IntArray:
    flat: IntArray = np.broadcast_to(as_integers(values), shape).reshape(-1)
    return flat


def _intervals(layer: LIF, x: Signal, own: dict[str, Any], current: Interval) -> tuple[Interval, Interval | None]:
    """Of the states before a step, for every row."""
    synapse, syn = layer.synapse, None
    if synapse is not None:
        synapse = replace(synapse, multiplier=None if synapse.multiplier is None else own["syn_multiplier"])
        found = reach(synapse, current, layer.current_shift(x))
        current, syn = found.charged, found.state
    multiplier = None if layer.multiplier is None else own["multiplier"]
    alike = replace(layer, theta=own["theta"], multiplier=multiplier, synapse=synapse)
    return reach(alike, current, layer.membrane_shift(x)).state, syn


def _ends(interval: Interval, i: int) -> Ends:
    low, high = (np.broadcast_to(bound, (max(bound.size, i + 1),)) if bound.size == 1 else bound for bound in interval)
    return int(low[i]), int(high[i])

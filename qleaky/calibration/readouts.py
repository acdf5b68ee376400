"""What is read of the last layers, and so must change least."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from qleaky.calibration.samples import check_classes
from qleaky.errors import InputError
from qleaky.lowering.readouts import parse_readout
from qleaky.lowering.stages import ends
from qleaky.tracing import StepGraph


@dataclass(frozen=True)
class Readouts:
    """What is read of the last layers.

    ``kinds`` are named readouts by layer, ``fixed`` the last layers that no factor may touch, ``class_of`` the (layer, kind)
    that tells the class.
    """

    kinds: dict[str, str]
    fixed: frozenset[str]
    class_of: tuple[str, str]

    @classmethod
    def of(cls, graph: StepGraph, readout: Any, labels: Tensor | None) -> Readouts:
        """From the readout that the user names, and what forward shows."""
        last = [neurons.name for neurons in ends(graph)]
        named = readout if isinstance(readout, Mapping) else dict.fromkeys(last, readout) if readout is not None else {}
        parsed = {layer: parse_readout(kind, layer) for layer, kind in named.items()}
        known = {neurons.name: neurons for neurons in graph.neurons}
        if unknown := set(parsed) - set(known):
            raise InputError(f"readout names {sorted(unknown)}; the network's Leaky layers are {', '.join(known)}.")
        shown = {r.what for r in graph.returned if r is not None} | ({"membranes"} if None in graph.returned else set())
        as_is = {n for n, r in parsed.items() if "membrane" in r.kind and not r.argmax and labels is None}
        if not parsed and shown - {"spikes", "spike_count"} and labels is None:
            as_is.update(last)
        layer = next(iter(parsed), last[-1])
        kind = parsed[layer].kind if parsed else "spike_count"
        kinds: dict[str, str] = {name: "spike_count" if r.kind == "spikes" else r.kind for name, r in parsed.items()}
        if labels is not None:
            _check_label_layer(labels, layer, known[layer].shape)
        return cls(kinds, frozenset(as_is), (layer, "spike_count" if kind == "spikes" else kind))


def _check_label_layer(labels: Tensor, layer: str, shape: tuple[int, ...]) -> None:
    check_classes(labels, math.prod(shape), layer)

"""What leaves the network: the readouts that the user names, or those that forward shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qleaky.errors import InputError, LoweringError
from qleaky.integer import Readout
from qleaky.integer.layers import READOUTS
from qleaky.lowering.stages import ends
from qleaky.tracing import StepGraph


def choose_readouts(wanted: Any, graph: StepGraph) -> tuple[Readout, ...]:
    """The readouts of a network.

    Args:
        wanted: one readout for all layers in which the network ends, a dict by layer name, or None: what forward returns.
        graph: tells where the network ends, and what forward returns.

    Raises:
        InputError: an unknown readout or layer.
        LoweringError: forward returns what no readout is, and none was named.
    """
    if isinstance(wanted, Mapping):
        return tuple(_of_layer(layer, readout, graph) for layer, readout in wanted.items())
    last = [neurons.name for neurons in ends(graph)]
    returned = {r.neurons for r in graph.returned if r is not None}
    if len(last) > 1 and returned & set(last):
        last = [name for name in last if name in returned]
    if wanted is None:
        return tuple(Readout(name, _shown(name, graph)) for name in last)
    return tuple(parse_readout(wanted, name) for name in last)


def parse_readout(readout: Any, layer: str) -> Readout:
    """``"membrane_mean:argmax"`` -> the readout of ``layer``.

    Raises:
        InputError: an unknown readout.
    """
    if not isinstance(readout, str):
        raise InputError(f"readout={readout!r}; pass one of {', '.join(READOUTS)} as a string, or a dict of them by layer.")
    kind, _, suffix = readout.partition(":")
    if kind not in READOUTS or suffix not in ("", "argmax"):
        raise InputError(
            f"readout={readout!r} is unknown. Choose one of {', '.join(READOUTS)}, with ':argmax' behind it for the class."
        )
    if kind == "spikes" and suffix:
        raise InputError("readout='spikes:argmax' names no class: spikes have a time axis. Use 'spike_count:argmax'.")
    return Readout(layer, kind, bool(suffix))


def _of_layer(layer: Any, readout: Any, graph: StepGraph) -> Readout:
    names = [neurons.name for neurons in graph.neurons]
    if layer not in names:
        raise InputError(f"readout names layer {layer!r}; the network's Leaky layers are {', '.join(names)}.")
    return parse_readout(readout, layer)


def _shown(layer: str, graph: StepGraph) -> Any:
    """The readout that forward's results show for a layer; its spikes where forward returns nothing of it."""
    shown = {r.what for r in graph.returned if r is not None and r.neurons == layer}
    for kind in READOUTS:
        if kind in shown:
            return kind
    if shown or None in graph.returned:
        choice = ", ".join(map(repr, READOUTS))
        raise LoweringError(f"{_returned(layer, graph)} Say what leaves the network with readout={choice}.")
    return "spikes"


def _returned(layer: str, graph: StepGraph) -> str:
    """What forward returns, which no readout is, and what comes closest."""
    if any(r is not None and r.neurons == layer for r in graph.returned):
        return (
            f"forward returns the membranes of {layer!r} at every step, which is no readout: export_onnx(..., probe=True) "
            f"gives them beside one, as output {layer}.mem."
        )
    made = "; ".join(graph.computed) or "it is no layer's spikes or membranes"
    return (
        f"forward returns values of {layer!r} that it computed further ({made}), which is left to you; for a class put "
        f"':argmax' behind a readout."
    )

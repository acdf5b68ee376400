"""What leaves a graph of a whole sequence: readouts, final states, and probes."""

from __future__ import annotations

from typing import Any

import numpy as np

from qleaky.export.graph import BATCH, Graph, Shape
from qleaky.export.whole import WholeSequence


def write_outputs(graph: Graph, whole: WholeSequence) -> None:
    """Add all outputs, in the order of :func:`qleaky.export_onnx`'s docstring."""
    for readout in whole.network.readouts:
        _read_out(graph, whole, readout)
    for lif in whole.network.lif_layers:
        for kind in ("mem", "syn"):
            if (lif.name, kind) in whole.finals:
                _final(graph, whole, lif, kind)
    if whole.plan.probe:
        for lif in whole.network.lif_layers:
            _probes(graph, whole, lif)


def _read_out(graph: Graph, whole: WholeSequence, readout: Any) -> None:
    network, lif = whole.network, whole.lifs[readout.layer]
    name, shape = network.output_name(readout), whole.arithmetic.shape(lif.name)
    if readout.kind == "spikes":
        value, dtype = _spikes(graph, whole, lif)
        value, lead = whole.loop.stacked(value, shape), whole.lead
    else:
        value, dtype = read_value(graph, whole, readout, lif)
        lead = (BATCH,)
    graph.output(name, value, dtype, (*lead, *shape))
    if readout.argmax:
        write_class(graph, network.output_name(readout, "class"), value, (*lead, *shape[:-1]))


def read_value(graph: Graph, whole: WholeSequence, readout: Any, lif: Any) -> tuple[str, Any]:
    """The integers of a readout that is no sequence, and their type."""
    shape = whole.arithmetic.shape(lif.name)
    if readout.kind == "last_membrane":
        dtype = whole.arithmetic.state_type(lif, "mem")
        return whole.arithmetic.membrane(graph, lif, whole.finals[lif.name, "mem"], dtype), dtype
    kind = "spk" if readout.kind == "spike_count" else "mem"
    dtype = whole.arithmetic.sum_type(lif, kind, whole.steps)
    if kind == "spk":
        values = whole.wires[lif.name].name
    else:
        values = whole.arithmetic.membrane(graph, lif, whole.records[lif.name, kind], whole.arithmetic.state_type(lif, kind))
    stacked = whole.loop.stacked(values, shape)
    return whole.arithmetic.total(graph, stacked, dtype), dtype


def write_class(graph: Graph, name: str, value: str, shape: Shape) -> None:
    """The lowest index of the largest value."""
    winner = graph.op("ArgMax", value, axis=-1, keepdims=0, select_last_index=0)
    graph.output(name, winner, np.int64, shape)


def _spikes(graph: Graph, whole: WholeSequence, lif: Any) -> tuple[str, Any]:
    dtype = whole.arithmetic.spike_type(lif)
    return whole.arithmetic.convert(graph, whole.wires[lif.name], dtype), dtype


def _over_time(graph: Graph, whole: WholeSequence, name: str, value: tuple[str, Any], lif: Any) -> None:
    shape = whole.arithmetic.shape(lif.name)
    graph.output(name, whole.loop.stacked(value[0], shape), value[1], (*whole.lead, *shape))


def _final(graph: Graph, whole: WholeSequence, lif: Any, kind: str) -> None:
    dtype = whole.arithmetic.state_type(lif, kind)
    value = whole.arithmetic.membrane(graph, lif, whole.finals[lif.name, kind], dtype, kind)
    graph.output(f"{lif.name}.final_{kind}", value, dtype, (BATCH, *whole.arithmetic.shape(lif.name)))


def _probes(graph: Graph, whole: WholeSequence, lif: Any) -> None:
    _over_time(graph, whole, f"{lif.name}.spk", _spikes(graph, whole, lif), lif)
    dtype = whole.arithmetic.state_type(lif, "mem")
    value = whole.arithmetic.membrane(graph, lif, whole.records[lif.name, "mem"], dtype)
    _over_time(graph, whole, f"{lif.name}.mem", (value, dtype), lif)

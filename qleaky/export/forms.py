"""Graph forms: how the time steps of a network become one ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from qleaky.export.integer_ops import IntegerOps, LIFOps, input_integers, linear
from qleaky.export.onnx_graph import GraphBuilder
from qleaky.integer import LIF, IntegerNetwork, Linear
from qleaky.integer.bounds import INT32_MAX

BATCH = "batch"


def probe_name(layer: str, kind: str, t: int) -> str:
    """Name of the value that holds the ``mem`` or ``spk`` of a layer at step t, in every graph."""
    return f"{layer}/{kind}/{t}"


def unrolled(network: IntegerNetwork) -> GraphBuilder:
    """The graph of a feed-forward network, layer by layer: one matrix product over all steps, then T steps of LIF.

    Inputs: ``input``, codes (T, batch, ...), or (batch, ...) for a static input. Outputs: the readout's, then
    ``<layer>.final_mem`` (batch, ...), the membrane codes after the last step, for every LIF layer.
    """
    graph = GraphBuilder()
    shape = network.input.shape
    lead: tuple[int | str, ...] = (network.num_steps, BATCH) if network.input.time == "sequence" else (1, BATCH)
    codes = graph.input(
        "input", network.input.format.dtype, (*lead, *shape) if network.input.time == "sequence" else (BATCH, *shape)
    )
    x = codes if network.input.time == "sequence" else graph.op("Unsqueeze", codes, graph.constant([0], np.int64))
    values: dict[str, ir.Value] = {"input": x}
    membranes: dict[str, list[ir.Value]] = {}
    bounds = {b.layer: b for b in network.proof.layers}
    sources = {"input": network.input} | {layer.name: layer for layer in network.layers}
    for layer in network.layers:
        signal = network.signals[layer.input]
        source = sources[layer.input]
        if isinstance(layer, Linear):
            values[layer.name] = linear(graph, layer, values[layer.input], source, bounds[layer.name])
            continue
        step = LIFOps(graph, layer, signal, bounds[layer.name])
        wide = input_integers(step.ops, values[layer.input], source)
        mems, spikes = _steps(graph, step, layer, wide, network)
        membranes[layer.name] = mems
        stacked = spikes[0] if len(spikes) == 1 else graph.op("Concat", *spikes, axis=0)
        values[layer.name] = graph.op("Cast", stacked, to=int(ir.DataType.UINT8))
    _read_out(graph, network, values, membranes)
    for lif in network.lif_layers:
        final = graph.op("Squeeze", membranes[lif.name][-1], graph.constant([0], np.int64))
        final = graph.op("Cast", final, to=int(ir.DataType.INT32))
        graph.output(f"{lif.name}.final_mem", final, np.int32, (BATCH, *network.signals[lif.name].shape))
    return graph


def _steps(
    graph: GraphBuilder, step: LIFOps, layer: LIF, current: ir.Value, network: IntegerNetwork
) -> tuple[list[ir.Value], list[ir.Value]]:
    """T steps of one layer, its current given for all of them (or for one, where nothing before it changes)."""
    moving = _changes(network, layer.input)
    prepared = step.current(current)
    pieces = graph.split(prepared, network.num_steps) if moving else [prepared] * network.num_steps
    shape = (1, BATCH, *network.signals[layer.name].shape)
    mem = graph.op("Mul", pieces[0], step.ops.constant(0))
    mems, spikes = [], []
    for t, piece in enumerate(pieces):
        names = (probe_name(layer.name, "mem", t), probe_name(layer.name, "spk", t))
        mem, spk = step.step(mem, piece, names, shape)
        mems.append(mem)
        spikes.append(spk)
    return mems, spikes


def _changes(network: IntegerNetwork, name: str) -> bool:
    """Whether a signal has a value for each time step: a static input does not, nor does a Linear behind it."""
    linears = {layer.name: layer.input for layer in network.layers if isinstance(layer, Linear)}
    while name in linears:
        name = linears[name]
    return name != "input" or network.input.time == "sequence"


def _read_out(
    graph: GraphBuilder, network: IntegerNetwork, values: dict[str, ir.Value], membranes: dict[str, list[ir.Value]]
) -> None:
    readout, T = network.readout, network.num_steps
    shape: tuple[Any, ...] = (BATCH, *network.signals[readout.layer].shape)
    state = next(lif.state for lif in network.lif_layers if lif.name == readout.layer)
    zero_axis = graph.constant([0], np.int64)
    dtype: Any = np.int32
    match readout.kind:
        case "spikes":
            graph.output("spikes", values[readout.layer], np.uint8, (T, *shape))
            return
        case "spike_count":
            wide = IntegerOps(graph, dtype).cast(values[readout.layer])
            result = graph.op("ReduceSum", wide, zero_axis, keepdims=0)
        case "membrane_mean":
            dtype = np.int32 if T * (1 << state.bits) <= INT32_MAX else np.int64
            mems = membranes[readout.layer]
            stacked = IntegerOps(graph, dtype).cast(mems[0] if T == 1 else graph.op("Concat", *mems, axis=0))
            result = graph.op("ReduceSum", stacked, zero_axis, keepdims=0)
        case "last_membrane":
            result = graph.op("Squeeze", IntegerOps(graph, dtype).cast(membranes[readout.layer][-1]), zero_axis)
    graph.output(readout.output_name, result, dtype, shape)
    if readout.argmax:
        winner = graph.op("ArgMax", result, axis=-1, keepdims=0, select_last_index=0)
        graph.output("class", winner, np.int64, shape[:-1])

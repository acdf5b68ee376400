"""The graph of one time step: states come in and go out, for streaming."""

from __future__ import annotations

from typing import Any

from qleaky.export.block import Block, State, Step, Values
from qleaky.export.graph import BATCH, Graph
from qleaky.export.loops import describe
from qleaky.export.readouts import write_class
from qleaky.export.wires import Wire

SUMS = {"spike_count": "spk", "membrane_mean": "mem"}


def write_step(graph: Graph, network: Any, arithmetic: Any, probe: bool) -> None:
    """One step of a network: inputs and states -> readouts so far, and the states of the next step."""
    block = Block(arithmetic, network.layers, frozenset(lif.name for lif in network.lif_layers))
    layers = {layer.name: layer for layer in network.layers}
    wires = {source.name: arithmetic.source(source, _input(graph, arithmetic, source)) for source in network.inputs}
    states = {state: _state_in(graph, arithmetic, layers[state.layer], state) for state in block.states}
    step = block.step(graph, block.resume(graph, Values({s[:2]: v for s, v in states.items()})), block.enter(graph, wires), "")
    describe(graph, block, "")
    sums = [_read_out(graph, network, arithmetic, layers[readout.layer], readout, step) for readout in network.readouts]
    for state in block.states:
        _state_out(graph, arithmetic, layers[state.layer], state, step.states[state.layer, state.kind])
    for name, value, dtype, shape in filter(None, sums):
        graph.output(f"{name}.next", value, dtype, shape)
    if probe:
        for lif in network.lif_layers:
            dtype = arithmetic.spike_type(lif)
            graph.output(f"{lif.name}.spk", _spikes(graph, arithmetic, lif, step), dtype, (BATCH, *arithmetic.shape(lif.name)))


def _input(graph: Graph, arithmetic: Any, source: Any) -> str:
    return graph.input(source.name, arithmetic.input_type(source), (BATCH, *source.shape))


def _state_in(graph: Graph, arithmetic: Any, layer: Any, state: State) -> str:
    """A state as the cell takes it."""
    dtype = state.dtype if state.kind == "state" else arithmetic.loop_type(layer, state.kind)
    value = graph.input(f"{state.layer}.{state.kind}", dtype, (BATCH, *arithmetic.shape(state.layer)))
    return value if dtype == state.dtype else graph.cast(value, state.dtype)


def _state_out(graph: Graph, arithmetic: Any, layer: Any, state: State, value: str) -> None:
    dtype = state.dtype if state.kind == "state" else arithmetic.loop_type(layer, state.kind)
    value = value if dtype == state.dtype else arithmetic.membrane(graph, layer, value, dtype, state.kind)
    graph.output(f"{state.layer}.{state.kind}.next", value, dtype, (BATCH, *arithmetic.shape(state.layer)))


def _spikes(graph: Graph, arithmetic: Any, lif: Any, step: Step) -> str:
    wire: Wire = step.wires.get(lif.name) or arithmetic.cell(lif).emit(graph, step.records[lif.name, "emitted"])
    value: str = arithmetic.convert(graph, wire, arithmetic.spike_type(lif))
    return value


def _read_out(graph: Graph, network: Any, arithmetic: Any, lif: Any, readout: Any, step: Step) -> Any:
    """The readout so far; of a sum the name, value, type and shape of its state."""
    name, shape, state = network.output_name(readout), (BATCH, *arithmetic.shape(lif.name)), None
    if readout.kind == "spikes":
        value, dtype = _spikes(graph, arithmetic, lif, step), arithmetic.spike_type(lif)
    elif readout.kind == "last_membrane":
        dtype = arithmetic.state_type(lif, "mem")
        value = arithmetic.membrane(graph, lif, step.records[lif.name, "mem"], dtype)
    else:
        kind = SUMS[readout.kind]
        dtype = arithmetic.running_type(lif, kind)
        before = graph.input(f"{name}.state", dtype, shape)
        if kind == "spk":
            new = graph.cast(_spikes(graph, arithmetic, lif, step), dtype)
        else:
            new = arithmetic.membrane(graph, lif, step.records[lif.name, kind], dtype)
        total = graph.op("Add", before, new)
        state = f"{name}.state", total, dtype, shape
        value, dtype = arithmetic.read(graph, lif, total, kind)
    graph.output(name, value, dtype, shape)
    if readout.argmax:
        write_class(graph, network.output_name(readout, "class"), value, shape[:-1])
    return state

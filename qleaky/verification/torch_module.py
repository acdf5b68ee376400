"""What the torch network itself computes on the contract's inputs, by its own forward."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qleaky.errors import InputError, LoweringError, QleakyError
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.integer.graph import NamedInput
from qleaky.lowering.integers import integer_network
from qleaky.lowering.stages import stages
from qleaky.tracing import StepGraph, record, step_graph
from qleaky.tracing.replay import goes_on

Arrays = dict[str, NDArray[Any]]
Network = IntegerNetwork | FloatNetwork
SAMPLES = 2
MOST_TRIES = 64
GOES_ON = (
    "called twice, the module goes on from the membranes that it kept, while the contract starts every sequence at zero; call "
    "reset_mem() of each layer, or qleaky.Leaky.reset_hidden(), before each batch, or your own evaluation is not what is "
    "deployed."
)


@dataclass(frozen=True)
class ModuleRun:
    """Spikes and membranes (T, B, ...) of every layer, codes for an IntegerNetwork and floats else, as torch computes them.

    ``same_contract``: the module, lowered again, is the network. ``notes``: what to know of the module's evaluation elsewhere.
    """

    spikes: Arrays
    membranes: Arrays
    same_contract: bool
    notes: tuple[str, ...] = ()


def run_module(net: nn.Module, network: Network, inputs: Arrays) -> ModuleRun:
    """Run the module by its own forward, step by step or on whole sequences, whichever it takes.

    Args:
        net: the torch network.
        network: the contract that it was lowered to.
        inputs: encoded, by name.

    Raises:
        InputError: the module's layers are not the network's.
        LoweringError: forward runs neither steps nor sequences.
    """
    like = next((t for t in (*net.parameters(), *net.buffers()) if t.is_floating_point()), torch.zeros(0))
    graph, same_contract = _graph(net, network, like)
    names = {lif.name for lif in network.lif_layers}
    if {neurons.name for neurons in graph.neurons} != names:
        raise InputError(
            f"module has the Leaky layers {sorted(n.name for n in graph.neurons)}, the network {sorted(names)}; pass the "
            f"module that was lowered to it."
        )
    values = _values(network, inputs, like)
    recorded = record(net, graph, values, network.num_steps)
    spikes = {name: spk.cpu().double().numpy() for name, spk in recorded.spikes.items()}
    membranes = {name: mem.cpu().double().numpy() for name, mem in recorded.membranes.items()}
    if isinstance(network, IntegerNetwork):
        membranes = {lif.name: np.ldexp(membranes[lif.name], lif.state.frac_bits) for lif in network.lif_layers}
        spikes = {lif.name: np.ldexp(spikes[lif.name], lif.graded_frac_bits) for lif in network.lif_layers}
    few = {s.name: values[s.name][:, :SAMPLES] if s.time == "sequence" else values[s.name][:SAMPLES] for s in network.inputs}
    notes = (GOES_ON,) if goes_on(net, graph, few, network.num_steps) else ()
    return ModuleRun(spikes, membranes, same_contract, notes)


def _values(network: Network, inputs: Arrays, like: Tensor) -> dict[str, Tensor]:
    values = {}
    for source in network.inputs:
        array = inputs[source.name]
        if isinstance(network, IntegerNetwork) and source.format is not None:
            array = source.format.decode(array)
        values[source.name] = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(like)
    return values


def _graph(net: nn.Module, network: Network, like: Tensor) -> tuple[StepGraph, bool]:
    """How forward is called, and whether what it then does is the network: the first way that is, else the first that runs.

    Raises:
        LoweringError: forward runs in no way.
    """
    running: list[StepGraph] = []
    failure: QleakyError = LoweringError("The module's forward runs neither steps nor sequences.")
    declared = [source.name for source in network.inputs if len(network.inputs) > 1]
    for sample, num_steps, time in _ways(net, network, like):
        try:
            graph = step_graph(net, sample, num_steps, time, declared)
            if graph.num_steps not in (None, network.num_steps):
                raise LoweringError(f"forward runs {graph.num_steps} steps, the network {network.num_steps}.")
            digest = _contract_digest(net, graph, network)
        except QleakyError as error:
            failure = failure if running else error
            continue
        if isinstance(network, FloatNetwork) or digest == network.digest:
            return graph, True
        running.append(graph)
    if not running:
        raise failure
    return running[0], False


def _ways(net: nn.Module, network: Network, like: Tensor) -> Iterator[tuple[tuple[Any, ...], int | None, str | None]]:
    """Samples of what forward may take, with num_steps and time: whole sequences, static inputs, then steps with states."""
    sources: list[NamedInput] = list(network.inputs)
    static = all(source.time == "static" for source in sources)
    step = tuple(like.new_zeros(SAMPLES, *source.shape) for source in sources)
    for states in _state_counts(net, len(network.inputs), len(network.lif_layers)):
        for shapes in _state_shapes(network, states):
            extra = _others(net, len(sources), tuple(like.new_zeros(shape) for shape in shapes), network.num_steps)
            for whole in _sequences(sources, network.num_steps, like):
                yield (*whole, *extra), None, "static" if static else None
            yield (*step, *extra), network.num_steps, None


def _sequences(sources: list[NamedInput], steps: int, like: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """All inputs over all steps, time first, then batch first."""
    for lead in ((steps, SAMPLES), (SAMPLES, steps)) if any(source.time == "sequence" for source in sources) else ((0, 0),):
        yield tuple(like.new_zeros(*((SAMPLES,) if s.time == "static" else lead), *s.shape) for s in sources)


def _others(net: nn.Module, inputs: int, states: tuple[Tensor, ...], steps: int) -> tuple[Any, ...]:
    """Forward's arguments after its inputs: states, and the number of steps for what is a whole number by default."""
    counts = [type(p.default) is int for p in _positional(net)[inputs:]]
    if not any(counts):
        return states
    left = iter(states)
    return tuple(steps if count else next(left, None) for count in counts)


def _state_shapes(network: Network, count: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Shapes that a network's states may have: empty ones, which every membrane takes, else those of its neurons."""
    yield ((0,),) * count
    if isinstance(network, IntegerNetwork):
        sizes = [network.signals[lif.name].shape for lif in network.lif_layers]
    else:
        sizes = [network.shapes[lif.name] for lif in network.lif_layers]
    distinct = [(SAMPLES, *size) for size in dict.fromkeys(sizes)]
    if count:
        yield from itertools.islice(itertools.product(distinct, repeat=count), MOST_TRIES)


def _contract_digest(net: nn.Module, graph: StepGraph, network: Network) -> str | None:
    if isinstance(network, FloatNetwork):
        return None
    formats = {source.name: source.format for source in network.inputs}
    try:
        found, _ = integer_network(network.inputs, dict(formats), stages(net, graph), network.num_steps, network.readouts)
    except InputError:
        return None
    return None if found is None else found.digest


def _state_counts(net: nn.Module, inputs: int, layers: int) -> range:
    """How many states forward may take beside its inputs: from those it requires to all it can, two a layer at most."""
    parameters = [p for p in _positional(net) if type(p.default) is not int]
    required = sum(p.default is inspect.Parameter.empty for p in parameters)
    some = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in inspect.signature(net.forward).parameters.values())
    least = max(required - inputs, 0)
    most = 2 * layers if some else min(len(parameters) - inputs, 2 * layers)
    return range(least, max(least, most) + 1)


def _positional(net: nn.Module) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in inspect.signature(net.forward).parameters.values() if p.kind in kinds]

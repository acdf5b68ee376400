"""What the torch network itself computes on the contract's inputs, by its own forward."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qleaky.errors import InputError, LoweringError
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.lowering.chain import Chain, resolve
from qleaky.lowering.integers import integer_network
from qleaky.tracing import Convention, StepGraph, record, trace

Arrays = dict[str, NDArray[Any]]
Network = IntegerNetwork | FloatNetwork


@dataclass(frozen=True)
class ModuleRun:
    """Spikes and membranes (T, B, ...) of every layer, codes for an IntegerNetwork and floats else, as torch computes them.

    ``same_contract``: the module, lowered again, is the network.
    """

    spikes: Arrays
    membranes: Arrays
    same_contract: bool


def run_module(net: nn.Module, network: Network, inputs: NDArray[Any]) -> ModuleRun:
    """Run the module by its own forward, step by step or on whole sequences, whichever it takes.

    Raises:
        InputError: the module's layers are not the network's.
        LoweringError: forward runs neither steps nor sequences.
    """
    like = next((t for t in (*net.parameters(), *net.buffers()) if t.is_floating_point()), torch.zeros(0))
    values = _values(network, inputs, like)
    graph, same_contract = _graph(net, network, like)
    steps = list(values.unbind(0)) if network.input.time == "sequence" else [values] * network.num_steps
    recorded = record(net, graph, steps)
    names = {lif.name for lif in network.lif_layers}
    if set(recorded.spikes) != names:
        raise InputError(
            f"module has the Leaky layers {sorted(recorded.spikes)}, the network {sorted(names)}; pass the module that "
            f"was lowered to it."
        )
    spikes = {name: spk.cpu().double().numpy() for name, spk in recorded.spikes.items()}
    membranes = {name: mem.cpu().double().numpy() for name, mem in recorded.membranes.items()}
    if isinstance(network, IntegerNetwork):
        membranes = {lif.name: np.ldexp(membranes[lif.name], lif.state.frac_bits) for lif in network.lif_layers}
    return ModuleRun(spikes, membranes, same_contract)


def _values(network: Network, inputs: NDArray[Any], like: Tensor) -> Tensor:
    encoded = network.encode(inputs)
    fmt = network.input.format
    values = fmt.decode(encoded) if isinstance(network, IntegerNetwork) and fmt is not None else encoded
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(like)


def _graph(net: nn.Module, network: Network, like: Tensor) -> tuple[StepGraph, bool]:
    """How forward is called, and whether what it then does is the network: the first way that is, else the first that runs.

    Raises:
        LoweringError: forward runs in no way.
    """
    shape = network.input.shape
    ways: list[tuple[Convention, tuple[Tensor, ...]]] = []
    for states in _state_counts(net, len(network.lif_layers)):
        if states == 0 and network.input.time == "sequence":
            ways.append(("sequence", (like.new_zeros(network.num_steps, 1, *shape),)))
        ways.append(("step", (like.new_zeros(1, *shape), *(like.new_zeros(0) for _ in range(states)))))
    running: list[StepGraph] = []
    failure = LoweringError("The module's forward runs neither steps nor sequences.")
    for convention, arguments in ways:
        try:
            graph = trace(net, arguments, convention)
            chain = resolve(graph, readout_given=True)
        except LoweringError as error:
            failure = error
            continue
        if isinstance(network, FloatNetwork) or _contract_digest(chain, graph, network) == network.digest:
            return graph, True
        running.append(graph)
    if not running:
        raise failure
    return running[0], False


def _contract_digest(chain: Chain, graph: StepGraph, network: IntegerNetwork) -> str | None:
    source = network.input
    try:
        found, _ = integer_network(chain, graph.input_shape, network.num_steps, source.time, source.format, network.readout)
    except InputError:
        return None
    return None if found is None else found.digest


def _state_counts(net: nn.Module, layers: int) -> range:
    """How many arguments forward may take beside its input: from those it requires to all it can, two a layer at most."""
    parameters = inspect.signature(net.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)
    all_of_them = sum(p.kind in positional for p in parameters)
    some = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    least = max(required - 1, 0)
    most = 2 * layers if some else min(all_of_them - 1, 2 * layers)
    return range(least, max(least, most) + 1)

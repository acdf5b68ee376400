"""What the torch network itself computes on the contract's inputs, by its own forward."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qleaky.errors import InputError, LoweringError
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.tracing import Convention, StepGraph, record, trace

Arrays = dict[str, NDArray[Any]]


def run_module(net: nn.Module, network: IntegerNetwork | FloatNetwork, inputs: NDArray[Any]) -> tuple[Arrays, Arrays]:
    """Spikes and membranes (T, B, ...) of every layer: codes for an IntegerNetwork, floats else.

    Raises:
        InputError: the module is not the one that was lowered.
    """
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), torch.device("cpu"))
    values = _values(network, inputs, device)
    graph = _graph(net, network, device)
    steps = list(values.unbind(0)) if network.input.time == "sequence" else [values] * network.num_steps
    recorded = record(net, graph, steps)
    names = {lif.name for lif in network.lif_layers}
    if set(recorded.spikes) != names:
        raise InputError(
            f"module has the Leaky layers {sorted(recorded.spikes)}, the network {sorted(names)}; pass the module that "
            f"was lowered to it."
        )
    spikes = {name: spk.cpu().numpy() for name, spk in recorded.spikes.items()}
    membranes = {name: mem.cpu().double().numpy() for name, mem in recorded.membranes.items()}
    if isinstance(network, IntegerNetwork):
        membranes = {lif.name: np.ldexp(membranes[lif.name], lif.state.frac_bits) for lif in network.lif_layers}
    return spikes, membranes


def _values(network: IntegerNetwork | FloatNetwork, inputs: NDArray[Any], device: torch.device) -> Tensor:
    encoded = network.encode(inputs)
    fmt = network.input.format
    values = fmt.decode(encoded) if isinstance(network, IntegerNetwork) and fmt is not None else encoded
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)


def _graph(net: nn.Module, network: IntegerNetwork | FloatNetwork, device: torch.device) -> StepGraph:
    """How forward is called: on whole sequences if its Leaky layers run them, else step by step with its states.

    Raises:
        LoweringError: forward runs in none of these ways.
    """
    shape = network.input.shape
    ways: list[tuple[Convention, tuple[Tensor, ...]]] = []
    for states in _state_counts(net, len(network.lif_layers)):
        if states == 0 and network.input.time == "sequence":
            ways.append(("sequence", (torch.zeros(network.num_steps, 1, *shape, device=device),)))
        empty = (torch.zeros(0, device=device),) * states
        ways.append(("step", (torch.zeros(1, *shape, device=device), *empty)))
    failure: LoweringError | None = None
    for convention, arguments in ways:
        try:
            graph = trace(net, arguments, convention)
        except LoweringError as error:
            failure = error
            continue
        if convention == "step" or any(call.method == "sequence" for call in graph.calls):
            return graph
    raise failure or LoweringError("The module's forward runs neither steps nor sequences.")


def _state_counts(net: nn.Module, layers: int) -> range:
    """How many arguments forward may take beside its input: those it requires, or, with ``*args``, up to two a layer."""
    parameters = inspect.signature(net.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)
    some = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    least = max(required - 1, 0)
    return range(least, max(least, 2 * layers if some else 0) + 1)

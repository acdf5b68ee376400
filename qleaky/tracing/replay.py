"""Running a network on inputs by its own forward, and keeping every spike and membrane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.neuron import Leaky
from qleaky.tracing.graph import StepGraph
from qleaky.tracing.observer import Observer, flat_tensors, recorded_copy
from qleaky.tracing.random_state import undisturbed
from qleaky.tracing.recorder import turned


class LayerRecorder(Observer):
    """Keeps what every Leaky emitted, call by call; ``order`` names the neurons that each call of a layer belongs to."""

    def __init__(self, order: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.spikes: dict[str, list[Tensor]] = {}
        self.membranes: dict[str, list[Tensor]] = {}
        self._order = order
        self._calls: dict[str, int] = {}

    def forget(self) -> None:
        """Begin anew."""
        self.spikes, self.membranes, self._calls = {}, {}, {}

    def saw(self, path: str, module: nn.Module, method: str, arguments: Any, result: Any) -> None:
        """Keep the spikes and membranes of a Leaky."""
        if not isinstance(module, Leaky) or method == "reset_mem":
            return
        spk = result[0] if isinstance(result, tuple) else result
        mem = result[1] if isinstance(result, tuple) else module.mem
        steps = (spk, mem) if method == "sequence" else (spk.unsqueeze(0), mem.unsqueeze(0))
        names = self._order.get(path, (path,))
        call = self._calls[path] = self._calls.get(path, -1) + 1
        name = names[call % len(names)]
        self.spikes.setdefault(name, []).append(steps[0].detach())
        self.membranes.setdefault(name, []).append(steps[1].detach())


@dataclass(frozen=True)
class TorchRecording:
    """What the torch network itself computed: spikes and membranes (T, B, ...) of all neurons by name, as floats."""

    spikes: dict[str, Tensor]
    membranes: dict[str, Tensor]


def record(net: nn.Module, graph: StepGraph, inputs: Mapping[str, Tensor], num_steps: int) -> TorchRecording:
    """Run a copy of ``net`` by its own forward and keep every spike and membrane.

    Args:
        net: the network that ``graph`` was traced from.
        graph: says how forward is called.
        inputs: by name, (T, B, ...), or (B, ...) for those that are the same in all steps.
        num_steps: T.
    """
    (recording,) = _runs(net, graph, inputs, num_steps, 1)
    return recording


def goes_on(net: nn.Module, graph: StepGraph, inputs: Mapping[str, Tensor], num_steps: int) -> bool:
    """Whether a second run on the same inputs computes something else: it goes on from what the first one left behind."""
    first, second = _runs(net, graph, inputs, num_steps, 2)
    pairs = ((first.spikes, second.spikes), (first.membranes, second.membranes))
    return any(not torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def _runs(net: nn.Module, graph: StepGraph, inputs: Mapping[str, Tensor], num_steps: int, count: int) -> list[TorchRecording]:
    """Several runs of one copy of ``net``, one behind the other, as they are called."""
    observer = LayerRecorder(graph.call.order)
    network, found = recorded_copy(net, observer), []
    for _ in range(count):
        observer.forget()
        arguments = _arguments(graph, inputs)
        with undisturbed(), torch.no_grad():
            if graph.call.mode == "step":
                _run_steps(network, graph, arguments, inputs, num_steps)
            else:
                network(*(turned(arguments) if graph.call.batch_first else arguments))
        names = [neurons.name for neurons in graph.neurons if neurons.name in observer.spikes]
        kinds = ({name: torch.cat(kind[name]) for name in names} for kind in (observer.spikes, observer.membranes))
        found.append(TorchRecording(*kinds))
    return found


def _arguments(graph: StepGraph, inputs: Mapping[str, Tensor]) -> list[Any]:
    """All arguments of forward: the inputs, zeros for states and for what is never read, and what is no tensor as it was."""
    arguments = list(graph.call.arguments)
    source = graph.inputs[0]
    like = inputs[source.name]
    sequence = graph.call.mode == "sequence" and not source.static
    moving = like.ndim == len(source.node.shape) + 2
    batch = like.shape[1 if moving else 0]
    old: Tensor = arguments[source.position]
    before = old.shape[1 if sequence else 0]
    for position, value in enumerate(arguments):
        if isinstance(value, Tensor):
            shape = tuple(batch if i <= 1 and size == before else size for i, size in enumerate(value.shape))
            first = (batch, *value.shape[1:]) if value.shape[:1] == (before,) else shape
            arguments[position] = like.new_zeros(first)
    for each in graph.inputs:
        arguments[each.position] = inputs[each.name]
    return arguments


def _run_steps(
    network: nn.Module, graph: StepGraph, arguments: list[Any], inputs: Mapping[str, Tensor], num_steps: int
) -> None:
    """T calls of a step network, each state argument fed with what the call before returned."""
    moving = [i for i in graph.inputs if inputs[i.name].ndim == len(i.node.shape) + 2]
    for t in range(num_steps):
        for each in moving:
            arguments[each.position] = inputs[each.name][t]
        results = list(flat_tensors(network(*arguments)))
        for state in graph.call.states:
            arguments[state.position] = results[state.returned]

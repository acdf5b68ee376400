"""Running a network on inputs by its own forward, and keeping every spike and membrane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.neuron import Leaky
from qleaky.tracing.graph import StepGraph
from qleaky.tracing.observer import Observer, flat_tensors, recorded_copy


class LayerRecorder(Observer):
    """Keeps what every Leaky emitted, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.spikes: dict[str, list[Tensor]] = {}
        self.membranes: dict[str, list[Tensor]] = {}

    def saw(self, path: str, module: nn.Module, method: str, arguments: Any, result: Any) -> None:
        """Keep the spikes and membranes of a Leaky."""
        if not isinstance(module, Leaky) or method == "reset_mem":
            return
        spk = result[0] if isinstance(result, tuple) else result
        mem = result[1] if isinstance(result, tuple) else module.mem
        steps = (spk, mem) if method == "sequence" else (spk.unsqueeze(0), mem.unsqueeze(0))
        self.spikes.setdefault(path, []).append(steps[0].detach())
        self.membranes.setdefault(path, []).append(steps[1].detach())


@dataclass(frozen=True)
class TorchRecording:
    """What the torch network itself computed: spikes and membranes (T, B, ...) of every Leaky, as floats."""

    spikes: dict[str, Tensor]
    membranes: dict[str, Tensor]


def record(net: nn.Module, graph: StepGraph, steps: list[Tensor]) -> TorchRecording:
    """Run a copy of ``net`` on the inputs of T steps, by its own forward, and keep every spike and membrane."""
    observer = LayerRecorder()
    network = recorded_copy(net, observer)
    with torch.no_grad():
        if graph.convention == "sequence":
            network(torch.stack(steps))
        else:
            _run_steps(network, graph, steps)
    return TorchRecording(
        {path: torch.cat(parts) for path, parts in observer.spikes.items()},
        {path: torch.cat(parts) for path, parts in observer.membranes.items()},
    )


def _run_steps(network: nn.Module, graph: StepGraph, steps: list[Tensor]) -> None:
    """T calls of a step network, each state argument fed with the membrane that the call before returned."""
    first = steps[0]
    arguments: list[Any] = [first.new_zeros(0) for _ in graph.inputs]
    returned_at = {position: graph.outputs.index(call.outputs[1]) for position, call in graph.states.items()}
    for x in steps:
        arguments[graph.data[0]] = x
        results = list(flat_tensors(network(*arguments)))
        for position, source in returned_at.items():
            arguments[position] = results[source]

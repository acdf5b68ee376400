"""What the nodes of a step graph compute on calibration samples, all steps at once, with some layers' weights replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from qleaky.calibration.samples import Samples
from qleaky.lowering.step_check import computed
from qleaky.tracing import Neurons, Node

Weights = Mapping[str, tuple[Tensor, Tensor | None]]


class Values:
    """Node -> (T, B, ...), or (1, B, ...) for what is the same in all steps; spikes are those that were set last."""

    def __init__(self, samples: Samples, spikes: Mapping[str, Tensor]) -> None:
        self.samples = samples
        self.spikes = dict(spikes)
        self._names = {n.spikes: n.name for n in samples.graph.neurons}
        self._inputs = {i.node: i.name for i in samples.graph.inputs}
        self._kept: dict[Node, Tensor] = {}

    def set_spikes(self, name: str, spikes: Tensor) -> None:
        """Let neurons emit something else from now on."""
        self.spikes[name] = spikes
        self._kept.clear()

    def current(self, neurons: Neurons, weights: Weights) -> Tensor:
        """What neurons integrate, (T, B, ...), with the weights and biases of some layers replaced."""
        value = self.value(neurons.input, weights, {})
        return value.expand(self.samples.num_steps, *value.shape[1:]).contiguous()

    def source(self, node: Node, weights: Weights) -> Tensor:
        """What a weighted node multiplies."""
        return self.value(node.inputs[0], weights, {})

    def value(self, node: Node, weights: Weights, made: dict[Node, Tensor]) -> Tensor:
        """What a node computes; ``made`` holds what depends on the replaced weights."""
        kept = made if self._depends(node, weights) else self._kept
        if node not in kept:
            kept[node] = self._compute(node, weights, made)
        return kept[node]

    def _depends(self, node: Node, weights: Weights) -> bool:
        return node.path in weights or any(self._depends(each, weights) for each in node.inputs)

    def _compute(self, node: Node, weights: Weights, made: dict[Node, Tensor]) -> Tensor:
        if node in self._names:
            return self.spikes[self._names[node]]
        if node in self._inputs:
            value = self.samples.values[self._inputs[node]]
            return value if value.ndim == len(node.shape) + 2 else value.unsqueeze(0)
        if node.kind == "zero":
            return next(iter(self.samples.values.values())).new_zeros(1, self.samples.count, *node.shape)
        inputs = [self.value(each, weights, made) for each in node.inputs]
        if node.kind == "delay":
            return _delayed(inputs[0], node["steps"], self.samples.num_steps)
        if node.kind in ("linear", "conv") and node.path in weights:
            node = replace(node, constants=weights[node.path])
        steps = max(len(x) for x in inputs)
        spread = [x if len(x) == steps else x.expand(steps, *x.shape[1:]) for x in inputs]
        flat = computed(node, [x.flatten(0, 1) for x in spread])
        return flat.reshape(steps, -1, *node.shape)


def _delayed(value: Tensor, steps: int, num_steps: int) -> Tensor:
    whole = value.expand(num_steps, *value.shape[1:])
    late = min(steps, num_steps)
    return torch.cat([torch.zeros_like(whole[:late]), whole[: num_steps - late]])

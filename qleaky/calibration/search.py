"""Choosing formats block by block, each with the blocks before it quantized, so that spikes and readout change least."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.calibration.blocks import Block, blocks_of, is_weighted, tree_of
from qleaky.calibration.compensation import compensated, moments_of
from qleaky.calibration.losses import readout_loss, spike_loss
from qleaky.calibration.parts import neuron_at
from qleaky.calibration.samples import Samples
from qleaky.calibration.states import StateChoice, candidates, quantized_neuron, settle
from qleaky.calibration.values import Values
from qleaky.calibration.weights import Parameters, hold_exponent, put, rows_of, used, weighted_exponent
from qleaky.fixed import QFormat, Rounding
from qleaky.layers import QuantizedLayer
from qleaky.layers.exponents import power_of_two
from qleaky.lowering.stages import ends
from qleaky.neuron import Leaky
from qleaky.tracing import Neurons, Node, TorchRecording

FINALISTS = 3
REACH_QUANTILE = 0.999
FEW_BITS = 4
"""Weights of more bits are as well rounded to nearest."""
MOST_FOR_QUANTILE = 1 << 20
UNCHANGED = StateChoice(QFormat(24, 0))
"""Stands for the state of neurons that are not quantized: only its factor of 1 is read."""

UNNAMED = ("spike_count", "membrane_mean")
"""What is kept of a last layer whose readout nobody named."""

Exponents = dict[str, Tensor]


@dataclass(frozen=True)
class Task:
    """What to choose: for the network ``quantized``, a copy of ``net`` whose weighted layers are quantized ones already.

    ``layers`` are the float layers in place of which those stand, ``state_bits`` the bits of neurons by path (None: left
    as they are), ``readouts`` the readouts by neurons, ``fixed`` the neurons that no factor may
    touch, ``threshold_steps`` the least code of thresholds that decide what is heard or read.
    """

    net: nn.Module
    quantized: nn.Module
    layers: Mapping[str, Any]
    state_bits: Mapping[str, int | None]
    readouts: Mapping[str, str]
    fixed: frozenset[str]
    rounding: Rounding
    threshold_steps: int = 1


@dataclass(frozen=True)
class Chosen:
    """States of neuron layers, and factors of weighted layers, by path."""

    states: dict[str, StateChoice]
    factors: dict[str, float]


def search(task: Task, samples: Samples, recorded: TorchRecording) -> Chosen:
    """Choose, and give the quantized network its weights, exponents and states.

    Args:
        task: what to choose.
        samples: calibration inputs.
        recorded: what the float network computes on them.
    """
    values = Values(samples, recorded.spikes)
    chosen = Chosen({}, {})
    weights: dict[str, Parameters] = {}
    for block in blocks_of(samples.graph, task.layers):
        _Chooser(task, block, values, recorded, weights).choose(chosen)
    return chosen


class _Chooser:
    """One block; ``weights`` are the numbers that were chosen before, by path."""

    def __init__(
        self, task: Task, block: Block, values: Values, recorded: TorchRecording, weights: dict[str, Parameters]
    ) -> None:
        self.task, self.block, self.values, self.recorded, self.weights = task, block, values, recorded, weights
        self.module: Any = neuron_at(task.net, block.path)
        self.last = {neurons.name for neurons in ends(values.samples.graph)}
        self.importance = {path: self._importance(path) for path in block.weighted}

    def choose(self, chosen: Chosen) -> None:
        """Choose, and let the layers behind hear what the block now emits."""
        tried = [(self._loss(state, exponents), state, exponents) for state, exponents in self._first()]
        tried.sort(key=lambda each: each[0])
        best = tried[0]
        for _, state, exponents in tried[:FINALISTS]:
            for moved in self._moved(state, exponents):
                if (loss := self._loss(state, moved)) < best[0]:
                    best = loss, state, moved
        _, state, exponents = best
        self._settle(state, exponents, chosen)

    def _settle(self, state: StateChoice, exponents: Exponents, chosen: Chosen) -> None:
        self.weights.update(self._put(state, exponents))
        least = self._difference(state, self.weights)
        for path in (p for p in exponents if self._layer(p).codes.has_zero and self._layer(p).codes.bits <= FEW_BITS):
            least = self._compensate(path, state, exponents[path], least)
        for path in exponents:
            hold_exponent(self._layer(path))
        chosen.factors.update((path, self._factor(path, state)) for path in self.block.weighted)
        for neurons in self.block.neurons:
            self.values.set_spikes(neurons.name, self._run(neurons, state, self.weights)[0])
        if self._bits is not None:
            chosen.states[self.block.path] = state
            settle(neuron_at(self.task.quantized, self.block.path), state, self.task.rounding)

    def _compensate(self, path: str, state: StateChoice, exponent: Tensor, least: float) -> float:
        """Round a layer's weights so that they make good for each other, where that is better."""
        nodes = self._nodes(path)
        moments = moments_of(self.values.source(nodes[0], self.weights), nodes[0]) if len(nodes) == 1 else None
        if moments is None:
            return least
        layer, float_layer, factor = self._layer(path), self.task.layers[path], self._factor(path, state)
        step = power_of_two(exponent.reshape(-1, 1))
        rounded = compensated(float_layer.weight.detach().flatten(1) * factor, moments, step, layer.codes)
        weights = {**self.weights, path: put(layer, float_layer, factor, exponent, rounded / step)}
        loss = self._difference(state, weights)
        if loss < least:
            self.weights[path] = weights[path]
            return loss
        put(layer, float_layer, factor, exponent)
        return least

    def _nodes(self, path: str) -> list[Node]:
        """The nodes that a weighted layer computes for this block."""
        nodes = (node for neurons in self.block.neurons for node in tree_of(neurons.input))
        return [node for node in nodes if node.path == path and is_weighted(node, self.task.layers)]

    @property
    def _bits(self) -> int | None:
        return self.task.state_bits.get(self.block.path)

    def _first(self) -> Iterator[tuple[StateChoice, Exponents]]:
        """All states worth trying, each with the exponents that fit the weights best."""
        scalable = self._scalable()
        steps = self._threshold_steps()
        states = (
            [UNCHANGED] if self._bits is None else candidates(self.module, self._bits, self._reach(), scalable, steps=steps)
        )
        for state in states:
            yield state, {path: self._exponent(path, state) for path in self.block.weighted}

    def _scalable(self) -> bool:
        """Whether a common factor is harmless: every weight may move off its grid, and no membrane itself is read out."""
        return bool(self.block.scaled) and not self.task.fixed & {neurons.name for neurons in self.block.neurons}

    def _threshold_steps(self) -> int:
        """1 where no spike is heard: the membranes of last layers, and nothing else, are read."""
        names = [neurons.name for neurons in self.block.neurons]
        silent = all(name in self.last and "membrane" in self.task.readouts.get(name, "") for name in names)
        return 1 if silent else self.task.threshold_steps

    def _moved(self, state: StateChoice, exponents: Exponents) -> Iterator[Exponents]:
        """One layer's exponents all larger or smaller by one, as far as that makes sense."""
        for path in exponents:
            for shift in (-1, 1):
                yield exponents | {path: used(exponents[path] + shift, self._rows(path, state), self._layer(path).codes)}

    def _rows(self, path: str, state: StateChoice) -> Tensor:
        """A layer's float weights, scaled, a row for each exponent."""
        return rows_of(self.task.layers[path].weight, self._layer(path).per_channel) * self._factor(path, state)

    def _reach(self) -> float:
        parts = []
        for neurons in self.block.neurons:
            sizes = self.recorded.membranes[neurons.name].abs().flatten()
            stride = max(sizes.numel() // MOST_FOR_QUANTILE, 1)
            parts.append(float(sizes[::stride].float().quantile(REACH_QUANTILE)))
        return max(parts)

    def _layer(self, path: str) -> QuantizedLayer:
        layer = self.task.quantized.get_submodule(path)
        assert isinstance(layer, QuantizedLayer)
        return layer

    def _factor(self, path: str, state: StateChoice) -> float:
        return state.factor if path in self.block.scaled else 1.0

    def _exponent(self, path: str, state: StateChoice) -> Tensor:
        layer = self._layer(path)
        return weighted_exponent(self._rows(path, state), layer.codes, rows_of(self.importance[path], layer.per_channel))

    def _importance(self, path: str) -> Tensor:
        """The mean square of what each weight multiplies, in the weight's shape; never quite zero."""
        weight: Tensor = self.task.layers[path].weight
        total = torch.zeros_like(weight[:1])
        for node in self._nodes(path):
            squares = self.values.source(node, self.weights).flatten(0, 1).square().mean(0)
            per_input = squares.reshape(-1, weight.shape[1]).mean(0) if node.kind == "linear" else _by_channel(squares, node)
            total = total + per_input.reshape(1, -1, *(1,) * (weight.ndim - 2)).to(total)
        return (total + total.mean() * 1e-3 + 1e-12).expand_as(weight)

    def _put(self, state: StateChoice, exponents: Exponents) -> dict[str, Parameters]:
        return {
            path: put(self._layer(path), self.task.layers[path], self._factor(path, state), exponent)
            for path, exponent in exponents.items()
        }

    def _run(self, neurons: Neurons, state: StateChoice, weights: Mapping[str, Parameters]) -> tuple[Tensor, Tensor]:
        layer = self.module if self._bits is None else quantized_neuron(self.module, state, self.task.rounding)
        layer = _own_membrane(layer)
        with torch.no_grad():
            return Leaky.sequence(layer, self.values.current(neurons, weights))

    def _loss(self, state: StateChoice, exponents: Exponents) -> float:
        return self._difference(state, {**self.weights, **self._put(state, exponents)})

    def _difference(self, state: StateChoice, weights: Mapping[str, Parameters]) -> float:
        """How far spikes, or the readout, are from the float network's."""
        total = 0.0
        for neurons in self.block.neurons:
            spikes, membranes = self._run(neurons, state, weights)
            expected = self.recorded.spikes[neurons.name], self.recorded.membranes[neurons.name]
            readout = self.task.readouts.get(neurons.name)
            read = (readout,) if readout else UNNAMED if neurons.name in self.last else ()
            total += sum(readout_loss(kind, spikes, membranes / state.factor, expected) for kind in read)
            if not read:
                total += spike_loss(spikes, expected[0])
        return total


def _by_channel(squares: Tensor, node: Any) -> Tensor:
    """Mean squares (C, ...) of a convolution's input as (C / groups,): a group's channels look alike to one kernel."""
    return squares.flatten(1).mean(1).reshape(node["groups"], -1).mean(0)


def _own_membrane(layer: Leaky) -> Leaky:
    """A copy that starts from zero."""
    layer = copy.deepcopy(layer).eval()
    layer.init_hidden = False
    return layer

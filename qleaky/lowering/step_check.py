"""A check, for networks without a theorem, that every step of torch is a step of the graph up to rounding errors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qleaky.dynamics import ResetTiming
from qleaky.errors import LoweringError
from qleaky.fixed import Overflow
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint, Levels
from qleaky.tracing import Neurons, Node, StepGraph, TorchRecording

RELATIVE = 1e-3
MOST_FLIPPED = 0.25


def check_steps(graph: StepGraph, inputs: dict[str, Tensor], recorded: TorchRecording) -> None:
    """Compute every step of every layer from what torch emitted and kept one step before, and compare.

    Errors do not grow from step to step this way, so that they are rounding errors and one step of the state's quantizer at
    most, or the graph is not what torch computes.

    Args:
        graph: what was traced.
        inputs: by name, (T, B, ...), or (B, ...) for those that are the same in all steps.
        recorded: what torch computed on them.

    Raises:
        LoweringError: they differ by more.
    """
    steps = _Steps(graph, inputs, recorded)
    for neurons in graph.neurons:
        wrong = _wrong(neurons, steps, recorded)
        if bool(wrong.any()):
            raise LoweringError(disagreement(neurons.name, int(wrong.nonzero()[0][0]), graph.call.kept))


def _wrong(neurons: Neurons, steps: _Steps, recorded: TorchRecording) -> Tensor:
    """Where the membranes differ by more than rounding, or spikes differ everywhere."""
    module, expected = neurons.module, recorded.membranes[neurons.name]
    assert isinstance(module, Leaky)
    spikes, membranes = steps.step(neurons)
    difference = (membranes - expected).abs()
    spec = module.state_quant.spec if isinstance(module.state_quant, FixedPoint) else None
    if spec is not None and spec.overflow is Overflow.WRAP:
        difference = torch.minimum(difference, 2**spec.format.bits * spec.format.step - difference)
    flipped = spikes != recorded.spikes[neurons.name]
    wrong = difference > _tolerance(module, expected)
    if module.reset_timing is not ResetTiming.DELAYED:  # a rounding error at the threshold moves the membrane by all of it
        wrong &= ~flipped
    return wrong if float(flipped.double().mean()) < MOST_FLIPPED else wrong | flipped


def disagreement(name: str, step: int, kept: tuple[str, ...]) -> str:
    """The message for a layer that the graph does not describe; ``kept`` are attributes in which forward stores tensors."""
    if kept:
        return (
            f"layer {name!r} computes something else in torch than its settings say, first at step {step} of a random input: "
            f"forward stores tensors in {', '.join(kept)}, and what it reads from there in the next call is no state that can "
            f"be seen. Take it as an argument, such as forward(self, x, spk), and return the new one in the same order."
        )
    return (
        f"layer {name!r} computes something else in torch than its settings say, first at step {step} of a random input: does "
        f"forward depend on the values, on earlier calls, or change what layers return?"
    )


def _tolerance(module: Leaky, membranes: Tensor) -> float:
    quantizer, step = module.state_quant, 0.0
    if isinstance(quantizer, FixedPoint):
        step = quantizer.spec.format.step
    elif isinstance(quantizer, Levels):
        step = float(quantizer.levels.diff().max())
    largest = float(membranes.abs().max()) + float(module.threshold.detach().abs().max())
    return 1.5 * step + RELATIVE * largest


class _Steps:
    """All steps at once: the node of a graph as (T, B, ...), time as a part of the batch."""

    def __init__(self, graph: StepGraph, inputs: dict[str, Tensor], recorded: TorchRecording) -> None:
        self.recorded = recorded
        self.steps = len(next(iter(recorded.spikes.values())))
        self.values: dict[Node, Tensor] = {n.spikes: recorded.spikes[n.name] for n in graph.neurons}
        for each in graph.inputs:
            value = inputs[each.name].to(next(iter(recorded.membranes.values())))
            moving = value.ndim == len(each.node.shape) + 2
            self.values[each.node] = value if moving else value.expand(self.steps, *value.shape)

    def step(self, neurons: Neurons) -> tuple[Tensor, Tensor]:
        """Every spike and membrane, from the membrane before as torch kept it."""
        assert isinstance(neurons.module, Leaky)
        layer = copy.deepcopy(neurons.module).eval()
        layer.init_hidden = False
        after = self.recorded.membranes[neurons.name]
        before = torch.cat([torch.zeros_like(after[:1]), after[:-1]])
        current = self.value(neurons.input).to(after).expand(after.shape)
        with torch.no_grad():
            spk, mem = Leaky.forward(layer, current.flatten(0, 1), before.flatten(0, 1))  # the traced one's own reports calls
        return spk.reshape(after.shape), mem.reshape(after.shape)

    def value(self, node: Node) -> Tensor:
        """What a node computes in all steps."""
        if node not in self.values:
            inputs = [self.value(each) for each in node.inputs]
            if node.kind == "delay":
                late = min(node["steps"], self.steps)
                self.values[node] = torch.cat([torch.zeros_like(inputs[0][:late]), inputs[0][: self.steps - late]])
            else:
                merged = computed(node, [each.flatten(0, 1) for each in inputs])
                self.values[node] = merged.reshape(self.steps, -1, *node.shape)
        return self.values[node]


def computed(node: Node, xs: list[Tensor]) -> Tensor:
    """What a node makes of its inputs, each (B, ...)."""
    x = xs[0]
    constants = [None if c is None else c.to(x) for c in node.constants]
    match node.kind:
        case "linear":
            assert constants[0] is not None
            return F.linear(x, constants[0], constants[1])
        case "conv":
            return _conv(node, x, constants)
        case "affine":
            scaled = x if constants[0] is None else x * constants[0]
            return scaled if constants[1] is None else scaled + constants[1]
        case "add":
            return _add(node, xs)
        case "concat":
            return torch.cat(xs, node["axis"] + 1)
        case "reshape":
            return x.reshape(len(x), *node.shape)
        case "transpose":
            return x.permute(0, *(axis + 1 for axis in node["axes"]))
        case _:
            return _pool(node, x)


def _add(node: Node, xs: list[Tensor]) -> Tensor:
    rank = max(x.ndim for x in xs)
    aligned = [x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:]) for x in xs]
    total: Tensor = aligned[0] * node["signs"][0] + aligned[1] * node["signs"][1]
    return total


def _conv(node: Node, x: Tensor, constants: list[Any]) -> Tensor:
    function: Callable[..., Tensor] = F.conv1d if len(node["stride"]) == 1 else F.conv2d
    settings = {"stride": node["stride"], "dilation": node["dilation"], "groups": node["groups"]}
    return function(_padded(node, x, 0.0), constants[0], constants[1], **settings)


def _pool(node: Node, x: Tensor) -> Tensor:
    one = len(node["kernel"]) == 1
    if node.kind == "max_pool":
        largest: Callable[..., Tensor] = F.max_pool1d if one else F.max_pool2d
        return largest(_padded(node, x, -torch.inf), node["kernel"], node["stride"], dilation=node["dilation"])
    mean: Callable[..., Tensor] = F.avg_pool1d if one else F.avg_pool2d
    taps: int = math.prod(node["kernel"])
    means = mean(_padded(node, x, 0.0), node["kernel"], node["stride"])
    return means * (taps / int(node["divisor"]))


def _padded(node: Node, x: Tensor, value: float) -> Tensor:
    widths = [width for pair in reversed(node["pads"]) for width in pair]
    return F.pad(x, widths, value=value)

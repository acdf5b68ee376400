"""What a weighted layer receives, as the format that its sums are proved with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from qleaky.calibration.blocks import is_weighted, tree_of
from qleaky.calibration.samples import Samples
from qleaky.fixed import QFormat, grid_of
from qleaky.integer import Signal
from qleaky.layers.accumulator import InputFormat
from qleaky.lowering.integer_lif import emission
from qleaky.tracing import Neurons, Node


@dataclass(frozen=True)
class Reach:
    """Integers ``low``..``high`` times 2**-frac_bits."""

    frac_bits: int
    low: int
    high: int

    def on(self, frac_bits: int) -> Reach:
        """The same on a finer grid."""
        shift = frac_bits - self.frac_bits
        return Reach(frac_bits, self.low << shift, self.high << shift)

    def joined(self, other: Reach) -> Reach:
        """What holds both."""
        finest = max(self.frac_bits, other.frac_bits)
        a, b = self.on(finest), other.on(finest)
        return Reach(finest, min(a.low, b.low), max(a.high, b.high))

    def format(self) -> InputFormat:
        """The narrowest format that holds it."""
        if self == SPIKES:
            return "spikes"
        signed = self.low < 0
        bits = max(self.high.bit_length(), (-self.low - 1).bit_length() if signed else 0, 1) + signed
        return QFormat(min(bits, 32), self.frac_bits, signed)


SPIKES = Reach(0, 0, 1)


def reach(node: Node, inputs: Mapping[str, QFormat | None], neurons: Mapping[Node, Neurons]) -> Reach:
    """The integers that a node may hold; those of a sum of weighted inputs, which feeds no layer by rule, are not known."""
    if node in neurons:
        return _of_signal(emission(neurons[node]))
    if node.kind == "input":
        fmt = inputs.get(node["name"]) or QFormat(8, 7)
        return Reach(fmt.frac_bits, fmt.lowest - fmt.zero_point, fmt.highest - fmt.zero_point)
    parts = [reach(each, inputs, neurons) for each in node.inputs]
    if not parts:
        return Reach(0, 0, 0)
    whole = parts[0]
    for part in parts[1:]:
        whole = _added(whole, part, node["signs"]) if node.kind == "add" else whole.joined(part)
    return _pooled(whole, node) if node.kind == "average_pool" else whole


def _added(a: Reach, b: Reach, signs: tuple[int, int]) -> Reach:
    finest = max(a.frac_bits, b.frac_bits)
    ends = [sorted((sign * x.low, sign * x.high)) for sign, x in zip(signs, (a.on(finest), b.on(finest)), strict=True)]
    return Reach(finest, ends[0][0] + ends[1][0], ends[0][1] + ends[1][1])


def _pooled(source: Reach, node: Node) -> Reach:
    """A sum over a window, divided by shifting its grid."""
    taps = math.prod(node["kernel"])
    grid = grid_of(1 / float(node["divisor"]))
    return Reach(source.frac_bits + (grid[1] if grid else 0), source.low * taps, source.high * taps)


def _of_signal(signal: Signal) -> Reach:
    return Reach(signal.frac_bits, signal.low, signal.high)


def received_formats(samples: Samples, net: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, InputFormat]:
    """What every weighted layer receives, by path."""
    graph = samples.graph
    inputs = {i.name: samples.formats[i.name] or i.format for i in graph.inputs}
    neurons = {n.spikes: n for n in graph.neurons}
    found: dict[str, Reach] = {}
    for node in (node for n in graph.neurons for node in tree_of(n.input)):
        if is_weighted(node, layers):
            received = reach(node.inputs[0], inputs, neurons)
            found[node.path] = found[node.path].joined(received) if node.path in found else received
    return {path: each.format() for path, each in found.items()}

"""Running float and quantized networks side by side on all samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from qleaky.calibration.losses import logits
from qleaky.calibration.readouts import Readouts
from qleaky.calibration.samples import Samples
from qleaky.fixed import QFormat
from qleaky.tracing import TorchRecording, record

MOST_ELEMENTS = 1 << 24
"""Spikes of the largest layer that one run keeps."""


@dataclass
class Tally:
    """Counts of one layer's spikes and membranes over all samples."""

    total: int = 0
    changed: int = 0
    before: int = 0
    after: int = 0
    saturated: int = 0

    def share(self, count: int) -> float:
        """A count relative to all values."""
        return count / max(self.total, 1)


@dataclass(frozen=True)
class Comparison:
    """Tallies by layer, and how many samples each network classifies right."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    right: list[int] = field(default_factory=lambda: [0, 0])


def batch_size(samples: Samples, elements: int = MOST_ELEMENTS) -> int:
    """How many samples fit one run that keeps so many spikes of the largest layer."""
    largest = max(math.prod(n.shape) for n in samples.graph.neurons)
    return max(elements // (samples.num_steps * largest), 1)


def run(net: nn.Module, samples: Samples) -> TorchRecording:
    """What a network computes on samples, by its own forward."""
    return record(net, samples.graph, samples.values, samples.num_steps)


def compare(
    nets: tuple[nn.Module, nn.Module],
    samples: Samples,
    formats: dict[str, QFormat | None],
    labels: Tensor | None,
    read: Readouts,
) -> Comparison:
    """Run two networks on all samples.

    Args:
        nets: float and quantized.
        samples: all of them.
        formats: of the quantized states, by neurons.
        labels: classes, or None.
        read: what tells the class.
    """
    found = Comparison()
    size = batch_size(samples)
    for number, batch in enumerate(samples.batches(size)):
        runs = run(nets[0], batch), run(nets[1], batch)
        for name, expected in runs[0].spikes.items():
            _count(found.tallies.setdefault(name, Tally()), name, expected, runs[1], formats.get(name))
        if labels is not None:
            wanted = labels[number * size : number * size + batch.count]
            for i, recorded in enumerate(runs):
                found.right[i] += int((classes(recorded, read.class_of) == wanted).sum())
    return found


def _count(tally: Tally, name: str, expected: Tensor, quantized: TorchRecording, fmt: QFormat | None) -> None:
    spikes, membranes = quantized.spikes[name], quantized.membranes[name]
    tally.total += expected.numel()
    tally.changed += int((spikes != expected).sum())
    tally.before += int((expected != 0).sum())
    tally.after += int((spikes != 0).sum())
    if fmt is not None:
        codes = membranes.double() * 2.0**fmt.frac_bits
        tally.saturated += int(((codes <= fmt.lowest) | (codes >= fmt.highest)).sum())


def classes(recorded: TorchRecording, readout: tuple[str, str]) -> Tensor:
    """The class of every sample, the lowest index among equals."""
    layer, kind = readout
    values = logits(kind, recorded.spikes[layer], recorded.membranes[layer]).cpu()
    largest = values.flatten(1)
    return torch.argmax((largest == largest.amax(1, keepdim=True)).to(torch.uint8), 1)

"""Whether learning the step of 4-bit states pays: fine-tuning on Japanese Vowels with fixed and with learned steps.

    OMP_NUM_THREADS=1 python benchmarks/learned_step.py [seeds]

Each seed trains 12-64-9 in float, quantizes it to 4-bit weights per channel and 4-bit states, and fine-tunes that twice from
the same start. Accuracies are of 90 recordings that are held out of the training set; the test set is not touched.
"""

from __future__ import annotations

import copy
import dataclasses
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qleaky import Leaky, LearnedFixedPoint, quantize
from qleaky.calibration import snap_to_grid
from qleaky.datasets import DataSet, japanese_vowels
from qleaky.demo import FLOAT_SCHEDULE, Schedule, train
from qleaky.models import FeedForward

FINE_TUNING = Schedule(15, 1e-2 / 3)
HELD_OUT = 10


def split(data: DataSet, seed: int) -> tuple[DataSet, Tensor, Tensor]:
    """(the data with a smaller training set, held-out inputs, their labels): ten recordings of each speaker."""
    rng = np.random.default_rng(seed)
    labels = data.train_labels
    out = np.concatenate([rng.permutation(np.flatnonzero(labels == speaker))[:HELD_OUT] for speaker in range(9)])
    kept = np.setdiff1d(np.arange(len(labels)), out)
    smaller = dataclasses.replace(
        data, train_codes=np.ascontiguousarray(data.train_codes[:, kept]), train_labels=labels[kept], train_lengths=None
    )
    return smaller, torch.from_numpy(data.format.decode(data.train_codes[:, out])), torch.from_numpy(labels[out])


def accuracy(net: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        _, membranes = net.eval()(inputs)
    return float((membranes.double().sum(0).argmax(-1) == labels).double().mean())


def learning(net: nn.Module) -> nn.Module:
    """A copy whose states learn their steps."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, Leaky):
            fmt = module.state_quant.format
            module.state_quant = LearnedFixedPoint(fmt.bits, fmt.frac_bits, fmt.signed)
    return net


def fine_tune(net: nn.Module, data: DataSet, seed: int) -> None:
    """The loss of the demo; steps learn ten times as fast as weights, so that they can cross an octave."""
    inputs, labels = torch.from_numpy(data.format.decode(data.train_codes)), torch.from_numpy(data.train_labels)
    shuffler = torch.Generator().manual_seed(seed)
    named = list(net.train().named_parameters())
    groups = [[p for name, p in named if name.endswith("log2_step") == step] for step in (False, True)]
    rates = (FINE_TUNING.learning_rate, 10 * FINE_TUNING.learning_rate)
    optimizer = torch.optim.Adam([{"params": g, "lr": r} for g, r in zip(groups, rates, strict=True) if g])
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FINE_TUNING.epochs)
    for _ in range(FINE_TUNING.epochs):
        for picked in torch.randperm(len(labels), generator=shuffler).split(FINE_TUNING.batch):
            loss = F.cross_entropy(net(inputs[:, picked])[1].mean(0), labels[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        decay.step()


def steps(net: nn.Module) -> list[int]:
    return [module.state_quant.format.frac_bits for module in net.modules() if isinstance(module, Leaky)]


def one(seed: int) -> tuple[float, float, float]:
    """Accuracies before fine-tuning, with fixed steps, and with learned ones."""
    data, inputs, labels = split(japanese_vowels(), seed)
    torch.manual_seed(seed)
    net = FeedForward((12, 64, 9), weight_bits=None)
    train(net, data, FLOAT_SCHEDULE, seed, lambda *_: None)
    samples = torch.from_numpy(data.format.decode(data.train_codes))
    start = quantize(net, samples, 4, 4, per_channel=True, input_format=data.format, readout="membrane_mean:argmax")
    results = []
    for tuned in (copy.deepcopy(start), learning(start)):
        fine_tune(tuned, data, seed)
        snap_to_grid(tuned)
        results.append((accuracy(tuned, inputs, labels), steps(tuned)))
    before = accuracy(start, inputs, labels)
    (fixed, f), (learned, g) = results
    print(f"seed {seed}: quantized {before:.2%}, fixed {fixed:.2%} {f}, learned {learned:.2%} {g}", flush=True)
    return before, fixed, learned


def main() -> None:
    torch.set_num_threads(1)
    table = np.array([one(seed) for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5)])
    gain = 100 * (table[:, 2] - table[:, 1])
    print(f"fixed {table[:, 1].mean():.2%}, learned {table[:, 2].mean():.2%}: {gain.mean():+.2f} points, {gain.round(2)}")


if __name__ == "__main__":
    main()

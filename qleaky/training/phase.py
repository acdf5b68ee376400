"""One phase of a training: epochs of a network on samples, with one optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qleaky.errors import FormatError, TrainingError
from qleaky.recipes import Recipe, TrainingTable
from qleaky.training.building import restart
from qleaky.training.diagnosis import find_nonfinite
from qleaky.training.metrics import Row
from qleaky.training.processes import Processes
from qleaky.training.randomness import generator, seed_everything
from qleaky.training.readouts import classes, logits
from qleaky.training.samples import Samples, Splits

EVALUATION_BATCH = 256
Tick = Callable[[float], None]


@dataclass(frozen=True)
class PhaseSettings:
    """What differs between the phases: ``freeze`` is called before each of the last ``frozen_epochs`` epochs."""

    name: str
    epochs: int
    learning_rate: float
    frozen_epochs: int = 0
    freeze: Callable[[nn.Module], None] | None = None


@dataclass(frozen=True)
class Score:
    """Mean loss and accuracy in percent."""

    loss: float
    accuracy: float


class Phase:
    """A network in training; :meth:`epoch` depends on weights, optimizer, seed and epoch alone."""

    def __init__(self, net: nn.Module, recipe: Recipe, settings: PhaseSettings, seed: int, processes: Processes) -> None:
        self.net = net.to(processes.device)
        self.table, self.readout = recipe.training, recipe.model.readout
        self.settings, self.seed, self.processes = settings, seed, processes
        self.parallel = processes.parallel(self.net)
        self.optimizer = make_optimizer(self.net, self.table, settings.learning_rate)

    def epoch(self, epoch: int, splits: Splits, tick: Tick) -> Row:
        """Train one epoch (counted from 1) and evaluate; ``tick`` is told the share that is done.

        Raises:
            TrainingError: loss or gradient is no finite number; names the layer. Weights are those before that step.
        """
        began = time.perf_counter()
        settings, name = self.settings, self.settings.name
        if settings.freeze is not None and epoch > settings.epochs - settings.frozen_epochs:
            settings.freeze(self.net)
        seed_everything(self.seed, name, "epoch", epoch, self.processes.rank)
        noise = generator(self.seed, name, "noise", epoch)
        order = torch.randperm(len(splits.train), generator=generator(self.seed, name, "order", epoch))
        batches = order.split(self.table.batch_size)  # type: ignore[no-untyped-call]
        self.parallel.train()
        total, correct, rate = 0.0, 0.0, settings.learning_rate
        for step, picked in enumerate(batches):
            rate = self._rate((epoch - 1) * len(batches) + step, settings.epochs * len(batches))
            loss, hits = self._step(splits.train, picked, noise, rate, f"epoch {epoch}, step {step + 1}")
            total, correct = total + loss, correct + hits
            tick((step + 1) / len(batches))
        total, correct = self.processes.total(total, correct)
        count = len(splits.train)
        held = evaluate(self.net, splits.validation, self, self.processes) if len(splits.validation) else None
        return Row(
            name,
            epoch,
            loss=total / count,
            train_accuracy=100 * correct / count,
            validation_loss=None if held is None else held.loss,
            validation_accuracy=None if held is None else held.accuracy,
            learning_rate=rate,
            seconds=time.perf_counter() - began,
        )

    def losses(self, spikes: Tensor, membranes: Tensor, labels: Tensor) -> Tensor:
        """The sum of the samples' losses."""
        scaled = self.table.logit_scale * logits(self.readout, spikes, membranes)
        return F.cross_entropy(scaled, labels, reduction="sum", label_smoothing=self.table.label_smoothing)

    def _rate(self, step: int, steps: int) -> float:
        """The learning rate: constant, or half a cosine from its start to 0 over all steps of the phase."""
        if self.table.schedule == "constant":
            return self.settings.learning_rate
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))

    def _step(self, samples: Samples, picked: Tensor, noise: torch.Generator, rate: float, where: str) -> tuple[float, int]:
        """One step of the optimizer -> this process's sum of losses, and how many of its samples were classified rightly.

        Gradients are those of the mean over the whole batch, for every number of processes: DDP averages over them.
        """
        values, labels, weight = self._batch(samples, picked, noise)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        restart(self.net)
        try:
            spikes, membranes = self.parallel(values)
        except FormatError as error:  # a state quantizer met NaN
            raise self._not_finite(values, labels, where, str(error)) from error
        loss = self.losses(spikes, membranes, labels) * weight
        (loss * (self.processes.count / len(picked))).backward()  # type: ignore[no-untyped-call]
        value, norm = loss.item(), self._clipped_norm()
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise self._not_finite(values, labels, where, f"the loss is {value}, the norm of its gradient {norm}")
        self.optimizer.step()
        with torch.no_grad():
            return value, int((classes(self.readout, spikes, membranes) == labels).sum()) if weight else 0

    def _batch(self, samples: Samples, picked: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor, int]:
        """This process's values, labels and weight: where a batch has fewer samples than processes, one of weight 0."""
        mine = self.processes.part(picked)
        weight = int(len(mine) > 0)
        cut = samples[(mine if weight else picked[:1]).to(samples.labels.device)]
        values = cut.values()
        if self.table.input_noise:
            whole = (*values.shape[: cut.dim], len(picked), *values.shape[cut.dim + 1 :])
            drawn = torch.randn(whole, generator=noise)
            drawn = self.processes.part(drawn, cut.dim) if weight else drawn.narrow(cut.dim, 0, 1)
            values = values + self.table.input_noise * drawn.to(values.device)
        return values, cut.labels, weight

    def _clipped_norm(self) -> float:
        """The norm of all gradients together, before they are clipped to ``gradient_clip``."""
        if self.table.gradient_clip:
            return float(torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.table.gradient_clip))
        gradients = [parameter.grad for parameter in self.net.parameters() if parameter.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _not_finite(self, values: Tensor, labels: Tensor, where: str, what: str) -> TrainingError:
        def loss_of() -> Tensor:
            restart(self.net)
            spikes, membranes = self.net(values)
            return self.losses(spikes, membranes, labels) / len(labels)

        found = find_nonfinite(self.net, loss_of) or what
        return TrainingError(
            f"Phase {self.settings.name!r} cannot go on at {where}: {found}. Lower training.learning_rate, or set "
            f"training.gradient_clip, for example to 1.0. Checkpoints of earlier epochs are kept."
        )


def make_optimizer(net: nn.Module, table: TrainingTable, rate: float) -> torch.optim.Optimizer:
    """The optimizer that the recipe names."""
    match table.optimizer:
        case "adam":
            return torch.optim.Adam(net.parameters(), lr=rate, weight_decay=table.weight_decay)
        case "adamw":
            return torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=table.weight_decay)
        case _:
            return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=table.weight_decay)


def evaluate(net: nn.Module, samples: Samples, phase: Phase, processes: Processes) -> Score:
    """Mean loss and accuracy over all samples, in eval mode and without gradients; the processes share the work."""
    net.eval()
    total, correct = 0.0, 0
    with torch.no_grad():
        for batch in _shared(samples, processes):
            restart(net)
            spikes, membranes = net(batch.values())
            total += phase.losses(spikes, membranes, batch.labels).item()
            correct += int((classes(phase.readout, spikes, membranes) == batch.labels).sum())
    total, hits = processes.total(total, correct)
    return Score(total / len(samples), 100 * hits / len(samples))


def _shared(samples: Samples, processes: Processes) -> Iterator[Samples]:
    every = torch.arange(len(samples), device=samples.labels.device).split(EVALUATION_BATCH)  # type: ignore[no-untyped-call]
    for picked in every[processes.rank :: processes.count]:
        yield samples[picked]

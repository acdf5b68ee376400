"""An epoch in arithmetic of its own: the learning rate, the loss, what a batch's gradient is, noise."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import tiny
from torch import nn

from qleaky.datasets import japanese_vowels
from qleaky.models import build
from qleaky.recipes import Recipe
from qleaky.training.phase import Phase, PhaseSettings, evaluate, make_optimizer
from qleaky.training.processes import Processes
from qleaky.training.readouts import classes, logits
from qleaky.training.samples import split

DATA = japanese_vowels()
SPLITS = split(DATA, 0.15, seed=0)


def phase_of(recipe: Recipe, epochs: int = 4) -> Phase:
    torch.manual_seed(0)
    settings = PhaseSettings("float", epochs, recipe.training.learning_rate)
    return Phase(build(recipe.model, DATA), recipe, settings, 0, Processes())


def rates(recipe: Recipe) -> list[float]:
    """The learning rate of every step, as the optimizer saw it."""
    phase, seen = phase_of(recipe), []
    step = phase.optimizer.step
    phase.optimizer.step = lambda *a: (seen.append(phase.optimizer.param_groups[0]["lr"]), step(*a))[1]  # type: ignore[assignment, method-assign]
    for epoch in range(1, 5):
        phase.epoch(epoch, SPLITS, lambda share: None)
    return seen


def test_the_cosine_falls_from_the_learning_rate_to_zero_over_all_steps() -> None:
    steps = 4 * math.ceil(len(SPLITS.train) / 50)
    expected = [0.01 * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    assert rates(tiny()) == pytest.approx(expected, rel=1e-12)


def test_a_constant_rate_is_constant() -> None:
    assert set(rates(tiny("epochs = 3", 'epochs = 3\nschedule = "constant"\nlearning_rate = 0.02'))) == {0.02}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_epoch_of_one_batch_is_a_step_down_the_mean_loss(smoothing: float) -> None:
    """Against plain gradient descent, written out."""
    text = f'epochs = 3\nlabel_smoothing = {smoothing}\nlogit_scale = 3\noptimizer = "sgd"\nlearning_rate = 0.5'
    recipe = tiny("epochs = 3\nbatch_size = 50\ninput_noise = 0.1", f"{text}\nbatch_size = 1000")
    phase = phase_of(recipe)
    torch.manual_seed(0)
    net = build(recipe.model, DATA)
    _, membranes = net(SPLITS.train.values())
    loss = F.cross_entropy(3 * membranes.mean(0), SPLITS.train.labels, label_smoothing=smoothing)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    row = phase.epoch(1, SPLITS, lambda share: None)
    assert row.loss == pytest.approx(loss.item(), abs=1e-5)
    for mine, before, gradient in zip(phase.net.parameters(), net.parameters(), gradients, strict=True):
        assert torch.allclose(mine, before - 0.5 * gradient, atol=1e-5)


def test_clipping_bounds_the_step() -> None:
    text = 'epochs = 3\nbatch_size = 1000\noptimizer = "sgd"\nlearning_rate = 1.0\ngradient_clip = 0.01'
    phase = phase_of(tiny("epochs = 3\nbatch_size = 50\ninput_noise = 0.1", text))
    before = [parameter.detach().clone() for parameter in phase.net.parameters()]
    phase.epoch(1, SPLITS, lambda share: None)
    moved = torch.cat([(new - old).flatten() for new, old in zip(phase.net.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_noise_has_its_standard_deviation_and_differs_by_epoch() -> None:
    recipe, drawn = tiny("batch_size = 50", "batch_size = 1000"), []
    phase = phase_of(recipe)
    phase.net.register_forward_pre_hook(lambda net, inputs: drawn.append(inputs[0].clone()) if net.training else None)
    for epoch in (1, 2):
        phase.epoch(epoch, SPLITS, lambda share: None)
    means = [values.double().mean().item() for values in drawn]
    spread = drawn[0].double().var().item() - SPLITS.train.values().double().var().item()
    assert spread == pytest.approx(0.1**2, rel=0.2)
    assert means[0] != means[1]


def test_evaluation_is_in_eval_mode_and_counts_every_sample() -> None:
    phase = phase_of(tiny())
    found = evaluate(phase.net, SPLITS.test, phase, Processes())
    with torch.no_grad():
        spikes, membranes = phase.net(SPLITS.test.values())
    expected = F.cross_entropy(membranes.mean(0), SPLITS.test.labels)
    right = (membranes.double().sum(0).argmax(-1) == SPLITS.test.labels).double().mean()
    assert found.loss == pytest.approx(expected.item(), abs=1e-5)
    assert found.accuracy == pytest.approx(100 * right.item(), abs=1e-9)
    assert not phase.net.training
    assert spikes.shape == membranes.shape


@pytest.mark.parametrize(
    ("readout", "expected"),
    [("spike_count", [2 / 3, 1 / 3]), ("membrane_mean", [0.5, 1.0]), ("last_membrane", [1.5, 0.0])],
)
def test_readouts(readout: str, expected: list[float]) -> None:
    spikes = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]])
    membranes = torch.tensor([[[0.0, 1.0]], [[0.0, 2.0]], [[1.5, 0.0]]])
    assert logits(readout, spikes, membranes)[0].tolist() == pytest.approx(expected)
    assert classes(readout, spikes, membranes).tolist() == [max(range(2), key=expected.__getitem__)]


def test_among_equals_the_lowest_class_wins() -> None:
    assert classes("spike_count", torch.ones(4, 2, 5), torch.zeros(4, 2, 5)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [("adam", torch.optim.Adam, {}), ("adamw", torch.optim.AdamW, {}), ("sgd", torch.optim.SGD, {"momentum": 0.9})],
)
def test_optimizers(name: str, kind: type, options: dict[str, Any]) -> None:
    recipe = tiny("epochs = 3", f'epochs = 3\noptimizer = "{name}"\nweight_decay = 0.25')
    optimizer = make_optimizer(nn.Linear(2, 2), recipe.training, 0.5)
    assert type(optimizer) is kind
    assert options | {"lr": 0.5, "weight_decay": 0.25} == {
        key: optimizer.defaults[key] for key in ("lr", "weight_decay", *options)
    }

"""Networks that do something else in one step than in another: refused, and the first step that differs is named."""

from typing import Any

import pytest
import torch
from torch import Tensor
from written import HIDDEN, Written, lif, refusal, sequence, zeros

from qleaky import QuantLinear


def doubles_later(layers: Any, x: Tensor) -> Any:
    mem = None
    for t in range(len(x)):
        spk, mem = layers.lif1(layers.fc1(x[t]) * (1.0 if t < 4 else 2.0), mem)
    return spk


def switches(layers: Any, x: Tensor) -> Any:
    mem = None
    for t in range(len(x)):
        spk, mem = layers.lif1((layers.fc1 if t < 2 else layers.other)(x[t]), mem)
    return spk


def only_the_first(layers: Any, x: Tensor) -> Any:
    mem = None
    for t in range(len(x)):
        spk, mem = layers.lif1(layers.fc1(x[t] if t == 0 else torch.zeros_like(x[t])), mem)
    return spk


def backwards(layers: Any, x: Tensor) -> Any:
    mem = None
    for t in range(len(x)):
        spk, mem = layers.lif1(layers.fc1(x[len(x) - 1 - t]), mem)
    return spk


def every_other(layers: Any, x: Tensor) -> Any:
    mem = None
    for t in range(0, len(x), 2):
        spk, mem = layers.lif1(layers.fc1(x[t]), mem)
    return spk


def twice(layers: Any, x: Tensor) -> Any:
    mem = None
    for t in range(len(x)):
        spk, mem = layers.lif1(layers.fc1(x[t]), mem)
        spk, mem = layers.lif1(layers.fc1(x[t]), mem)
    return spk


def forgets(layers: Any, x: Tensor) -> Any:
    for t in range(len(x)):
        spk, _ = layers.lif1(layers.fc1(x[t]), zeros(layers, x))
    return spk


def resets_midway(layers: Any, x: Tensor) -> Any:
    for t in range(len(x)):
        if t == 3:
            layers.lif1.reset_mem()
        spk, _ = layers.lif1(layers.fc1(x[t]))
    return spk


def takes_turns(layers: Any, x: Tensor) -> Any:
    mem1, mem2 = zeros(layers, x), zeros(layers, x)
    for t in range(len(x)):
        spk, mem1 = layers.lif1(layers.fc1(x[t]), mem1)
        spk, mem2 = layers.lif1(layers.other(x[t]), mem2)
        mem1, mem2 = mem2, mem1
    return spk


def steals(layers: Any, x: Tensor) -> Any:
    mem1 = zeros(layers, x)
    for t in range(len(x)):
        spk, mem1 = layers.lif1(layers.fc1(x[t]), mem1)
        spk, _ = layers.third(layers.other(x[t]), mem1)
    return spk


def shares(layers: Any, x: Tensor) -> Any:
    mem = zeros(layers, x)
    for t in range(len(x)):
        spk, _ = layers.lif1(layers.fc1(x[t]), mem)
        spk, mem = layers.lif1(layers.other(x[t]), mem)
    return spk


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (doubles_later, "at step 0 than at step 5: it feeds it affine of (linear 'fc1' of (the input)) with 1, not affine"),
        (switches, "at step 0 than at step 5: it feeds it linear 'fc1' of (the input), not linear 'other' of (the input)"),
        (only_the_first, "forward does something else at step 0 than at step 5"),
        (backwards, "step 0 is given the input of step 5, which lies ahead"),
        (every_other, "step 1 is given the input of step 2, which lies ahead"),
        (twice, "layer 'lif1' makes 12 steps where the sequence has 6; every layer runs in every step"),
        (forgets, "layer 'lif1': its membrane starts at zero again at step 1"),
        (resets_midway, "layer 'lif1': its membrane starts at zero again at step 3"),
        (takes_turns, "layer 'lif1': forward does something else at step"),
        (steals, "its mem is not what it returned one step before, but its own of another step, or that of another layer"),
        (shares, "its mem is not what it returned one step before"),
    ],
)
def test_what_changes_over_time_is_refused_and_the_first_step_named(forward: Any, message: str) -> None:
    net = Written(forward, other=QuantLinear(5, HIDDEN), third=lif())
    assert message in refusal(net, sequence(), readout="spikes")

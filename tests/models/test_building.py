"""A recipe's [model] table becomes the network that it describes, or an error about the key that does not fit."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from qleaky import surrogate
from qleaky.datasets import digits, japanese_vowels
from qleaky.errors import InputError
from qleaky.models import build
from qleaky.recipes import ModelTable

TABLE = ModelTable((64, 20, 10), num_steps=8)


def test_a_table_becomes_its_network() -> None:
    table = replace(TABLE, beta=0.75, threshold=0.5, reset_mechanism="zero", surrogate="fast_sigmoid", surrogate_slope=5.0)
    net = build(table, digits())
    assert [name for name, _ in net.named_children()] == ["fc1", "lif1", "fc2", "lif2"]
    for lif in (net.lif1, net.lif2):
        assert (float(lif.beta), float(lif.threshold), lif.reset_mechanism) == (0.75, 0.5, "zero")
        assert lif.spike_grad == surrogate.fast_sigmoid(5.0)
        assert not lif.state_quant
    spikes, membranes = net(torch.zeros(3, 64))
    assert spikes.shape == membranes.shape == (8, 3, 10)


def test_a_surrogate_without_a_slope_has_its_own() -> None:
    assert build(TABLE).lif1.spike_grad == surrogate.atan()
    assert (
        build(replace(TABLE, surrogate="straight_through_estimator")).lif1.spike_grad == surrogate.straight_through_estimator()
    )


def test_sequences_bring_their_own_steps() -> None:
    net = build(ModelTable((12, 9)), japanese_vowels())
    assert net(torch.zeros(29, 2, 12))[0].shape == (29, 2, 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": None}, "model.num_steps is missing: digits has static samples"),
        ({"layers": (63, 10)}, r"takes samples of shape \(63,\), digits has \(64,\)\. Set the first of model\.layers to 64"),
        ({"layers": (64, 9)}, "model.layers ends with 9; digits has 10 classes"),
        ({"layers": ("4C3", 10), "input": (1, 8, 8)}, r"takes samples of shape \(1, 8, 8\), digits has \(64,\)"),
        ({"layers": (64, "nine", 10)}, "layer 'nine' of "),
    ],
)
def test_what_does_not_fit_the_data_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(replace(TABLE, **changes), digits())


def test_steps_of_their_own_exclude_sequences() -> None:
    with pytest.raises(InputError, match=r"model\.num_steps = 8: japanese-vowels are sequences of 29 steps; leave it out"):
        build(ModelTable((12, 9), num_steps=8), japanese_vowels())

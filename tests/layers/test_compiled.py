"""Quantized layers in torch.compile and torch.export: no graph breaks, and the same numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from qleaky import QuantLinear

SETTINGS: list[dict[str, Any]] = [
    {"weight_bits": 4},
    {"weight_bits": 2, "per_channel": True},
    {"weight_bits": "binary"},
    {"weight_bits": 8, "accumulator_bits": 10},
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_compiled_layer_is_one_graph(settings: dict[str, Any], training: bool) -> None:
    torch.manual_seed(0)
    layer = QuantLinear(40, 5, **settings).train(training)
    twin, x = copy.deepcopy(layer), torch.rand(3, 40)
    assert torch.equal(torch.compile(twin, backend="eager", fullgraph=True)(x), layer(x))
    assert torch.equal(twin.weight_exponent, layer.weight_exponent)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_an_exported_layer_computes_the_same(settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    layer, x = QuantLinear(40, 5, **settings).eval(), torch.rand(3, 40)
    assert torch.equal(torch.export.export(layer, (x,)).module()(x), layer(x))

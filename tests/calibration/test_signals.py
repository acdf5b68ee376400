"""What every weighted layer is told that it receives, and batch normalisations on the way."""

from typing import Any

import pytest
import torch
from networks import CASES, INPUT, T, bits, network
from torch import nn

from qleaky import QFormat, quantize
from qleaky.errors import InputError


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("sequence", "fc1", "spikes"),
        ("sequence", "fc2", "spikes"),
        ("values", "fc1", QFormat(8, 6)),
        ("graded", "fc2", QFormat(2, 2, signed=False)),  # 0 or 3/4
        ("residual", "fc2", QFormat(2, 0, signed=False)),  # 0, 1 or 2
        ("conv2d", "3", QFormat(3, 2, signed=False)),  # quarters of up to 4 spikes
        ("conv2d", "6", "spikes"),
        ("recurrent", "back", "spikes"),
    ],
)
def test_a_layer_is_told_what_it_receives(name: str, layer: str, expected: Any) -> None:
    case = CASES[name]
    result: Any = quantize(network(name), case.inputs(), **case.arguments)
    assert result.get_submodule(layer).input_format == expected


@pytest.mark.parametrize("training", [False, True])
def test_batch_norms_are_folded_in_either_mode_and_named(training: bool) -> None:
    net = network("batch norm").train(training)
    result: Any = quantize(net, bits(T, 24, INPUT), num_steps=T)
    assert isinstance(net[1], nn.BatchNorm1d)
    assert type(result[1]) is nn.Identity
    assert result.quantization_report.folded == ("1",)
    assert all(module.training == training for module in result.modules())
    assert "folded: 1, a batch normalisation" in str(result.quantization_report)


def test_a_batch_norm_that_cannot_be_folded_is_refused() -> None:
    net = nn.Sequential(nn.BatchNorm1d(INPUT), *network("batch norm"))
    net.eval()
    with pytest.raises(InputError, match="1 of 2 cannot be folded"):
        quantize(net, bits(T, 24, INPUT), num_steps=T)


def test_a_batch_norm_and_inputs_that_forward_does_not_take_are_an_error() -> None:
    with pytest.raises(InputError, match=r"forward fails on calibration_inputs|cannot be folded"):
        quantize(network("batch norm"), torch.zeros(T, 24, INPUT + 1), num_steps=T)

"""Compensated rounding against the definition of what it makes small, and a brute force of all roundings."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import network
from torch import Tensor, nn

import qleaky
from qleaky.calibration.compensation import compensated, moments_of
from qleaky.layers.codes import codes_of
from qleaky.tracing import step_graph

CODES = codes_of(4, "test")


def squared_error(weight: Tensor, rounded: Tensor, x: Tensor) -> float:
    return float(((weight - rounded).double() @ x.double().T).square().mean())


def correlated(inputs: int) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(500, 3) @ torch.randn(3, inputs) + 0.1 * torch.randn(500, inputs)


def test_the_sums_of_correlated_inputs_err_less_than_with_rounding_to_nearest() -> None:
    x, weight, step = correlated(40), torch.randn(20, 40), torch.tensor([[0.25]])
    rounded = compensated(weight, x.T @ x / len(x), step, CODES)
    nearest = (weight / step).round().clamp(CODES.lowest, CODES.highest) * step
    assert torch.equal(rounded / step, (rounded / step).round().clamp(CODES.lowest, CODES.highest))
    assert squared_error(weight, rounded, x) < 0.3 * squared_error(weight, nearest, x)


def test_it_comes_close_to_the_best_of_all_roundings_up_and_down() -> None:
    x, weight, step = correlated(8), torch.randn(1, 8), torch.tensor([[0.25]])
    found = squared_error(weight, compensated(weight, x.T @ x / len(x), step, CODES), x)
    floor = (weight / step).floor()
    all_errors = sorted(
        squared_error(weight, (floor + torch.tensor(up)).clamp(CODES.lowest, CODES.highest) * step, x)
        for up in itertools.product((0, 1), repeat=8)
    )
    assert found <= all_errors[len(all_errors) // 8]


def test_independent_inputs_leave_nothing_to_compensate() -> None:
    weight, step = torch.randn(5, 6), torch.tensor([[0.25]])
    rounded = compensated(weight, torch.eye(6), step, CODES)
    assert torch.equal(rounded, (weight / step).round().clamp(CODES.lowest, CODES.highest) * step)


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(2, 3, 3, padding=1, stride=2), nn.Conv2d(2, 3, (1, 2), dilation=2), nn.Conv1d(2, 3, 3, padding=2)]
)
def test_moments_of_a_convolution_are_those_of_its_patches(conv: Any) -> None:
    """E[y y^T] = W E[x x^T] W^T for an output y without bias, whatever the padding, stride and dilation."""
    torch.manual_seed(1)
    shape = (2, 7) if isinstance(conv, nn.Conv1d) else (2, 7, 6)
    net = nn.Sequential(conv, qleaky.Leaky(0.5, init_hidden=True))
    node: Any = step_graph(net, torch.zeros(2, *shape), 3).neurons[0].input
    x = torch.randn(1, 9, *shape)
    moments = moments_of(x, node)
    function = F.conv1d if isinstance(conv, nn.Conv1d) else F.conv2d
    y = function(x[0], conv.weight, None, conv.stride, conv.padding, conv.dilation).detach().transpose(0, 1).flatten(1).double()
    weight = conv.weight.detach().flatten(1).double()
    assert moments is not None
    assert torch.allclose(weight @ moments @ weight.T, y @ y.T / y.shape[1], atol=1e-5)


def test_grouped_convolutions_have_no_common_moments() -> None:
    net = network("conv2d")
    graph = step_graph(net, torch.zeros(2, 1, 8, 8), 3)
    grouped: Any = graph.neurons[1].input
    assert grouped["groups"] == 2
    assert moments_of(torch.zeros(1, 2, 4, 4, 4), grouped) is None


def test_few_bits_change_the_readout_less_on_correlated_inputs() -> None:
    """The whole way: the layer's choice is compared with rounding to nearest, and the better one is kept."""
    torch.manual_seed(0)
    x = (torch.rand(12, 64, 3) @ torch.rand(3, 30) > 0.8).float()
    net = nn.Sequential(nn.Linear(30, 10), qleaky.Leaky(0.9, threshold=0.5, init_hidden=True))
    result: Any = qleaky.quantize(net, x, 2, 12, num_steps=12, readout="spike_count")
    layer = result[0]
    step = 2.0 ** int(layer.weight_exponent)
    scaled = net[0].weight.detach() * result.quantization_report.weights[0].factor / step
    nearest = scaled.round().clamp(-2, 1)
    assert not torch.equal(layer.quantized()[0].detach() / step, nearest)

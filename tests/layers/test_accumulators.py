"""Layers trained for an accumulator keep within it in every forward pass, and the contract's proof says so too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, QuantConv1d, QuantConv2d, QuantLinear, lower, verify
from qleaky.errors import InputError
from qleaky.layers.accumulator import within

BYTES = QFormat(8, 4, signed=False, zero_point=128)
FORMATS: list[tuple[Any, int, int]] = [("spikes", 1, 0), (QFormat(4, 2), 8, 2), (BYTES, 128, 4)]  # format, max|x|, frac_bits


def largest_sum(layer: Any, reach: int, frac_bits: int) -> int:
    """max over channels of sum|w| * max|x| + |b| in integers of the finest channel's grid."""
    weight, bias = layer.quantized()
    step = layer.weight_step().min().double()
    codes = (weight.detach().double() / step).flatten(1)
    offsets = torch.zeros(len(codes)) if bias is None else bias.detach().double() / step * 2**frac_bits
    assert torch.equal(codes, codes.round())
    assert torch.equal(offsets, offsets.round())
    return int((codes.abs().sum(1) * reach + offsets.abs()).max())


@pytest.mark.parametrize(("input_format", "reach", "frac_bits"), FORMATS)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weight_bits", [8, 4, 2, "ternary"])
def test_no_step_of_a_wild_training_breaks_the_bound(
    weight_bits: Any, per_channel: bool, input_format: Any, reach: int, frac_bits: int
) -> None:
    torch.manual_seed(0)
    largest = {8: 127, 4: 7, 2: 2, "ternary": 1}[weight_bits]
    bits = (largest * reach).bit_length() + 3
    settings = {"weight_bits": weight_bits, "per_channel": per_channel, "input_format": input_format}
    layer = QuantLinear(40, 6, **settings, accumulator_bits=bits)
    optimizer = torch.optim.SGD(layer.parameters(), lr=30.0)
    reached = []
    for _ in range(25):
        optimizer.zero_grad()
        (layer(torch.rand(16, 40)) - 50 * torch.randn(16, 6)).square().mean().backward()
        optimizer.step()
        reached.append(largest_sum(layer, reach, frac_bits))
    assert max(reached) <= 2 ** (bits - 1) - 1
    assert max(reached) > 0.9 * (2 ** (bits - 1) - 1)  # and nothing is given away


def test_binary_weights_leave_the_bias_what_is_left() -> None:
    layer = QuantLinear(10, 3, "binary", accumulator_bits=5)
    with torch.no_grad():
        layer.bias.fill_(1e6)
    assert largest_sum(layer, 1, 0) == 15


def test_rows_within_the_bound_are_left_alone() -> None:
    rows = torch.tensor([[1.4, -2.4, 0.2], [3.0, 3.0, 3.0]])
    bounded = within(rows, rows.round(), torch.tensor([3, 4]))
    assert torch.equal(bounded[0], torch.tensor([1.0, -2.0, 0.0]))


@pytest.mark.parametrize("seed", range(20))
def test_no_other_codes_within_the_bound_are_much_closer(seed: int) -> None:
    """Against an exhaustive search over all codes of three weights."""
    torch.manual_seed(seed)
    row, room = torch.rand(1, 3) * 8 - 4, int(torch.randint(1, 6, ()))
    found = within(row, row.round(), torch.tensor([room]))
    grid = torch.cartesian_prod(*[torch.arange(-4.0, 5.0)] * 3)
    allowed = grid[grid.abs().sum(1) <= room]
    assert found.abs().sum() <= room
    assert (found - row).norm() <= (allowed - row).norm(dim=1).min() + 0.5


class Net(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer, self.lif = layer, Leaky(0.5, state_quant=FixedPoint(12, 5))

    def forward(self, x: Tensor) -> Any:
        current = self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.lif.sequence(current)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weight_bits", [8, 4, 2, "ternary"])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda **s: QuantLinear(40, 5, **s), (40,)),
        (lambda **s: QuantConv1d(8, 4, 5, padding=2, **s), (8, 6)),
        (lambda **s: QuantConv2d(4, 4, 3, groups=2, **s), (4, 5, 5)),
    ],
)
def test_the_contract_declares_the_accumulator_and_the_proof_confirms_it(
    make: Any, shape: tuple[int, ...], weight_bits: Any, per_channel: bool
) -> None:
    torch.manual_seed(1)
    net = Net(make(weight_bits=weight_bits, per_channel=per_channel, accumulator_bits=9))
    with torch.no_grad():
        net.layer.weight.mul_(torch.linspace(0.2, 9, len(net.layer.weight)).view(-1, *[1] * len(shape)))
    network = lower(net, torch.zeros(3, 2, *shape), input_format="spikes")
    assert isinstance(network, IntegerNetwork)
    assert network.proof.exact
    layer: Any = network.layers[0]
    assert layer.accumulator_bits == 9
    sums = np.abs(layer.weight.astype(int)).reshape(len(layer.weight), -1).sum(1) + np.abs(layer.bias.astype(int))
    assert sums.max() == network.proof.layers[0].accumulate <= 255


def test_an_input_larger_than_declared_is_a_reason_of_the_proof() -> None:
    torch.manual_seed(2)
    net = Net(QuantLinear(40, 5, accumulator_bits=9))
    network = lower(net, torch.zeros(3, 2, 40), input_format=QFormat(4, 0))
    assert isinstance(network, IntegerNetwork)
    assert not network.proof.exact
    assert "layer 'layer': it declares an accumulator of 9 bits, but its sums can reach" in network.proof.reasons[0]


def test_a_network_trained_for_an_accumulator_is_proved_in_onnx(tmp_path: Any) -> None:
    torch.manual_seed(3)
    net = Net(QuantLinear(40, 5, 4, accumulator_bits=8))
    x = (torch.rand(6, 4, 40) < 0.5).float()
    network = lower(net, x, input_format="spikes", readout="spike_count:argmax")
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    assert verify(tmp_path / "net.onnx", network, x, module=net).verdict == "proved"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"accumulator_bits": 7},
            "accumulator_bits=7 holds at most 63, but one weight code of 127 with inputs of up to 1",
        ),
        (
            {"accumulator_bits": 12, "input_format": BYTES},
            "inputs of up to 128 reaches 16256; use at least 15 bits, fewer",
        ),
        ({"accumulator_bits": 5, "weight_bits": "binary"}, "holds at most 15, but 40 binary weights, none of which can be 0,"),
        ({"accumulator_bits": 1}, "accumulator_bits=1; choose 2 to 32"),
        ({"accumulator_bits": 33}, "accumulator_bits=33; choose 2 to 32"),
        ({"accumulator_bits": 8.0}, "accumulator_bits=8.0 is no integer; pass None for no bound"),
        ({"accumulator_bits": True}, "accumulator_bits=True is no integer; pass None for no bound"),
        ({"input_format": "u8"}, "input_format='u8'; pass 'spikes' or a qleaky.QFormat"),
    ],
)
def test_accumulators_that_make_no_sense(settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        QuantLinear(40, 5, **settings)

"""Networks of quantized layers train, lower to a contract with a proof, and compute the same in torch and ONNX."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, MulShift, QuantConv1d, QuantConv2d, QuantLinear, verify

WIDTHS: list[Any] = [8, 4, 3, 2, "ternary", "binary"]
FIRST: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "linear": (lambda **s: QuantLinear(12, 10, **s), (12,), 10),
    "conv1d": (lambda **s: QuantConv1d(2, 4, 3, padding=1, **s), (2, 6), 24),
    "conv2d": (lambda **s: QuantConv2d(1, 4, 3, **s), (1, 5, 5), 36),
}
STEPS, BATCH = 5, 48


class Net(nn.Module):
    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__()
        make, _, features = FIRST[kind]
        self.first, self.lif1 = make(**settings), self.neurons()
        self.last, self.lif2 = QuantLinear(features, 3, **settings), self.neurons()

    def neurons(self) -> Leaky:
        return Leaky(0.9, state_quant=FixedPoint(10, 5), decay=MulShift(n=8))

    def forward(self, x: Tensor) -> Any:
        current = self.first(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        spikes, _ = self.lif1.sequence(current.flatten(2))
        return self.lif2.sequence(self.last(spikes))


def classes(kind: str) -> tuple[Tensor, Tensor]:
    """Spike trains of three classes, each with a pattern of its own."""
    shape = FIRST[kind][1]
    labels = torch.arange(BATCH) % 3
    rates = torch.rand(3, *shape)[labels]
    return (torch.rand(STEPS, *rates.shape) < rates).float(), labels


def losses(net: nn.Module, x: Tensor, labels: Tensor) -> list[float]:
    optimizer = torch.optim.Adam(net.parameters(), 2e-2)
    seen = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x)[1].mean(0), labels)
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    return seen


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weight_bits", WIDTHS)
@pytest.mark.parametrize("kind", FIRST)
def test_it_trains_and_is_proved(kind: str, weight_bits: Any, per_channel: bool, tmp_path: Any) -> None:
    torch.manual_seed(0)
    net = Net(kind, weight_bits=weight_bits, per_channel=per_channel)
    x, labels = classes(kind)
    seen = losses(net, x, labels)
    assert sum(seen[-5:]) < 0.8 * sum(seen[:5])
    network = qleaky.lower(net, x[:, :2], input_format="spikes", readout="membrane_mean:argmax")
    assert isinstance(network, IntegerNetwork)
    assert network.proof.exact
    assert all(layer.weight.dtype.itemsize == 1 for layer in network.layers if hasattr(layer, "weight")) or weight_bits == 8
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    report = verify(tmp_path / "net.onnx", network, x[:, :4], module=net)
    assert (report.verdict, report.mismatches) == ("proved", 0)

"""The reasons of a float network name the layer to train with instead."""

import pytest
import torch
from torch import nn

from qleaky import FixedPoint, Leaky, lower


@pytest.mark.parametrize(
    ("layer", "shape", "instead"),
    [
        (nn.Linear(4, 3), (4,), "use qleaky.QuantLinear."),
        (nn.Conv1d(2, 3, 3), (2, 8), "use qleaky.QuantConv1d."),
        (nn.Conv2d(2, 3, 3), (2, 8, 8), "use qleaky.QuantConv2d."),
    ],
)
def test_weights_on_no_grid(layer: nn.Module, shape: tuple[int, ...], instead: str) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1 / 3)
    net = nn.Sequential(layer, Leaky(0.5, state_quant=FixedPoint(8, 5), init_hidden=True))
    network = lower(net, torch.zeros(2, *shape), num_steps=3, input_format="spikes")
    assert getattr(network, "reasons", ())[0].endswith(f"power-of-two grid of at most 16 bits; {instead}")

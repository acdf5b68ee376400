"""The networks people write: a step with threaded states, a convolution, a residual, a recurrence, an import from snntorch.

Each is exported in every form and carrier, and compared with the reference and with torch: no spike and no membrane differs.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, QuantLinear, from_snntorch, lower
from qleaky.export.artefact import CARRIERS

FORMS, T, B = ("unrolled", "scan", "step"), 12, 5


def lif(**settings: Any) -> Leaky:
    return Leaky(230 / 256, threshold=1.0, state_quant=FixedPoint(bits=8, frac_bits=5), **settings)


def grid(layer: nn.Module, gain: float = 2.0) -> nn.Module:
    """Random weights on a grid of 1/32, larger than torch's own, so that neurons fire."""
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.copy_((tensor * gain * 32).round() / 32)
    return layer


class Seed(nn.Module):
    """One step, states threaded; the spikes that come in are not used."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = grid(QuantLinear(20, 16)), lif()
        self.fc2, self.lif2 = grid(QuantLinear(16, 5)), lif()

    def forward(self, x: Tensor, mem1: Tensor, spk1: Tensor, mem2: Tensor) -> tuple[Tensor, ...]:
        spk1, mem1 = self.lif1(self.fc1(x), mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return mem1, spk1, mem2, spk2


def convolutional() -> nn.Module:
    return nn.Sequential(
        *(grid(nn.Conv2d(2, 6, 3, padding=1), 3), lif(init_hidden=True), nn.AvgPool2d(2), nn.Dropout(0.3)),
        *(grid(nn.Conv2d(6, 8, 3), 3), lif(init_hidden=True), nn.MaxPool2d(2, stride=1), nn.Flatten()),
        *(grid(nn.Linear(8, 4), 4), lif(init_hidden=True)),
    )


class Residual(nn.Module):
    """Whole sequences, time and batch merged for the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = grid(nn.Conv2d(2, 4, 3, padding=1), 3), grid(nn.Conv2d(4, 4, 3, padding="same"), 2)
        self.lif1, self.lif2, self.lif3 = lif(), lif(), lif()
        self.fc = grid(nn.Linear(4 * 36, 4), 4)

    def forward(self, x: Tensor) -> Any:
        steps = x.shape[0]
        spikes, _ = self.lif1.sequence(self.first(x.flatten(0, 1)).unflatten(0, (steps, -1)))
        more, _ = self.lif2.sequence(self.second(spikes.flatten(0, 1)).unflatten(0, (steps, -1)) + spikes)
        return self.lif3.sequence(self.fc((more + spikes).flatten(2)))


class Recurrent(nn.Module):
    """A loop over time; the hidden layer hears its own spikes of the step before."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.feedback, self.fc2 = grid(nn.Linear(20, 16)), grid(nn.Linear(16, 16, bias=False)), grid(nn.Linear(16, 4))
        self.lif1, self.lif2 = lif(), lif(reset_mechanism="zero")

    def forward(self, x: Tensor) -> Tensor:
        spk1 = torch.zeros(x.shape[1], 16)
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        spikes = []
        for x_t in x:
            spk1, mem1 = self.lif1(self.fc1(x_t) + self.feedback(spk1), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


def imported() -> nn.Module:
    """A network of snntorch's, its membranes in float32: no theorem, and no difference either, as its weights are on a grid."""
    snntorch = pytest.importorskip("snntorch")
    layers = (grid(nn.Linear(20, 16)), snntorch.Leaky(beta=0.9, init_hidden=True))
    return from_snntorch(nn.Sequential(*layers, grid(nn.Linear(16, 4)), snntorch.Leaky(beta=0.8, init_hidden=True)))


def imported_and_quantized() -> nn.Module:
    net = imported()
    for module in net.modules():
        if isinstance(module, Leaky):
            module.state_quant = FixedPoint(bits=12, frac_bits=8)
            module.beta.fill_(230 / 256)
    return net


STATES = tuple(torch.zeros(B, n) for n in (16, 16, 5))
CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "the seed's example": (Seed, (torch.zeros(B, 20), *STATES), {"num_steps": T}),
    "a convolutional net": (convolutional, torch.zeros(B, 2, 8, 8), {"num_steps": T, "readout": "spike_count:argmax"}),
    "a residual net": (Residual, torch.zeros(T, B, 2, 6, 6), {"readout": "membrane_mean:argmax"}),
    "a recurrent net": (Recurrent, torch.zeros(T, B, 20), {"readout": "last_membrane"}),
    "an imported net": (imported, torch.zeros(B, 20), {"num_steps": T, "readout": "spike_count"}),
    "an imported net, quantized": (imported_and_quantized, torch.zeros(B, 20), {"num_steps": T}),
}


@pytest.mark.parametrize("name", CASES)
def test_it_exports_in_every_form_without_a_difference(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, sample, arguments = CASES[name]
    net = make()
    network = lower(net, sample, input_format="spikes", **arguments)
    codes = np.random.default_rng(0).integers(0, 2, (T, B, *network.input.shape)).astype(np.uint8)
    theorem = isinstance(network, IntegerNetwork)
    assert theorem or name == "an imported net"
    for form in FORMS:
        for carrier in CARRIERS if theorem else ("integer",):
            qleaky.export_onnx(network, tmp_path / "net.onnx", form=form, carrier=carrier)
            report = qleaky.verify(tmp_path / "net.onnx", network, codes, module=net)
            assert report.mismatches == 0, f"{form}, {carrier}: {report.first_divergence}"
            assert report.verdict == ("proved" if theorem else "measured"), report.reasons
    if theorem:
        spikes = qleaky.run(network, codes).spikes
        assert all(spk.any() and not spk.all() for spk in spikes.values())

"""``LearnedFixedPoint``: its step stays a power of two, moves late, and its gradient is that of the equations."""

import copy
import math
import re

import pytest
import torch
from torch import nn

from qleaky import FixedPoint, IntegerNetwork, Leaky, LearnedFixedPoint, MulShift, QuantLinear, lower
from qleaky.calibration import snap_to_grid
from qleaky.errors import FormatError
from qleaky.fixed import QFormat


def moved(quantizer: LearnedFixedPoint, by: float) -> LearnedFixedPoint:
    with torch.no_grad():
        quantizer.log2_step += by
    return quantizer


def test_it_quantizes_as_a_fixed_point_of_its_format() -> None:
    x = torch.linspace(-9, 9, 999)
    for by in (0.0, 1.0, -2.0):
        quantizer = moved(LearnedFixedPoint(4, 2), by)
        assert torch.equal(quantizer(x), FixedPoint(4, 2 - int(by))(x))


@pytest.mark.parametrize("by", [0.001, -0.001, 0.59, -0.59])
def test_a_small_update_leaves_the_step(by: float) -> None:
    assert moved(LearnedFixedPoint(4, 2), by).format == QFormat(4, 2)


def test_between_two_steps_lies_a_dead_zone_so_that_they_cannot_alternate() -> None:
    quantizer = moved(LearnedFixedPoint(4, 2), 0.61)
    quantizer(torch.zeros(1))
    formats = []
    for by in (-0.02, 0.02, -0.02, -0.16, -0.05):
        moved(quantizer, by)(torch.zeros(1))
        formats.append(quantizer.format.frac_bits)
    assert formats == [1, 1, 1, 1, 2]  # back at 0.38 above -2, not at 0.59 or 0.43


def test_the_spec_is_what_the_next_forward_computes_before_it_has_run() -> None:
    quantizer = moved(LearnedFixedPoint(4, 2), 1.0).eval()
    assert quantizer.format == QFormat(4, 1)
    assert torch.equal(quantizer(torch.tensor([0.3])), torch.tensor([0.5]))


def test_the_gradients_are_those_of_the_equations() -> None:
    quantizer, x = LearnedFixedPoint(4, 2), torch.tensor([0.3, -0.6, 9.0, -9.0], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    (quantizer(x) * weights).sum().backward()
    step = 0.25
    slopes = [step * (1 - 1.2), step * (-2 + 2.4), step * 7, step * -8]
    expected = sum(w * s for w, s in zip(weights.tolist(), slopes, strict=True)) * math.log(2) / math.sqrt(4 * 7)
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 2.0, 0.0, 0.0]
    assert quantizer.log2_step.grad == pytest.approx(expected, rel=1e-5)


def test_the_step_learns_to_cover_what_it_quantizes() -> None:
    torch.manual_seed(0)
    quantizer, x = LearnedFixedPoint(4, 6), torch.randn(4096)
    optimizer = torch.optim.Adam(quantizer.parameters(), 0.05)
    for _ in range(200):
        loss = (quantizer(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    errors = {f: float((FixedPoint(4, f)(x) - x).square().mean()) for f in range(-2, 7)}
    assert quantizer.format.frac_bits == min(errors, key=errors.__getitem__)


def test_a_checkpoint_restores_the_step_and_that_of_a_fixed_point_begins_it() -> None:
    saved = moved(LearnedFixedPoint(4, 2), 1.3)
    saved(torch.zeros(1))
    loaded = LearnedFixedPoint(4, 2)
    loaded.load_state_dict(saved.state_dict())
    assert loaded.spec == saved.spec
    assert copy.deepcopy(saved).spec == saved.spec
    loaded.load_state_dict(FixedPoint(6, 3).state_dict())
    assert (loaded.format, loaded.log2_step.item()) == (QFormat(6, 3), -3.0)


@pytest.mark.parametrize("freeze", [False, True])
def test_a_network_that_learned_its_step_is_trained_by_sequence_and_lowers(freeze: bool) -> None:
    torch.manual_seed(0)
    lif = Leaky(230 / 256, threshold=0.3, state_quant=LearnedFixedPoint(6, 4), decay=MulShift(n=8))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = QuantLinear(5, 4), lif

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lif.sequence(self.fc(x))[0]

    net, x = Net(), (torch.rand(6, 3, 5) < 0.5).float()
    net(x).sum().backward()
    assert lif.state_quant.log2_step.grad is not None
    moved(lif.state_quant, 0.8)
    snap_to_grid(net)
    if freeze:
        lif.state_quant = lif.state_quant.frozen()
    network = lower(net, x, input_format="spikes")
    assert isinstance(network, IntegerNetwork), network.reasons
    assert network.proof.exact
    assert network.lif_layers[0].state == QFormat(6, 3)


def test_a_step_that_diverged_is_an_error() -> None:
    with pytest.raises(FormatError, match=re.escape("log2_step is nan; look for a diverged loss")):
        moved(LearnedFixedPoint(4, 2), math.nan)(torch.zeros(1))

"""A loss that is no number stops a training, with the first bad layer named."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import rows, tiny
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky
from qleaky.errors import TrainingError
from qleaky.training import find_nonfinite, train


class Net(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc1, self.lif1, self.fc2, self.lif2 = nn.Linear(3, 4), Leaky(0.9), nn.Linear(4, 2), Leaky(0.9, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif2.sequence(self.fc2(self.lif1.sequence(self.fc1(x))[0]))[1]


class RootOfZero(nn.Module):
    """Finite forward, an infinite gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 0).sqrt()


def found(net: nn.Module, x: Tensor) -> str | None:
    return find_nonfinite(net, lambda: net(x).sum())


def test_a_sound_network_has_nothing_to_find() -> None:
    assert found(Net(), torch.ones(5, 2, 3)) is None


@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN"), (math.inf, "inf")])
def test_bad_weights_are_named(value: float, word: str) -> None:
    net = Net()
    net.fc2.weight.data[0, 0] = value
    assert found(net, torch.ones(5, 2, 3)) == f"'fc2.weight' holds {word} already before this step"


def test_the_first_bad_input_is_named() -> None:
    assert found(Net(), torch.full((5, 2, 3), math.nan)) == "the input of layer 'fc1' (Linear) holds NaN"


def test_the_first_bad_output_is_named() -> None:
    net = Net()
    net.fc2.weight.data.fill_(3e38)
    net.fc2.bias.data.fill_(3e38)
    x = torch.full((5, 2, 3), 1e3)
    net.fc1.weight.data.fill_(1.0)
    assert found(net, x) == "the output of layer 'fc2' (Linear) holds inf"


def test_the_layer_in_front_of_a_state_quantizer_is_named() -> None:
    net = Net(state_quant=FixedPoint(8, 5))
    net.fc2.register_forward_hook(lambda *_: torch.full((5, 2, 2), math.nan))
    assert found(net, torch.ones(5, 2, 3)) == "the input of layer 'lif2' (Leaky) holds NaN"


def test_a_bad_gradient_is_named() -> None:
    net = nn.Sequential(nn.Linear(3, 4), RootOfZero())
    assert found(net, torch.ones(2, 3)) == "the gradient of '0.bias' holds NaN, while the output of every layer is finite"


def test_a_loss_that_alone_is_bad() -> None:
    net = nn.Sequential(nn.Linear(3, 4))
    message = "the loss is NaN, while the output of every layer is finite"
    assert find_nonfinite(net, lambda: net(torch.ones(2, 3)).sum() * math.nan) == message


def test_nothing_is_left_behind() -> None:
    net = Net()
    found(net, torch.full((5, 2, 3), math.nan))
    assert not any({"forward", "sequence"} & vars(module).keys() for module in net.modules())


CODE = """
import torch
import qleaky.models
class Net(qleaky.models.FeedForward):
    calls = 0
    def forward(self, x):
        spikes, membranes = super().forward(x)
        Net.calls += self.training
        return spikes, membranes * (float("nan") if Net.calls > 7 else 1)  # in the second epoch
class Hidden(qleaky.models.FeedForward):
    def forward(self, x):
        x, _ = self.lif1.sequence(self.fc1(x))
        Net.calls += self.training
        if Net.calls > 7:
            x = x * float("inf")
        return self.lif2.sequence(self.fc2(x))
def loss(recipe):
    return Net([12, 8, 9], None)
def layer(recipe):
    return Hidden([12, 8, 9], None)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss", r"at epoch 2, step \d+: the loss is NaN, while the output of every layer is finite"),
        ("layer", r"at epoch 2, step \d+: the input of layer 'fc2' \(Linear\) holds NaN"),
    ],
)
def test_training_stops_with_the_layer_named(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}_net.py").write_text(CODE)
    recipe = tiny("layers = [12, 8, 9]", f'build = "{name}_net.py:{name}"', folder=tmp_path)
    with pytest.raises(TrainingError, match=message + r"\. Lower training\.learning_rate, or set training\.gradient_clip"):
        train(recipe, folder=tmp_path / "out")
    assert len(rows(tmp_path / "out")) == 1


def test_a_training_that_diverges_stops(tmp_path: Path) -> None:
    recipe = tiny("epochs = 3", 'epochs = 3\noptimizer = "sgd"\nlearning_rate = 1e38')
    with pytest.raises(TrainingError, match=r"epoch 1, step \d+: the (in|out)put of layer '(fc|lif)\d' .* holds (inf|NaN)\."):
        train(recipe, folder=tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()

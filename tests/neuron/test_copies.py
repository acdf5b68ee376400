"""Copies of a network in the middle of its training: deepcopy, pickle, averaged weights."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from qleaky import FixedPoint, Leaky, MulShift

DECAY = 0.75
OPTIONS: list[dict[str, Any]] = [{}, {"state_quant": FixedPoint(8, 5), "decay": MulShift(n=8)}]
X = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(3)) * 2


class Net(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = nn.Linear(5, 3), Leaky(0.9, learn_beta=True, init_hidden=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.fc(x))


def train_a_step(net: Net, samples: int = 6) -> None:
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net.lif.reset_mem()
    torch.stack([net(x_t) for x_t in X[:, :samples]]).sum().backward()
    optimizer.step()


def outputs(net: Any, samples: int = 6) -> Tensor:
    with torch.no_grad():
        (net.module if isinstance(net, AveragedModel) else net).lif.reset_mem()
        return torch.stack([net(x_t) for x_t in X[:, :samples]])


@pytest.mark.parametrize("options", OPTIONS, ids=["float", "quantized"])
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"])
def test_a_copy_goes_on_like_its_original_and_apart_from_it(clone: Callable[[Net], Net], options: dict[str, Any]) -> None:
    net = Net(**options)
    train_a_step(net)
    copied = clone(net)
    assert torch.equal(copied.lif.mem, net.lif.mem)
    assert not copied.lif.mem.requires_grad
    with torch.no_grad():
        assert torch.equal(copied(X[0]), net(X[0]))
    before = outputs(copied)
    for _ in range(3):
        train_a_step(net)
    assert torch.equal(outputs(copied), before)
    assert not torch.equal(copied.fc.weight, net.fc.weight)


@pytest.mark.parametrize("options", OPTIONS, ids=["float", "quantized"])
@pytest.mark.parametrize("use_buffers", [False, True])
def test_averaged_weights_are_the_average(use_buffers: bool, options: dict[str, Any]) -> None:
    net = Net(**options)
    train_a_step(net)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=use_buffers)
    average.update_parameters(net)
    expected = net.fc.weight.detach().clone()
    for samples in (6, 2):  # a smaller last batch leaves a smaller membrane
        train_a_step(net, samples)
        average.update_parameters(net)
        expected = DECAY * expected + (1 - DECAY) * net.fc.weight.detach()
    assert torch.allclose(average.module.fc.weight, expected, rtol=0, atol=1e-6)
    assert average.module.lif.reset_mechanism == net.lif.reset_mechanism
    assert average.module.lif.reset_mechanism_val == net.lif.reset_mechanism_val
    assert outputs(average).shape == (4, 6, 3)


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_averaging_keeps_the_reset_mechanism(mechanism: str) -> None:
    net = nn.Sequential(Leaky(0.5, reset_mechanism=mechanism))
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True)
    for _ in range(3):
        average.update_parameters(net)
    restored = nn.Sequential(Leaky(0.5))
    restored.load_state_dict(average.module.state_dict())
    assert restored[0].reset_mechanism == mechanism  # type: ignore[union-attr]


def test_the_membrane_follows_the_module() -> None:
    layer = Leaky(0.9, init_hidden=True)
    layer(torch.ones(2, 3))
    assert layer.half().mem.dtype == torch.float16
    assert layer.double().mem.dtype == torch.float64
    assert layer.to("meta").mem.device.type == "meta"


def test_a_membrane_is_a_tensor() -> None:
    layer = Leaky(0.9)
    layer.mem = torch.ones(2, 3)
    assert torch.equal(layer.mem, torch.ones(2, 3))
    with pytest.raises(TypeError, match=r"Leaky: mem=None; a membrane is a tensor\. To begin at zero call reset_mem"):
        layer.mem = None  # type: ignore[assignment]

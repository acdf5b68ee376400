"""What training loops do to a neuron: mixed precision, a smaller last batch, truncated backpropagation."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky, MulShift, state_quant

STATES = [FixedPoint(8, 5), FixedPoint(4, 2, rounding="floor"), state_quant(8)]
X = torch.randn(6, 8, 5, generator=torch.Generator().manual_seed(3)) * 2


class Net(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = nn.Linear(5, 3), Leaky(0.9, learn_beta=True, output=True, **options)

    def steps(self, x: Tensor) -> Tensor:
        """The membranes of all steps, threaded or hidden."""
        mem, mems = torch.zeros(0), []
        for x_t in x:
            current = self.fc(x_t)
            _, mem = self.lif(current) if self.lif.init_hidden else self.lif(current, mem)
            mems.append(mem)
        return torch.stack(mems)


def gradients(net: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


# Mixed precision


@pytest.mark.parametrize("init_hidden", [False, True])
@pytest.mark.parametrize("whole", [False, True], ids=["steps", "sequence"])
def test_autocast_trains_and_leaves_states_on_their_grid(whole: bool, init_hidden: bool) -> None:
    net = Net(state_quant=FixedPoint(8, 5), decay=MulShift(n=8), init_hidden=init_hidden)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    before = net.fc.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        mems = net.lif.sequence(net.fc(X))[1] if whole else net.steps(X)
        loss = mems.float().square().mean()
    loss.backward()
    optimizer.step()
    codes = mems.detach().double() * 32
    assert torch.equal(codes, codes.round())
    assert codes.abs().max() <= 128
    assert all(bool(gradient.isfinite().all()) and bool(gradient.any()) for gradient in gradients(net))
    assert not torch.equal(net.fc.weight, before)


def test_autocast_trains_a_float_state() -> None:
    net = Net()
    with torch.autocast("cpu", torch.bfloat16):
        net.steps(X).float().square().mean().backward()
    assert all(bool(gradient.isfinite().all()) and bool(gradient.any()) for gradient in gradients(net))


# A smaller last batch


@pytest.mark.parametrize("quantizer", [None, *STATES])
def test_a_smaller_last_batch_begins_at_zero_with_hidden_states(quantizer: Any) -> None:
    net, fresh = Net(init_hidden=True, state_quant=quantizer), Net(init_hidden=True, state_quant=quantizer)
    net.steps(X)
    found = net.steps(X[:, :3])
    assert torch.equal(found, fresh.steps(X[:, :3]))


@pytest.mark.parametrize("quantizer", [None, *STATES])
def test_a_smaller_last_batch_begins_at_zero_with_threaded_states(quantizer: Any) -> None:
    net = Net(state_quant=quantizer)
    mem = net.steps(X)[-1]
    with pytest.warns(UserWarning, match="the batch changed from 8 to 3 samples"):
        _, restarted = net.lif(net.fc(X[0, :3]), net.lif.mem)
    assert torch.equal(restarted, Net(state_quant=quantizer).steps(X[:1, :3])[0])
    assert mem.shape == (8, 3)


# Truncated backpropagation through time


@pytest.mark.parametrize("quantizer", [None, *STATES])
@pytest.mark.parametrize("on_the_class", [False, True])
def test_truncated_backpropagation_equals_a_chunk_that_begins_with_a_constant(quantizer: Any, on_the_class: bool) -> None:
    net = Net(init_hidden=True, state_quant=quantizer)
    net.steps(X[:3]).square().sum().backward()
    Leaky.detach_hidden() if on_the_class else net.lif.detach_hidden()
    net.zero_grad(set_to_none=True)
    start = net.lif.mem.clone()
    net.steps(X[3:]).square().sum().backward()

    threaded, mem, mems = Net(state_quant=quantizer), start, []
    for x_t in X[3:]:
        _, mem = threaded.lif(threaded.fc(x_t), mem)
        mems.append(mem)
    torch.stack(mems).square().sum().backward()
    for mine, theirs in zip(gradients(net), gradients(threaded), strict=True):
        assert torch.equal(mine, theirs)


def test_truncated_backpropagation_trains_a_sequence_in_chunks() -> None:
    net = Net(init_hidden=True, state_quant=FixedPoint(8, 5))
    whole = Net(init_hidden=True, state_quant=FixedPoint(8, 5)).lif.sequence(net.fc(X))[1]
    chunks = []
    for chunk in X.split(2):
        mems = net.lif.sequence(net.fc(chunk))[1]
        mems.sum().backward()
        net.lif.detach_hidden()
        chunks.append(mems)
    assert torch.equal(torch.cat(chunks), whole)

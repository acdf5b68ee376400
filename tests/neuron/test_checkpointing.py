"""Activation checkpointing: the gradients of the loop without it; an error where a hidden membrane would be read too late."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from qleaky import FixedPoint, Leaky
from qleaky.errors import UsageError

QUANTIZERS = [None, FixedPoint(8, 5)]
X = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(3)) * 2
Call = Callable[..., Any]


def plain(function: Call, *arguments: Any) -> Any:
    return function(*arguments)


def checkpointed(reentrant: bool) -> Call:
    return lambda function, *arguments: checkpoint(function, *arguments, use_reentrant=reentrant)


class Net(nn.Module):
    def __init__(self, quantizer: Any = None, init_hidden: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(5, 7)
        self.lif = Leaky(0.9, learn_beta=True, state_quant=quantizer, init_hidden=init_hidden, output=True)

    def step(self, x: Tensor, mem: Tensor) -> Any:
        return self.lif(self.fc(x), mem)

    def hidden_step(self, x: Tensor) -> Any:
        return self.lif(self.fc(x))

    def whole(self, x: Tensor) -> Any:
        """All steps, beginning at zero."""
        self.lif.reset_mem()
        return torch.stack([self.lif(current)[1] for current in self.fc(x)])

    def threaded(self, call: Call, x: Tensor) -> Tensor:
        mem, mems = torch.zeros(4, 7), []
        for x_t in x:
            _, mem = call(self.step, x_t, mem)
            mems.append(mem)
        return torch.stack(mems)

    def gradients(self, mems: Tensor) -> list[Tensor]:
        self.zero_grad(set_to_none=True)
        mems.square().mean().backward()
        return [parameter.grad.clone() for parameter in self.parameters() if parameter.grad is not None]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected) == 3
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=["float", "quantized"])
@pytest.mark.parametrize("reentrant", [False, True], ids=["not reentrant", "reentrant"])
def test_steps_with_threaded_membranes(reentrant: bool, quantizer: Any) -> None:
    net, x = Net(quantizer), X.clone().requires_grad_()
    expected = net.gradients(net.threaded(plain, x))
    assert_equal(net.gradients(net.threaded(checkpointed(reentrant), x)), expected)


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=["float", "quantized"])
@pytest.mark.parametrize("init_hidden", [False, True])
@pytest.mark.parametrize("reentrant", [False, True], ids=["not reentrant", "reentrant"])
def test_a_function_that_begins_at_zero(reentrant: bool, init_hidden: bool, quantizer: Any) -> None:
    net, x = Net(quantizer, init_hidden), X.clone().requires_grad_()
    expected = net.gradients(net.whole(x))
    assert_equal(net.gradients(checkpointed(reentrant)(net.whole, x)), expected)


@pytest.mark.parametrize("reentrant", [False, True], ids=["not reentrant", "reentrant"])
def test_sequences(reentrant: bool) -> None:
    net, x = Net(), X.clone().requires_grad_()
    run: Call = lambda x: net.lif.sequence(net.fc(x))[1]  # noqa: E731
    expected = net.gradients(run(x))
    assert_equal(net.gradients(checkpointed(reentrant)(run, x)), expected)


@pytest.mark.parametrize("init_hidden", [False, True])
@pytest.mark.parametrize("reentrant", [False, True], ids=["not reentrant", "reentrant"])
def test_a_hidden_membrane_that_would_be_read_too_late_is_an_error(reentrant: bool, init_hidden: bool) -> None:
    net, x = Net(init_hidden=init_hidden), X.clone().requires_grad_()
    mems = torch.stack([checkpointed(reentrant)(net.hidden_step, x_t)[1] for x_t in x])
    with pytest.raises(UsageError, match=r"under activation checkpointing .* Pass the membrane in and out .* reset_mem"):
        net.gradients(mems)


def test_recomputation_leaves_the_membrane_of_the_layer_alone() -> None:
    net, x = Net(init_hidden=True), X.clone().requires_grad_()
    first = checkpointed(False)(net.whole, x)
    second = checkpointed(False)(net.whole, x * 0.5)
    last = net.lif.mem
    net.gradients(first + second)
    assert net.lif.mem is last
    assert torch.equal(last, second[-1])

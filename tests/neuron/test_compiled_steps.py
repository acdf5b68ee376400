"""torch.compile and torch.export: no graph breaks, eager's numbers, and no membrane frozen into a program."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky, MulShift
from qleaky.errors import UsageError

QUANTIZED: dict[str, Any] = {"state_quant": FixedPoint(8, 5), "decay": MulShift(n=8)}
X = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(3)) * 2


class Step(nn.Module):
    def __init__(self, init_hidden: bool = False, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = nn.Linear(6, 3), Leaky(0.9, learn_beta=True, init_hidden=init_hidden, output=True, **options)

    def forward(self, x: Tensor, *mem: Tensor) -> Any:
        return self.lif(self.fc(x), *mem)


def run(net: nn.Module, call: Any, hidden: bool) -> list[Tensor]:
    """Spikes, membranes and gradients of five steps."""
    mem, out = torch.zeros(4, 3), []
    for x_t in X:
        spk, mem = call(x_t) if hidden else call(x_t, mem)
        out += [spk, mem]
    net.zero_grad(set_to_none=True)
    torch.stack(out).square().sum().backward()
    return [*(tensor.detach() for tensor in out), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("options", [{}, QUANTIZED, {"reset_timing": "same_step"}], ids=["float", "quantized", "same step"])
@pytest.mark.parametrize("hidden", [False, True], ids=["threaded", "hidden"])
def test_a_step_compiles_whole_and_equals_eager(hidden: bool, options: dict[str, Any]) -> None:
    net, eager = Step(hidden, **options), Step(hidden, **options)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    for found, expected in zip(run(net, compiled, hidden), run(eager, eager, hidden), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(net.lif.mem, eager.lif.mem)


def test_inductor_gives_the_same_spikes() -> None:
    net, eager = Step(True, **QUANTIZED), Step(True, **QUANTIZED)
    compiled = torch.compile(net, fullgraph=True)
    with torch.no_grad():
        for x_t in X:
            for found, expected in zip(compiled(x_t), eager(x_t), strict=True):
                assert torch.equal(found, expected)


@pytest.mark.parametrize("options", [{}, QUANTIZED], ids=["float", "quantized"])
@pytest.mark.parametrize("strict", [False, True])
def test_a_step_with_a_threaded_membrane_is_exported_and_saved(strict: bool, options: dict[str, Any]) -> None:
    net, file = Step(**options).eval(), io.BytesIO()
    torch.export.save(torch.export.export(net, (X[0], torch.zeros(4, 3)), strict=strict), file)
    program = torch.export.load(file).module()
    mem = expected = torch.zeros(4, 3)
    for x_t in X:
        spk, mem = program(x_t, mem)
        wanted, expected = net(x_t, expected)
        assert torch.equal(spk, wanted)
        assert torch.equal(mem, expected)


@pytest.mark.parametrize("calls", [0, 2])
def test_a_hidden_membrane_is_not_frozen_into_a_program(calls: int) -> None:
    net = Step(init_hidden=True).eval()
    for x_t in X[:calls]:
        net(x_t)
    with pytest.raises(UsageError, match=r"torch\.export would freeze .* Pass the membrane in and return it"):
        torch.export.export(net, (X[0],), strict=False)


def test_nor_by_a_strict_export() -> None:
    net = Step(init_hidden=True).eval()
    net(X[0])
    with pytest.raises(Exception, match=r"torch\.export would freeze"):
        torch.export.export(net, (X[0],), strict=True)

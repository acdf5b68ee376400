"""torch.compile and torch.export see a sequence as one operator, which computes and differentiates as the layer does."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky, MulShift, ShiftDecay, surrogate
from qleaky.errors import FormatError, InputError
from qleaky.kernels import operator
from qleaky.quantizers import refuse_nan

OPTIONS: list[dict[str, Any]] = [
    {},
    {"learn_beta": True, "learn_threshold": True, "learn_graded_spikes_factor": True, "reset_timing": "undelayed"},
    {"state_quant": FixedPoint(8, 5), "decay": MulShift(n=8), "learn_threshold": True},
    {
        "state_quant": FixedPoint(7, 3, rounding="floor"),
        "decay": ShiftDecay(3),
        "reset_timing": "same_step",
        "learn_beta": True,
    },
    {"state_quant": FixedPoint(4, 2, False, gradient="identity"), "reset_mechanism": "zero", "compare": "inclusive"},
    {"spike_grad": surrogate.fast_sigmoid(5), "reset_mechanism": "none"},
    {"surrogate_disable": True},
]
SHAPE = (5, 2, 11)


class Net(nn.Module):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.lif = Leaky(0.9, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.lif.sequence(x)


def results(net: Any, layer: nn.Module, x: Tensor, weights: Tensor) -> list[Tensor]:
    leaf = x.clone().requires_grad_()
    spks, mems = net(leaf)
    gradients = torch.autograd.grad(((spks + mems) * weights).sum(), [leaf, *layer.parameters()])
    return [spks, mems, *gradients]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_compiled_network_is_the_network(options: dict[str, Any], plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, weights = Net(options), torch.randn(SHAPE), torch.randn(SHAPE)
    expected = results(net, net, x, weights)
    if plain:
        monkeypatch.setenv("QLEAKY_NO_COMPILE", "1")
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(results(compiled, net, x, weights), expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("options", OPTIONS)
def test_an_exported_network_is_one_operator(options: dict[str, Any]) -> None:
    net, x = Net(options), torch.randn(SHAPE)
    program = torch.export.export(net, (x,))
    assert sum("qleaky.lif_sequence" in str(node.target) for node in program.graph.nodes) == 1
    file = io.BytesIO()
    torch.export.save(program, file)
    for ours, theirs in zip(torch.export.load(file).module()(x), net(x), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_operator_passes_torch_s_checks(options: dict[str, Any], dtype: torch.dtype) -> None:
    layer = Leaky(0.9, **options).to(dtype)
    numbers = (layer.effective_beta().detach(), layer.threshold.detach(), layer.graded_spikes_factor.detach())
    inputs = torch.randn(SHAPE, dtype=dtype), torch.zeros(SHAPE[1:], dtype=dtype)
    tensors = [tensor.clone().requires_grad_() for tensor in (*inputs, *numbers)]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.qleaky.lif_sequence.default, (*tensors, *operator.encode(layer.rule)), test_utils=checks)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_rule_comes_back_from_its_numbers(options: dict[str, Any]) -> None:
    rule = Leaky(0.9, **options).rule
    back = operator.decode(*operator.encode(rule))
    assert operator.encode(back) == operator.encode(rule)
    assert (back.surrogate, back.spec, back.decay) == (rule.surrogate, rule.spec, rule.decay)


def test_shapes_that_do_not_fit_are_refused() -> None:
    numbers = [torch.tensor(0.5)] * 3
    with pytest.raises(InputError, match=r"currents have shape \(5, 2, 11\), mem \(2, 12\); pass \(T, B, \.\.\.\)"):
        torch.ops.qleaky.lif_sequence(torch.randn(SHAPE), torch.zeros(2, 12), *numbers, *operator.encode(Leaky(0.5).rule))


def test_a_rule_without_a_plan_is_refused() -> None:
    rule = Leaky(0.5, state_quant=FixedPoint(12, 5)).rule
    with pytest.raises(InputError, match="is a rule that it does not cover"):
        operator.lif_sequence(torch.randn(SHAPE), torch.zeros(SHAPE[1:]), *[torch.tensor(0.5)] * 3, *operator.encode(rule))


def test_a_nan_raises_in_a_compiled_network_too() -> None:
    torch._dynamo.reset()
    net = torch.compile(Net({"state_quant": FixedPoint(8, 5)}), fullgraph=True, backend="aot_eager")
    with pytest.raises(FormatError, match="A quantized membrane is NaN"), torch.no_grad():
        net(torch.full(SHAPE, float("nan")))
    with pytest.raises(FormatError):
        refuse_nan(torch.full((1,), float("nan")))


def test_what_has_no_plan_compiles_as_the_loop() -> None:
    torch._dynamo.reset()
    net, x, weights = Net({"spike_grad": surrogate.sigmoid(5)}), torch.randn(SHAPE), torch.randn(SHAPE)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(results(compiled, net, x, weights), results(net, net, x, weights), strict=True):
        assert torch.equal(ours, theirs)

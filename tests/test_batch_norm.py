"""``fold_batch_norm``: the folded network computes what the original does, reports its rounding, and refuses the rest."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import brevitas.nn as qnn
import pytest
import torch
import torch.nn.functional as F
from brevitas.quant import Int8ActPerTensorFixedPoint, Int8WeightPerChannelFloat, Int8WeightPerTensorFixedPoint
from torch import Tensor, nn

import qleaky
from qleaky.batch_norm import Fold, fold_batch_norm
from qleaky.errors import InputError


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def trained(net: nn.Module) -> Any:
    """A network whose BatchNorms have seen something, in evaluation mode."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.1, 2)
            if module.affine:
                module.weight.data.uniform_(-2, 2)
                module.bias.data.normal_()
    return net.eval()


def pair(layer: nn.Module, norm: nn.Module, *after: nn.Module) -> Any:
    return trained(nn.Sequential(layer, norm, *after))


FLOATS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "linear": (lambda: pair(nn.Linear(4, 3), nn.BatchNorm1d(3)), (5, 4)),
    "no bias": (lambda: pair(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3)), (5, 4)),
    "not affine": (lambda: pair(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False, eps=0.1)), (5, 4)),
    "conv1d": (lambda: pair(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), (5, 4, 8)),
    "conv2d": (lambda: pair(nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)), (5, 2, 8, 8)),
    "groups": (lambda: pair(nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.BatchNorm2d(8)), (5, 4, 8, 8)),
    "quantized linear": (lambda: pair(qnn.QuantLinear(4, 3, bias=True, weight_quant=None), nn.BatchNorm1d(3)), (5, 4)),
    "double": (lambda: pair(nn.Linear(4, 3), nn.BatchNorm1d(3)).double(), (5, 4)),
}


def sample(net: nn.Module, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, dtype=next(net.parameters()).dtype)


@pytest.mark.parametrize("by_flow", [False, True], ids=["by order", "by flow"])
@pytest.mark.parametrize("kind", FLOATS)
def test_a_float_network_computes_the_same_up_to_rounding(kind: str, by_flow: bool) -> None:
    build, shape = FLOATS[kind]
    net = build()
    x = sample(net, shape)
    folded: Any = fold_batch_norm(net, x if by_flow else None)
    assert isinstance(folded[1], nn.Identity)
    assert not folded[1].training
    torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)
    (fold,) = folded.batch_norm_folds
    largest = float(folded[0].weight.detach().abs().max())
    assert (fold.layer, fold.batch_norm, fold.step_before, fold.step_after) == ("0", "1", None, None)
    assert fold.weight_change <= largest * torch.finfo(folded[0].weight.dtype).eps


def test_numbers_are_rounded_once() -> None:
    net = pair(nn.Linear(4, 3), nn.BatchNorm1d(3))
    layer, norm = net[0].weight.double(), net[1].double()
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = (net[0].bias.double() - norm.running_mean) * scale + norm.bias
    folded: Any = fold_batch_norm(net)
    assert torch.equal(folded[0].weight, (layer * scale[:, None]).float())
    assert torch.equal(folded[0].bias, shift.float())


QUANTIZED: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "ours": (lambda: pair(qleaky.QuantLinear(4, 3), nn.BatchNorm1d(3)), (5, 4)),
    "ours without bias": (lambda: pair(qleaky.QuantLinear(4, 3, 4, bias=False), nn.BatchNorm1d(3)), (5, 4)),
    "brevitas conv1d": (
        lambda: pair(qnn.QuantConv1d(2, 6, 3, weight_quant=Int8WeightPerTensorFixedPoint), nn.BatchNorm1d(6)),
        (5, 2, 8),
    ),
    "brevitas conv2d": (
        lambda: pair(qnn.QuantConv2d(2, 6, 3, weight_quant=Int8WeightPerChannelFloat, bias=False), nn.BatchNorm2d(6)),
        (5, 2, 8, 8),
    ),
}


@pytest.mark.parametrize("by_flow", [False, True], ids=["by order", "by flow"])
@pytest.mark.parametrize("kind", QUANTIZED)
@torch.no_grad()
def test_a_quantized_layer_quantizes_the_folded_weights_on_its_grid(kind: str, by_flow: bool) -> None:
    build, shape = QUANTIZED[kind]
    net = build()
    x = torch.randn(shape)
    folded: Any = fold_batch_norm(net, x if by_flow else None)
    before, after = net[0].quant_weight(), folded[0].quant_weight()
    codes = (after.value / after.scale).round()
    assert torch.equal(codes * after.scale, after.value)
    assert codes.abs().max() < 2 ** (int(after.bit_width) - 1)
    (fold,) = folded.batch_norm_folds
    assert (fold.step_before, fold.step_after) == (float(before.scale.max()), float(after.scale.max()))
    scale = (net[1].weight / (net[1].running_var + net[1].eps).sqrt()).reshape(-1, *[1] * (before.value.ndim - 1))
    change = (after.value - scale * before.value).abs().max()
    assert fold.weight_change == pytest.approx(float(change), rel=1e-5, abs=1e-7)
    per_channel = scale.abs() * before.scale + after.scale
    assert fold.weight_change <= float(per_channel.max()) / 2 * 1.01
    difference = (folded(x) - net(x)).abs().max()
    inputs = float(x.abs().max()) * before.value[0].numel()
    assert difference <= fold.weight_change * inputs + fold.step_after


def test_the_folded_layer_is_the_one_that_quantizing_the_folded_weights_gives() -> None:
    net = pair(qleaky.QuantLinear(4, 3), nn.BatchNorm1d(3))
    folded: Any = fold_batch_norm(net)
    fresh = qleaky.QuantLinear(4, 3)
    fresh.load_state_dict({"weight": folded[0].weight, "bias": folded[0].bias}, strict=False)
    assert all(torch.equal(*both) for both in zip(fresh.quantized(), folded[0].quantized(), strict=True))  # type: ignore[arg-type]


class Spiking(nn.Module):
    """Layers registered in another order than they run in, over time steps."""

    def __init__(self, layer: Callable[..., nn.Module] = nn.Linear) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({"one": nn.BatchNorm1d(6), "two": nn.BatchNorm1d(3)})
        self.fc2, self.fc1 = layer(6, 3), layer(4, 6)
        self.lif1, self.lif2 = qleaky.Leaky(0.9, state_quant=qleaky.FixedPoint(8, 5)), qleaky.Leaky(0.8, init_hidden=True)
        self.keep = nn.Sequential(nn.Dropout(), nn.Identity())

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        mem, out = torch.zeros(x.shape[1], 6), []
        for current in x.unbind(0):
            spk, mem = self.lif1(self.norms["one"](self.keep(self.fc1(current * gain))), mem)
            out.append(self.lif2(self.norms["two"](self.fc2(spk))))
        return torch.stack(out)


@pytest.mark.parametrize("layer", [nn.Linear, qleaky.QuantLinear])
def test_data_flow_finds_pairs_over_time_through_dropout_in_any_order(layer: Callable[..., nn.Module]) -> None:
    net = trained(Spiking(layer))
    net.lif2(torch.full((2, 3), 0.5))
    membrane = net.lif2.mem.clone()
    folded: Any = fold_batch_norm(net, (torch.randn(5, 2, 4), 2.0))
    assert [(fold.layer, fold.batch_norm) for fold in folded.batch_norm_folds] == [("fc1", "norms.one"), ("fc2", "norms.two")]
    assert torch.equal(net.lif2.mem, membrane)
    x = torch.randn(9, 4)
    pairs = ((net.fc1, net.norms["one"], folded.fc1),) if layer is nn.Linear else ()
    for before, norm, after in pairs:
        torch.testing.assert_close(after(x), norm(before(x)), rtol=1e-5, atol=1e-5)


def test_a_folded_network_lowers() -> None:
    lif = qleaky.Leaky(0.5, state_quant=qleaky.FixedPoint(8, 5), init_hidden=True)
    folded = fold_batch_norm(pair(qleaky.QuantLinear(2, 3), nn.BatchNorm1d(3), lif))
    network = qleaky.lower(folded, torch.zeros(1, 2), num_steps=3, input_format=qleaky.QFormat(8, 4))
    assert isinstance(network, qleaky.IntegerNetwork)


def test_the_original_is_unchanged_and_the_copy_is_on_its_own() -> None:
    net = pair(qleaky.QuantLinear(4, 3, bias=False), nn.BatchNorm1d(3))
    before = copy.deepcopy(net.state_dict())
    net[0].weight.requires_grad_(False)
    folded: Any = fold_batch_norm(net, torch.randn(2, 4))
    folded[0].weight.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert isinstance(net[1], nn.BatchNorm1d)
    assert net[0].bias is None
    assert not folded[0].bias.requires_grad
    assert not hasattr(net, "batch_norm_folds")


def test_the_report_is_frozen_and_travels_with_the_network() -> None:
    folded = fold_batch_norm(pair(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    again = pickle.loads(pickle.dumps(folded))
    assert again.batch_norm_folds == folded.batch_norm_folds
    assert isinstance(again.batch_norm_folds[0], Fold)
    with pytest.raises(AttributeError):
        again.batch_norm_folds[0].layer = "other"


def test_folding_twice_is_refused_for_there_is_nothing_left() -> None:
    with pytest.raises(InputError, match="the network Sequential holds no BatchNorm; lower it as it is"):
        fold_batch_norm(fold_batch_norm(pair(nn.Linear(4, 3), nn.BatchNorm1d(3))))


# Refusals


class OwnForward(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) ** 2


class OwnNorm(nn.BatchNorm1d):
    def forward(self, input: Tensor) -> Tensor:
        return -super().forward(input)


def with_infinite_mean() -> Any:
    net = pair(nn.Linear(4, 3), nn.BatchNorm1d(3))
    net[1].running_mean[0] = torch.inf
    return net


def with_negative_variance() -> Any:
    net = pair(nn.Linear(4, 3), nn.BatchNorm1d(3))
    net[1].running_var[0] = -1
    return net


def with_hook() -> Any:
    net = pair(nn.Linear(4, 3), nn.BatchNorm1d(3))
    net[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    return net


def tied() -> Any:
    net = pair(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    return net


def twice(what: int) -> Any:
    layers = [nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU()]
    return trained(nn.Sequential(*layers, *(module if i == what else nn.ReLU() for i, module in enumerate(layers))))


weight_norm = nn.utils.parametrizations.weight_norm
OUTPUT = {"output_quant": Int8ActPerTensorFixedPoint, "bias": True}
NETWORKS: list[tuple[Callable[[], Any], tuple[int, ...], str]] = [
    (lambda: pair(nn.Linear(4, 3), nn.BatchNorm1d(3)).train(), (2, 4), r"it is in training mode.*call net\.eval\(\) first"),
    (
        lambda: pair(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)),
        (2, 4),
        "it keeps no running statistics.*train it with track_running_stats=True",
    ),
    (with_infinite_mean, (2, 4), "its statistics or parameters are not finite.*train it again"),
    (with_negative_variance, (2, 4), "or its variance is negative; train it again"),
    (
        lambda: pair(nn.Conv3d(1, 3, 1), nn.BatchNorm3d(3)),
        (2, 1, 2, 2, 2),
        "only BatchNorm1d and BatchNorm2d, with torch's own",
    ),
    (
        lambda: pair(nn.Linear(4, 3), OwnNorm(3)),
        (2, 4),
        "only BatchNorm1d and BatchNorm2d, with torch's own forward",
    ),
    (
        lambda: pair(OwnForward(4, 3), nn.BatchNorm1d(3)),
        (2, 4),
        "'0', a OwnForward, has a forward of its own.*use torch's layer",
    ),
    (
        lambda: pair(qnn.QuantLinear(4, 3, **OUTPUT), nn.BatchNorm1d(3)),
        (2, 4),
        "'0', a QuantLinear, quantizes its output before the BatchNorm; drop its output_quant",
    ),
    (lambda: pair(weight_norm(nn.Linear(4, 3)), nn.BatchNorm1d(3)), (2, 4), "computes its weight.*make it permanent first"),
    (with_hook, (2, 4), "'0', a Linear, has forward hooks, which may change what it computes; remove them first"),
    (tied, (2, 3), "'0.weight' and '2.weight' are one and the same; give each place its own"),
    (lambda: twice(0), (2, 3), "'0' and '3' are one and the same|the output of '0' is used by '4'"),
    (lambda: twice(1), (2, 3), "'1' and '4' are one and the same|not the very output"),
]


@pytest.mark.parametrize("by_flow", [False, True], ids=["by order", "by flow"])
@pytest.mark.parametrize(("build", "shape", "message"), NETWORKS)
def test_what_cannot_be_folded_is_refused(
    build: Callable[[], Any], shape: tuple[int, ...], message: str, by_flow: bool
) -> None:
    net = build()
    with pytest.raises(InputError, match=rf"(?s)1 of 1 cannot be folded:\n  '1', a \w+: .*({message})"):
        fold_batch_norm(net, torch.randn(shape) if by_flow else None)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.BatchNorm1d(3)], r"'0', a BatchNorm1d: nothing is registered before it; pass sample_input=\.\.\. to pair by data"),
        (
            [nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3)],
            "'1', a ReLU, is registered before it, not a Linear, Conv1d or Conv2d",
        ),
        ([nn.ConvTranspose2d(1, 3, 2), nn.BatchNorm2d(3)], "'0', a ConvTranspose2d, is registered before it, not a Linear"),
        ([nn.Linear(4, 5), nn.BatchNorm1d(3)], r"it has 3 features, '0', a Linear, has 5 outputs; pass sample_input=\.\.\."),
        (
            [nn.Linear(4, 3), nn.BatchNorm2d(3)],
            "'0', a Linear, before it has other dimensions; fold BatchNorm1d after Linear or",
        ),
        ([nn.Conv2d(4, 3, 1), nn.BatchNorm1d(3)], "'0', a Conv2d, before it has other dimensions; .* 2d after Conv2d"),
    ],
)
def test_order_pairs_a_batch_norm_with_the_layer_directly_before_it(layers: list[nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fold_batch_norm(trained(nn.Sequential(*layers)))


def test_a_batch_norm_alone_is_refused() -> None:
    for sample_input in (None, torch.randn(2, 3)):
        with pytest.raises(InputError, match=r"'', a BatchNorm1d: (nothing is registered before|its input is not the very)"):
            fold_batch_norm(trained(nn.BatchNorm1d(3)), sample_input)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"a list is no network; pass a torch\.nn\.Module"):
        fold_batch_norm([])  # type: ignore[arg-type]


def test_every_problem_is_listed() -> None:
    layers = [nn.BatchNorm1d(4), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.BatchNorm1d(3)]
    with pytest.raises(InputError, match=r"(?s)2 of 3 cannot be folded:\n  '0', .*\n  '4', a BatchNorm1d: '3', a ReLU"):
        fold_batch_norm(trained(nn.Sequential(*layers)))


class Flow(nn.Module):
    """A network that is one function of its parts."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.fc, self.bn = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.other, self.drop, self.relu = nn.Linear(4, 4), nn.Dropout(), nn.ReLU(inplace=True)
        self.lif = qleaky.Leaky(0.9)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def both(net: Any, x: Tensor) -> Any:
    y = net.fc(x)
    return net.bn(y), y


def beside(use: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    """fc, then bn, and another use of fc's output."""

    def function(net: Any, x: Tensor) -> Tensor:
        y = net.fc(x)
        use(net, y)
        out: Tensor = net.bn(net.drop(y))
        return out

    return function


def once_without(net: Any, x: Tensor) -> Any:
    net.fc(x)
    return net.bn(net.fc(x))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (beside(lambda net, y: net.other(y)), "the output of 'fc' is used by 'other'; let the BatchNorm alone use it"),
        (beside(lambda net, y: net.lif.sequence(y[None])), "the output of 'fc' is used by torch's __getitem__"),
        (beside(lambda net, y: net.lif(y)), "the output of 'fc' is used by 'lif'"),
        (beside(lambda net, y: y + 1), "the output of 'fc' is used by torch's add"),
        (beside(lambda net, y: torch.cat([y, y])), "the output of 'fc' is used by torch's cat"),
        (beside(lambda net, y: F.relu(y)), "the output of 'fc' is used by torch's relu"),
        (beside(lambda net, y: net.bn(y)), "the output of 'fc' is used by no BatchNorm, or by this one twice"),
        (both, "the output of 'fc' is used by the network's output"),
        (once_without, "the output of 'fc' is used by no BatchNorm, or by this one twice"),
        (beside(lambda net, y: net.relu(y)), "the output of 'fc' is changed in place; put it directly after the layer"),
        (beside(lambda net, y: y.mul_(2)), "the output of 'fc' is changed in place"),
        (lambda net, x: net.bn(F.relu(net.fc(x))), "its input is not the very output of a Linear, Conv1d or Conv2d; put it"),
        (lambda net, x: net.bn(net.fc(x).view(-1, 4)), "its input is not the very output"),
        (lambda net, x: net.bn(x), "its input is not the very output"),
        (
            lambda net, x: net.bn(net.fc(x)) + net.bn(net.other(x)),
            "it normalises 'fc' and 'other'; give each its own BatchNorm",
        ),
        (lambda net, x: net.fc(x), "the run on sample_input does not reach it; pass an input that does"),
    ],
)
def test_data_flow_sees_other_uses(function: Callable[[Any, Tensor], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fold_batch_norm(trained(Flow(function)), torch.randn(2, 4))


@pytest.mark.parametrize(
    "function",
    [
        beside(lambda net, y: y.shape),
        lambda net, x: net.bn(input=net.drop(net.fc(x))),
        lambda net, x: net.bn(net.fc(x)) + net.bn(net.fc(-x)),
        lambda net, x: F.relu_(net.bn(net.fc(x))),
    ],
    ids=["shape", "keyword", "two calls", "in place after it"],
)
def test_what_data_flow_allows_computes_the_same(function: Callable[[Any, Tensor], Any]) -> None:
    net, x = trained(Flow(function)), torch.randn(5, 4)
    torch.testing.assert_close(fold_batch_norm(net, x)(x), net(x), rtol=1e-5, atol=1e-5)


def test_a_batch_norm_over_positions_after_a_linear_is_refused() -> None:
    net = pair(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with pytest.raises(InputError, match=r"it normalises dim 1 of \(2, 3, 3\), not the output channels of '0'; .* give 2 dim"):
        fold_batch_norm(net, torch.randn(2, 3, 4))

"""Layers between Leaky layers: linear ones, convolutions and pools, those of torch and of Brevitas, and functions."""

from typing import Any

import brevitas.nn as qnn
import pytest
import torch
import torch.nn.functional as F
from brevitas.quant import Int8WeightPerTensorFixedPoint
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from written import HIDDEN, INPUT, B, T, Written, compared, layers_of, lif, on_grid, refusal, sequence, step, steps

from qleaky import FloatNetwork, QFormat, QuantLinear, lower

C, H, W, L = 2, 4, 6, 8


def quant_conv(*arguments: Any, **settings: Any) -> nn.Module:
    return qnn.QuantConv2d(*arguments, bias=False, weight_quant=Int8WeightPerTensorFixedPoint, **settings)  # type: ignore[no-any-return]


class Sliding(nn.Module):
    """(T, B, C, ...) -> time and batch merged, a layer that takes (B, C, ...), and split again."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.lif = layer, lif()

    def forward(self, x: Tensor) -> Any:
        return self.lif.sequence(self.layer(x.flatten(0, 1)).unflatten(0, (len(x), -1)))


class SlidingStep(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.lif = layer, lif(init_hidden=True)

    def forward(self, x: Tensor) -> Any:
        return self.lif(self.layer(x))


LAYERS_2D = {
    "plain": lambda: on_grid(nn.Conv2d(C, 3, 3)),
    "stride and padding": lambda: on_grid(nn.Conv2d(C, 3, 3, stride=(2, 1), padding=(1, 2), bias=False)),
    "same": lambda: on_grid(nn.Conv2d(C, 3, (2, 3), padding="same")),
    "valid": lambda: on_grid(nn.Conv2d(C, 3, 2, padding="valid")),
    "dilation": lambda: on_grid(nn.Conv2d(C, 3, 2, dilation=(1, 2), padding="same")),
    "groups": lambda: on_grid(nn.Conv2d(C, 4, 3, groups=2, padding=1)),
    "depthwise": lambda: on_grid(nn.Conv2d(C, C, 3, groups=C)),
    "padding before": lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), on_grid(nn.Conv2d(C, 3, 2, padding=1))),
    "padding twice": lambda: nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d((0, 1, 0, 0)), on_grid(nn.Conv2d(C, 3, 2))),
    "Brevitas": lambda: quant_conv(C, 3, 3, padding=1, stride=2),
    "Brevitas, same": lambda: quant_conv(C, 3, 2, padding="same"),
    "average": lambda: nn.AvgPool2d(2),
    "average with padding": lambda: nn.AvgPool2d(2, stride=1, padding=1),
    "average with a divisor": lambda: nn.AvgPool2d(3, divisor_override=8),
    "average of padded": lambda: nn.Sequential(nn.ZeroPad2d((1, 1, 0, 0)), nn.AvgPool2d((4, 2))),
    "largest": lambda: nn.MaxPool2d(2),
    "largest with padding": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "largest up to the border": lambda: nn.MaxPool2d((3, 4), ceil_mode=True),
    "largest with dilation": lambda: nn.MaxPool2d(2, stride=1, dilation=(1, 3)),
    "adaptive average": lambda: nn.AdaptiveAvgPool2d((2, 3)),
    "adaptive average of one axis": lambda: nn.AdaptiveAvgPool2d((1, None)),
    "adaptive largest": lambda: nn.AdaptiveMaxPool2d(1),
    "several": lambda: nn.Sequential(
        on_grid(nn.Conv2d(C, 3, 3, padding=1)), nn.MaxPool2d(2), nn.Dropout2d(), nn.Flatten(), on_grid(nn.Linear(18, 4))
    ),
}
LAYERS_1D = {
    "plain": lambda: on_grid(nn.Conv1d(C, 3, 3)),
    "everything": lambda: on_grid(nn.Conv1d(C, 4, 3, stride=2, padding=2, dilation=2, groups=2)),
    "same": lambda: on_grid(nn.Conv1d(C, 3, 4, padding="same")),
    "padding before": lambda: nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), on_grid(nn.Conv1d(C, 3, 3))),
    "average": lambda: nn.AvgPool1d(4, 2),
    "largest": lambda: nn.MaxPool1d(3, ceil_mode=True, padding=1),
    "adaptive average": lambda: nn.AdaptiveAvgPool1d(4),
}


@pytest.mark.parametrize("name", LAYERS_2D)
def test_windows_over_images(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS_2D[name]()
    whole = compared(Sliding(layer), torch.zeros(T, B, C, H, W))
    one = compared(SlidingStep(layer), torch.zeros(B, C, H, W), steps, num_steps=T)
    assert whole.digest == one.digest


@pytest.mark.parametrize("name", LAYERS_1D)
def test_windows_over_signals(name: str) -> None:
    torch.manual_seed(0)
    compared(Sliding(LAYERS_1D[name]()), torch.zeros(T, B, C, L))


def function_2d(layers: Any, x: Tensor) -> Any:
    y = F.conv2d(x, layers.kernel, stride=2, padding=1)
    y = F.avg_pool2d(input=F.max_pool2d(y, 2, 1), kernel_size=2, stride=1)
    return layers.lif1(F.adaptive_avg_pool2d(y, 1).flatten(1))


def test_functions_with_parameters_of_the_users_own() -> None:
    net = Written(function_2d, hidden=True, kernel=nn.Parameter(torch.randint(-4, 5, (3, C, 3, 3)) / 2.0))
    compared(net, torch.zeros(B, C, 6, 6), steps, num_steps=T)


@pytest.mark.parametrize(
    "function",
    [
        lambda layers, x: layers.lif1(F.linear(x, layers.weight, layers.offset)),
        lambda layers, x: layers.lif1(F.linear(input=x, weight=layers.weight, bias=layers.offset)),
        lambda layers, x: layers.lif1(x @ layers.weight.t() + layers.offset),
        lambda layers, x: layers.lif1(torch.matmul(x, layers.weight.T).add(layers.offset)),
        lambda layers, x: layers.lif1(torch.mm(x, layers.weight.T) + layers.offset),
        lambda layers, x: layers.lif1(F.linear(x, layers.weight * layers.mask, layers.offset)),
    ],
)
def test_products_with_constant_matrices(function: Any) -> None:
    torch.manual_seed(0)
    weight, offset = torch.randint(-8, 9, (HIDDEN, INPUT)) / 4.0, torch.randint(-2, 3, (HIDDEN,)) / 8.0
    net = Written(function, hidden=True, weight=nn.Parameter(weight), offset=nn.Parameter(offset))
    net.register_buffer("mask", torch.ones(HIDDEN, 1))
    compared(net, step(), steps, num_steps=T)


def test_a_layer_that_is_used_twice() -> None:
    def forward(layers: Any, x: Tensor) -> Any:
        return layers.lif1(layers.fc1(x) + layers.inner(layers.inner(layers.lif2(layers.fc1(x)))))

    network = compared(Written(forward, hidden=True, inner=on_grid(nn.Linear(HIDDEN, HIDDEN))), step(), steps, num_steps=T)
    assert [name for name, _ in layers_of(network)].count("fc1") == 1
    assert [name for name, _ in layers_of(network) if name.startswith("inner")] == ["inner", "inner_2"]


def test_pruned_and_parametrized_weights() -> None:
    class Rounded(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return torch.round(weight * 16) / 8

    net = Written(lambda layers, x: layers.lif1(layers.second(layers.first(x))), hidden=True)
    net.first, net.second = on_grid(nn.Linear(INPUT, HIDDEN)), nn.Linear(HIDDEN, HIDDEN, bias=False)
    prune.l1_unstructured(net.first, "weight", 0.5)
    parametrize.register_parametrization(net.second, "weight", Rounded())
    pruned = lower(net, step(), num_steps=T, input_format=QFormat(6, 2))  # its weight hangs on a graph and cannot be copied
    prune.remove(net.first, "weight")
    network = compared(net, step(), steps, num_steps=T)
    assert network.digest == pruned.digest
    assert (network.layers[0].weight == 0).mean() == 0.5


def test_layers_of_brevitas_in_loops_and_sequences() -> None:
    def loop(layers: Any, x: Tensor) -> Any:
        mem, spikes = None, []
        for now in x:
            spk, mem = layers.lif1(layers.quantized(now), mem)
            spikes.append(spk)
        return torch.stack(spikes)

    torch.manual_seed(0)
    quantized = qnn.QuantLinear(INPUT, HIDDEN, bias=False, weight_quant=Int8WeightPerTensorFixedPoint)
    looped = compared(Written(loop, quantized=quantized), sequence())
    whole = compared(Written(lambda layers, x: layers.lif1.sequence(layers.quantized(x)), quantized=quantized), sequence())
    assert looped.digest == whole.digest


def test_weights_quantized_once_are_quantized_anew_when_they_change() -> None:
    net = Written(lambda layers, x: layers.lif1(layers.fc1(x)), hidden=True)
    first = compared(net, step(), steps, num_steps=T)
    with torch.no_grad():
        net.fc1.weight.mul_(-1)
    assert compared(net, step(), steps, num_steps=T).digest != first.digest


def test_an_average_over_nine_numbers_is_measured_and_says_why() -> None:
    network = lower(Sliding(nn.AvgPool2d(3)), torch.zeros(T, B, C, 3, 6), input_format=QFormat(6, 2))
    assert isinstance(network, FloatNetwork)
    assert network.reasons == (
        "layer 'layer': the average over 9 numbers leaves the grid; use windows of 2, 4, 8 or 16 numbers, or "
        "divisor_override with "
        "a power of two.",
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            nn.Conv2d(C, 3, 3, padding=1, padding_mode="circular"),
            "padding with mode='circular', value=None has no integer form",
        ),
        (nn.ConstantPad2d(1, 1.0), "padding with mode='constant', value=1.0 has no integer form; pad with zeros"),
        (nn.ZeroPad2d(1), "zero padding stands before no convolution or average pool; use their own padding"),
        (nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2)), "max pooling of zero-padded data; use the pool's own padding"),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), "count_include_pad=False divides by varying counts; use True"),
        (nn.AvgPool2d((3, 4), ceil_mode=True), "ceil_mode=True divides by varying counts at the border; use False"),
        (nn.AdaptiveAvgPool2d((3, 3)), r"from (4, 6) to (3, 3) has windows of varying size; use a size that divides"),
        (nn.Upsample(scale_factor=2), "interpolate cannot be exported; use Conv2d or pools"),
        (nn.ConvTranspose2d(C, C, 2), "conv_transpose2d cannot be exported; use Conv2d"),
        (nn.BatchNorm2d(C), "batch_norm cannot be exported; fold it into the layer before it with qleaky.fold_batch_norm(net)"),
        (nn.GroupNorm(1, C), "group_norm cannot be exported; it has no integer form; train with BatchNorm and fold it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_windows_without_an_integer_form(layer: nn.Module, message: str) -> None:
    found = refusal(Sliding(layer), torch.zeros(T, B, C, H, W))
    assert message in found
    assert "layer 'layer" in found


def test_a_pool_over_unmerged_sequences_says_how_to_merge_them() -> None:
    class Unmerged(Sliding):
        def forward(self, x: Tensor) -> Any:
            return self.lif.sequence(self.layer(x))

    message = refusal(Unmerged(nn.AvgPool2d(2)), torch.zeros(T, B, H, W))
    assert "merge time and batch with x.flatten(0, 1) before it, and split them again behind it" in message


def test_quantizers_inside_of_brevitas_layers_are_not_passed_over() -> None:
    net = Written(lambda layers, x: layers.lif1(layers.inner(layers.fc1(x))), hidden=True, inner=QuantLinear(HIDDEN, HIDDEN))
    net.inner = qnn.QuantIdentity()
    assert "a quantizer on what 'fc1' computes; only the inputs and the states may be quantized" in refusal(
        net, step(), num_steps=T
    )

"""Feed-forward networks compute what their layers, called one after the other by hand, compute, and lower to integers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import qleaky
from qleaky import IntegerNetwork, Leaky, QFormat
from qleaky.errors import InputError, LoweringError
from qleaky.models import FeedForward, LIFSettings

IMAGE = {"input_shape": (1, 12, 12), "weight_bits": None}


def by_hand(net: FeedForward, x: Tensor) -> tuple[Tensor, Tensor]:
    """Step by step, each layer on (B, ...), membranes threaded."""
    steps = x if net.num_steps is None else [x] * net.num_steps
    membranes: dict[str, Tensor] = {}
    emitted = []
    for spikes in steps:
        for name, module in net.named_children():
            if isinstance(module, Leaky):
                spikes, membranes[name] = module(spikes, membranes.get(name, torch.zeros_like(spikes)))
            else:
                spikes = module(spikes)
        emitted.append((spikes, membranes[name]))
    return torch.stack([spk for spk, _ in emitted]), torch.stack([mem for _, mem in emitted])


def on_grid(net: nn.Module) -> nn.Module:
    """Weights in quarters, so that every order of summation gives the same floats."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((parameter * 8).round() / 4)
    return net


@pytest.mark.parametrize(
    ("layers", "options", "shape"),
    [
        ([6, 5, 3], {}, (4, 2, 6)),
        ([6, 5, 3], {"num_steps": 4}, (2, 6)),
        ([5, 3], {"num_steps": 4, "input_shape": (1, 2, 3)}, (2, 1, 2, 3)),
        (["3C3", "AP2", "4C2", "AP2", 3], IMAGE | {"num_steps": 4}, (2, 1, 12, 12)),
        (["3C3", "MP5", 7, 3], IMAGE, (4, 2, 1, 12, 12)),
        (["AP2", "2C2", 3], IMAGE | {"num_steps": 4}, (2, 1, 12, 12)),
        (["2C3", "AP2", "AP2", 3], {"input_shape": (2, 10), "weight_bits": None}, (4, 2, 2, 10)),
    ],
)
def test_every_layer_acts_in_its_turn(layers: list[Any], options: dict[str, Any], shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    net = on_grid(FeedForward(layers, lif=LIFSettings(beta=0.5, threshold=0.125), **options))
    assert isinstance(net, FeedForward)
    x = torch.randint(0, 9, shape) / 4
    spikes, membranes = net(x)
    expected_spikes, expected_membranes = by_hand(net, x)
    assert torch.equal(spikes, expected_spikes)
    assert torch.equal(membranes, expected_membranes)
    assert spikes.shape == (4, 2, 3)
    assert 0 < spikes.mean() < 1


def test_sizes_follow_from_the_input_and_the_layers_before() -> None:
    net = FeedForward(["16C5", "AP2", "64C5", "AP2", 10], None, input_shape=(1, 28, 28), num_steps=10)
    shapes = {name: tuple(parameter.shape) for name, parameter in net.named_parameters() if name.endswith("weight")}
    assert shapes == {"conv1.weight": (16, 1, 5, 5), "conv2.weight": (64, 16, 5, 5), "fc3.weight": (10, 1024)}


@pytest.mark.parametrize(
    ("layers", "options", "names"),
    [
        ((5, 4), {"num_steps": 6, "input_shape": (1, 2, 3)}, ["flatten", "fc1", "lif1", "fc2", "lif2"]),
        ((6, 5, 4), {"num_steps": 6}, ["fc1", "lif1", "fc2", "lif2"]),
        ((6, 5, 4), {}, ["fc1", "lif1", "fc2", "lif2"]),
    ],
)
def test_a_quantized_network_is_proved(
    layers: tuple[int, ...], options: dict[str, Any], names: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = FeedForward(layers, **options)
    shape = (2, *net.input_shape) if net.num_steps else (6, 2, *net.input_shape)
    fmt = QFormat(5, 4, signed=False)
    network = qleaky.lower(net, torch.zeros(shape), input_format=fmt, readout="spike_count:argmax")
    assert isinstance(network, IntegerNetwork)
    assert network.num_steps == 6
    assert network.input.time == ("static" if net.num_steps else "sequence")
    assert [layer.name for layer in network.layers] == names
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    report = qleaky.verify(tmp_path / "net.onnx", network, module=net)
    assert (report.verdict, report.mismatches) == ("proved", 0)


def test_a_convolutional_network_on_a_grid_is_proved(tmp_path: Path) -> None:
    """Its layers exchanged by name, as quantizing does it; 2 x 2 windows of spikes are exact."""
    torch.manual_seed(0)
    net = on_grid(FeedForward(["3C3", "AP2", "4C2", "AP2", 3], num_steps=5, **IMAGE))
    for name in ("lif1", "lif2", "lif3"):
        setattr(net, name, Leaky(230 / 256, state_quant=qleaky.FixedPoint(8, 4), decay=qleaky.MulShift(n=8)))
    assert [name for name, _ in net.named_children()][:3] == ["conv1", "pool1", "lif1"]
    network = qleaky.lower(net, torch.zeros(2, 1, 12, 12), input_format=QFormat(8, 8, signed=False), readout="spike_count")
    assert isinstance(network, IntegerNetwork)
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    report = qleaky.verify(tmp_path / "net.onnx", network, module=net)
    assert (report.verdict, report.mismatches) == ("proved", 0)


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ([10], {}, r"layers=\[10\]: without an input shape the first one is the size of the input; pass the sizes"),
        (["4C3", 10], {}, r"layers=\['4C3', 10\]: without an input shape"),
        ([10], {"input_shape": (1, 2, 3, 4)}, r"input shape \[1, 2, 3, 4\]: it is \(N,\), \(C, L\) or \(C, H, W\)"),
        ([10], {"input_shape": (0,)}, r"input shape \[0\]: it is"),
        (["4C3"], IMAGE, r"layers=\['4C3'\]: the last one is dense, with a neuron for each class"),
        ([], IMAGE, r"layers=\[\]: the last one is dense"),
        (["4X3", 10], IMAGE, "layer '4X3' of .*: a layer is a number of neurons, "),
        ([True, 10], IMAGE, "layer True of .*: a layer is a number of neurons, "),
        (
            [5, "4C3", 10],
            IMAGE,
            r"layer '4C3' of .*: it needs \(C, L\) or \(C, H, W\), but gets \(5,\)\. Put it before the dense",
        ),
        ([5, "AP2", 10], IMAGE, "layer 'AP2' of .*: it needs"),
        (["4C13", 10], IMAGE, r"layer '4C13' of .*: its kernel 13 is larger than what it gets, \(1, 12, 12\)"),
        (["4C3", "AP4", 10], IMAGE, r"layer 'AP4' of .*: windows of 4 do not divide what it gets, \(4, 10, 10\)"),
        (
            ["4C3", 10],
            IMAGE | {"weight_bits": 8},
            "weight_bits=8 with a convolution; pass weight_bits=None, train, and quantize",
        ),
        ([3, 4], {"num_steps": 0}, "num_steps=0; a static input is shown for at least one step"),
    ],
)
def test_layers_that_do_not_follow_each_other(layers: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FeedForward(layers, **options)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (4, 2, 5), r"takes \(T, B, \.\.\.\) with '\.\.\.' = \(6,\); the input has shape \(4, 2, 5\)"),
        ({}, (2, 6), r"takes \(T, B, \.\.\.\) with"),
        ({"num_steps": 4}, (4, 2, 6), r"takes \(B, \.\.\.\) with '\.\.\.' = \(6,\); the input has shape \(4, 2, 6\)"),
    ],
)
def test_an_input_of_another_shape(options: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    net = FeedForward([6, 3], **options)
    with pytest.raises(InputError, match=message):
        net(torch.zeros(shape))
    with pytest.raises(LoweringError, match=message):
        qleaky.lower(net, torch.zeros(shape), input_format="spikes")

"""Scales follow the weights in training: rarely, whatever the number of calls, and not at all once they are frozen."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import qleaky
from qleaky import FixedPoint, Leaky, QuantConv1d, QuantConv2d, QuantLinear, fold_batch_norm
from qleaky.errors import FormatError, InputError
from qleaky.layers import freeze_scales

WIDTHS: list[Any] = [8, 4, 2, "ternary", "binary"]
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda **s: QuantLinear(6, 4, **s), (3, 6)),
    "conv1d": (lambda **s: QuantConv1d(2, 4, 3, padding=1, **s), (3, 2, 5)),
    "conv2d": (lambda **s: QuantConv2d(2, 4, 3, stride=2, groups=2, **s), (3, 2, 7, 7)),
}


def scaled_by(layer: Any, factor: float) -> None:
    with torch.no_grad():
        layer.weight *= factor


def exponents(layer: Any, calls: int = 1) -> Tensor:
    """The exponents after some calls in training mode."""
    for _ in range(calls):
        layer.train()(torch.zeros(1, layer.in_features))
    found: Tensor = layer.weight_exponent.clone()
    return found


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weight_bits", WIDTHS)
def test_the_same_weights_have_the_same_exponents_however_many_calls(weight_bits: Any, per_channel: bool) -> None:
    torch.manual_seed(0)
    layer = QuantLinear(32, 8, weight_bits, per_channel=per_channel)
    for _ in range(60):
        with torch.no_grad():
            layer.weight.mul_(torch.empty(8, 1).uniform_(0.7, 1.4)).add_(0.02 * torch.randn(8, 32))
        assert torch.equal(exponents(layer), exponents(layer, calls=5))


@pytest.mark.parametrize("weight_bits", WIDTHS)
def test_a_scale_that_rises_and_falls_by_a_little_changes_at_most_once(weight_bits: Any) -> None:
    torch.manual_seed(1)
    start = nn.Linear(64, 16)
    for position in torch.linspace(0, 1, 33)[:-1]:
        layer = QuantLinear.from_float(start, weight_bits=weight_bits)
        scaled_by(layer, 2.0 ** float(position))
        seen = [int(exponents(layer))]
        for _ in range(4):
            scaled_by(layer, 1.06)
            seen.append(int(exponents(layer)))
            scaled_by(layer, 1 / 1.06)
            seen.append(int(exponents(layer)))
        assert sum(a != b for a, b in itertools.pairwise(seen)) <= 1


@pytest.mark.parametrize("weight_bits", WIDTHS)
def test_weights_that_grow_or_shrink_take_the_scale_along(weight_bits: Any) -> None:
    torch.manual_seed(2)
    layer = QuantLinear(64, 16, weight_bits)
    first = int(exponents(layer))
    scaled_by(layer, 16)
    assert int(exponents(layer)) == first + 4
    scaled_by(layer, 2.0**-10)
    assert first - 6 <= int(exponents(layer)) <= first - 5  # the coarsest that is best within the margin


def test_scales_stay_in_evaluation() -> None:
    layer = QuantLinear(64, 16, 4)
    first = exponents(layer)
    scaled_by(layer, 16)
    layer.eval()(torch.zeros(1, 64))
    assert torch.equal(layer.weight_exponent, first)
    assert torch.equal(exponents(layer), first + 4)


def test_frozen_scales_stay_in_training_and_in_a_run_that_is_resumed() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(QuantLinear(8, 4, 4), nn.Sequential(QuantLinear(4, 2, 4, per_channel=True)))
    freeze_scales(net)
    resumed = nn.Sequential(QuantLinear(8, 4, 4), nn.Sequential(QuantLinear(4, 2, 4, per_channel=True)))
    resumed.load_state_dict(net.state_dict())
    for each in (net, resumed):
        before = [layer.weight_exponent.clone() for layer in (each[0], each[1][0])]
        for layer in (each[0], each[1][0]):
            scaled_by(layer, 64)
        each.train()(torch.zeros(1, 8))
        assert all(torch.equal(layer.weight_exponent, b) for layer, b in zip((each[0], each[1][0]), before, strict=True))


def test_a_network_without_quantized_layers_has_no_scales_to_freeze() -> None:
    with pytest.raises(InputError, match=r"freeze_scales: Linear holds no quantized layer; use qleaky.QuantLinear"):
        freeze_scales(nn.Linear(2, 2))


@pytest.mark.parametrize("weight_bits", WIDTHS)
@pytest.mark.parametrize("kind", LAYERS)
def test_copies_pickles_and_checkpoints_compute_the_same(kind: str, weight_bits: Any, tmp_path: Path) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(4)
    layer = make(weight_bits=weight_bits, per_channel=True, accumulator_bits=14)
    x = torch.rand(3, *shape[1:])
    expected = layer(x)
    scaled_by(layer, 1.1)  # the exponents remember
    expected = layer(x)
    save_file(layer.state_dict(), tmp_path / "weights.safetensors")
    loaded = make(weight_bits=weight_bits, per_channel=True, accumulator_bits=14)
    loaded.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded, copy.deepcopy(loaded)):
        assert torch.equal(other(x), expected)
        assert torch.equal(other.weight_exponent, layer.weight_exponent)
        assert torch.equal(other.quant_weight().value, layer.quantized()[0])
        assert repr(other) == repr(layer)


def test_averaged_weights_have_the_scale_that_fits_them_once_it_is_chosen_anew() -> None:
    """torch would average buffers as integers and round the exponents towards zero, so they are left out of the average."""
    torch.manual_seed(4)
    layer = QuantLinear(6, 4, 8)
    layer(torch.ones(1, 6))
    average = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    for _ in range(8):
        scaled_by(layer, 2)
        average.update_parameters(layer)
    fresh = QuantLinear(6, 4, 8)
    fresh.load_state_dict({name: average.module.state_dict()[name] for name in ("weight", "bias")})
    average.module.rescale()
    assert torch.equal(average.module.eval().quantized()[0], fresh.eval().quantized()[0])


def test_a_copy_that_loads_weights_is_a_layer_of_its_own() -> None:
    layer = QuantLinear(6, 4, 4)
    twin = copy.deepcopy(layer)
    scaled_by(layer, 8)
    twin.load_state_dict(layer.state_dict())
    scaled_by(layer, 8)
    assert torch.equal(twin.quant_weight().value, twin.quantized()[0])
    assert torch.equal(8 * twin.weight_step(), layer.weight_step())


def test_a_checkpoint_of_a_float_layer_loads() -> None:
    torch.manual_seed(5)
    start = nn.Linear(6, 4)
    layer = QuantLinear(6, 4, 4)
    exponents(layer)
    layer.load_state_dict({name: 32 * tensor for name, tensor in start.state_dict().items()})
    scaled = copy.deepcopy(start)
    scaled_by(scaled, 32)
    assert torch.equal(layer.eval().quantized()[0], QuantLinear.from_float(scaled, weight_bits=4).quantized()[0])


@pytest.mark.parametrize("kind", LAYERS)
def test_a_float_layer_is_taken_over(kind: str) -> None:
    floats: dict[str, Any] = {
        "linear": nn.Linear(6, 4),
        "conv1d": nn.Conv1d(2, 4, 3, padding=1, bias=False),
        "conv2d": nn.Conv2d(2, 4, 3, stride=2, groups=2, dilation=1),
    }
    quantized: dict[str, Any] = {"linear": QuantLinear, "conv1d": QuantConv1d, "conv2d": QuantConv2d}
    start = floats[kind].double().eval()
    start.weight.requires_grad_(False)
    layer = quantized[kind].from_float(start, weight_bits=8, per_channel=True)
    x = torch.rand(LAYERS[kind][1], dtype=torch.float64)
    assert torch.equal(layer.weight, start.weight)
    assert layer.weight is not start.weight
    assert not layer.weight.requires_grad
    assert not layer.training
    assert (layer.bias is None) == (start.bias is None)
    assert (layer(x) - start(x)).abs().max() < 0.05


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    layer = QuantLinear(3, 2)
    with torch.no_grad():
        layer.weight[1, 2] = value
    with pytest.raises(FormatError, match=rf"QuantLinear of shape \(2, 3\): its weight holds {value} at \[1, 2\]; look for a"):
        layer(torch.zeros(1, 3))


def test_folding_a_batch_norm_chooses_the_scales_anew() -> None:
    torch.manual_seed(6)
    norm = nn.BatchNorm1d(4)
    with torch.no_grad():
        norm.weight.fill_(40.0)
    net = nn.Sequential(QuantLinear(6, 4, 4), norm)
    exponents(net[0])
    folded: Any = fold_batch_norm(net.eval())
    fresh = nn.Linear(6, 4)
    with torch.no_grad():
        fresh.weight.copy_(folded[0].weight)
    assert torch.equal(folded[0].quantized()[0], QuantLinear.from_float(fresh, weight_bits=4).quantized()[0])


def test_weights_set_by_hand_after_training_are_scaled_anew_on_request() -> None:
    layer = QuantLinear(6, 4, 4)
    first = exponents(layer)
    scaled_by(layer, 8)
    layer.rescale()
    assert torch.equal(layer.weight_exponent, first + 3)


def test_two_processes_that_share_weights_share_exponents() -> None:
    """What a resumed or distributed run needs: nothing but weights and buffers decides."""
    torch.manual_seed(7)
    first, second = QuantLinear(16, 8, 3, per_channel=True), QuantLinear(16, 8, 3, per_channel=True)
    exponents(first, calls=7)
    for _ in range(10):
        second.load_state_dict(first.state_dict())
        for layer, calls in ((first, 3), (second, 1)):
            with torch.no_grad():
                layer.weight.mul_(1.17)
            exponents(layer, calls)
        assert torch.equal(first.weight_exponent, second.weight_exponent)


def test_it_trains_under_autocast() -> None:
    net = nn.Sequential(QuantLinear(8, 4, 4), Leaky(0.5, state_quant=FixedPoint(8, 5), init_hidden=True))
    with torch.autocast("cpu", torch.bfloat16):
        current = net[0](torch.ones(2, 8))
    assert current.dtype == torch.bfloat16
    weight, _ = net[0].quantized()
    assert torch.equal(weight, weight.bfloat16().float())
    current.sum().backward()
    assert net[0].weight.grad.dtype == torch.float32


def test_the_names_are_public() -> None:
    assert {"QuantLinear", "QuantConv1d", "QuantConv2d"} <= set(dir(qleaky))


def test_weights_written_behind_torchs_back_are_seen() -> None:
    layer = QuantLinear(64, 16, 4)
    first = exponents(layer)
    layer.weight.data.mul_(16)
    assert torch.equal(exponents(layer), first + 4)

"""Surrogate gradients: a strict Heaviside step forward, and backward the bits of snntorch."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import snntorch.surrogate as theirs
import torch
from torch import Tensor, nn

import qleaky
from qleaky import surrogate
from qleaky.errors import InputError
from qleaky.surrogate import Surrogate

FAMILY: list[tuple[str, dict[str, float]]] = [
    ("atan", {}),
    ("atan", {"alpha": 1.5}),
    ("fast_sigmoid", {}),
    ("fast_sigmoid", {"slope": 10.3}),
    ("sigmoid", {}),
    ("sigmoid", {"slope": 5}),
    ("straight_through_estimator", {}),
    ("triangular", {}),
    ("triangular", {"threshold": 0.3}),
    ("spike_rate_escape", {}),
    ("spike_rate_escape", {"beta": 2.5, "slope": 3}),
    ("SFS", {}),
    ("SFS", {"slope": 5, "B": 0.1}),
    ("SSO", {}),
    ("SSO", {"mean": 0.1, "variance": 0.5}),
    ("heaviside", {}),
]
EDGES = [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e30, -1e30, math.inf, -math.inf, math.nan]
whole_family = pytest.mark.parametrize(("name", "settings"), FAMILY)
every_surrogate = pytest.mark.parametrize("name", sorted({name for name, _ in FAMILY} | {"LSO"}))


def inputs() -> tuple[Tensor, Tensor]:
    """Numbers around zero, far away, and special ones; and a gradient for each."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(500, generator=generator) * scale for scale in (0.01, 1.0, 100.0)] + [torch.tensor(EDGES)])
    return x, torch.randn(len(x), generator=generator)


def fire(spike: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Spikes and gradients on the inputs, with torch's random numbers seeded."""
    x, grad = inputs()
    torch.manual_seed(1)
    spikes = spike(x.requires_grad_())
    spikes.backward(grad)
    assert x.grad is not None
    return spikes.detach(), x.grad


def assert_same_bits(a: Tensor, b: Tensor) -> None:
    assert a.dtype == b.dtype
    same = (a.view(torch.int32) == b.view(torch.int32)) | (a.isnan() & b.isnan())
    assert same.all(), (a[~same], b[~same])


@whole_family
def test_spikes_and_gradients_are_those_of_snntorch(name: str, settings: dict[str, float]) -> None:
    ours, reference = (fire(getattr(module, name)(**settings)) for module in (surrogate, theirs))
    assert_same_bits(ours[0], reference[0])
    assert_same_bits(ours[1], reference[1])


@pytest.mark.parametrize("slope", [0.1, 0.25])
def test_lso_has_the_gradient_that_snntorch_documents(slope: float) -> None:
    spikes, gradient = fire(surrogate.LSO(slope))
    assert_same_bits(gradient, torch.where(spikes == 1, inputs()[1], inputs()[1] * slope))


@pytest.mark.filterwarnings("ignore")
def test_lso_of_snntorch_raises() -> None:
    with pytest.raises(TypeError):
        theirs.LSO()(torch.zeros(1))


@every_surrogate
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_neuron_fires_strictly_above_zero_in_the_dtype_of_its_input(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, 2.0**-14, 1.0, math.inf, math.nan], dtype=dtype, requires_grad=True)
    spikes = getattr(surrogate, name)()(x)
    assert (spikes.tolist(), spikes.dtype) == ([0, 0, 0, 1, 1, 1, 0], dtype)
    spikes.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


@every_surrogate
def test_a_surrogate_survives_pickling(name: str) -> None:
    spike = getattr(surrogate, name)()
    assert pickle.loads(pickle.dumps(spike)) == spike


@whole_family
def test_the_fast_gradient_is_the_same_number(name: str, settings: dict[str, float]) -> None:
    spike: Surrogate = getattr(surrogate, name)(**settings)
    x, grad = inputs()
    torch.manual_seed(2)
    plain = spike.gradient(x, grad, surrogate.step(x))
    torch.manual_seed(2)
    assert_same_bits(spike.gradient_(x.clone(), grad, surrogate.step(x)), plain)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("atan", "alpha"),
        ("fast_sigmoid", "slope"),
        ("sigmoid", "slope"),
        ("triangular", "threshold"),
        ("spike_rate_escape", "beta"),
        ("spike_rate_escape", "slope"),
        ("SFS", "slope"),
        ("SFS", "B"),
        ("SSO", "mean"),
        ("SSO", "variance"),
        ("LSO", "slope"),
    ],
)
def test_parameters_are_finite(name: str, parameter: str, bad: float) -> None:
    with pytest.raises(InputError, match=rf"{parameter}={bad}; it must be a finite number"):
        getattr(surrogate, name)(**{parameter: bad})


# The user's own


def doubled(x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
    return grad * (2 + spikes) * x.sign()


def test_a_custom_surrogate_is_called_as_by_snntorch() -> None:
    ours, reference = (fire(module.custom_surrogate(doubled)) for module in (surrogate, theirs))
    assert_same_bits(ours[0], reference[0])
    assert_same_bits(ours[1], reference[1])


def test_a_custom_surrogate_survives_pickling() -> None:
    spike = surrogate.custom_surrogate(doubled)
    assert pickle.loads(pickle.dumps(spike)) == spike


def test_a_custom_surrogate_is_callable() -> None:
    with pytest.raises(InputError, match="custom_surrogate: 25 is not callable; pass a function"):
        surrogate.custom_surrogate(25)  # type: ignore[arg-type]


# Without a gradient


def network() -> nn.Sequential:
    disabled = qleaky.Leaky(0.5, init_hidden=True, surrogate_disable=True)
    return nn.Sequential(nn.Linear(3, 3), qleaky.Leaky(0.5, init_hidden=True), nn.Sequential(disabled))


def settings_of(net: nn.Sequential) -> list[Any]:
    return [layer.surrogate_disable for layer in net.modules() if isinstance(layer, qleaky.Leaky)]


def test_disabled_layers_fire_without_a_gradient() -> None:
    net = network()
    assert net[:2](torch.ones(1, 3)).requires_grad
    with surrogate.disabled(net) as same:
        assert same is net
        assert settings_of(net) == [True, True]
        net[1].reset_hidden()
        assert not net[:2](torch.ones(1, 3)).requires_grad


def test_disabled_gives_every_layer_its_own_setting_back() -> None:
    net = network()
    with surrogate.disabled(net):
        pass
    assert settings_of(net) == [False, True]
    with pytest.raises(RuntimeError, match="on purpose"), surrogate.disabled(net):
        raise RuntimeError("on purpose")
    assert settings_of(net) == [False, True]

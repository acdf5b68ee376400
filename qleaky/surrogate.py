r"""Surrogate gradients: a strict Heaviside step forward, a smooth stand-in backward.

Every surrogate is a picklable callable x -> S with S = 1 where x > 0, else 0, in x's dtype; it states the derivative
g(x) that replaces dS/dx. The formulas and their order of operations are those of snntorch 1.0.0, so gradients agree
bit for bit. ``LSO`` here takes its one argument (snntorch 1.0.0 raises a TypeError).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.errors import InputError

GradientFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


class _Step(torch.autograd.Function):
    """S = H(x), with the surrogate's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: Surrogate) -> Tensor:
        spikes = step(x)
        ctx.save_for_backward(x, spikes)
        ctx.surrogate = surrogate
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, spikes = ctx.saved_tensors
        return ctx.surrogate.gradient(x, gradients[0], spikes), None


def step(x: Tensor) -> Tensor:
    """H(x): 1 where x > 0, else 0, in x's dtype and without a gradient; H(0) = H(NaN) = 0."""
    return (x > 0).to(x.dtype)


class Surrogate:
    """Base of all surrogates; calling one fires: x -> H(x)."""

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        """grad * g(x), given the forward input x and its spikes H(x)."""
        raise NotImplementedError

    def gradient_(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        """The same number, free to overwrite ``x``; only for speed."""
        return self.gradient(x, grad, spikes)

    def __call__(self, x: Tensor) -> Tensor:
        spikes: Tensor = _Step.apply(x, self)  # type: ignore[no-untyped-call]
        return spikes

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not math.isfinite(value):
                raise InputError(f"surrogate.{type(self).__name__}: {name}={value}; it must be a finite number.")


@dataclass(frozen=True)
class ATan(Surrogate):
    """g(x) = alpha / 2 / (1 + (pi/2 * alpha * x)^2) (Fang et al., ICCV 2021, eq. 8)."""

    alpha: float = 2.0

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return self.alpha / 2 / (1 + (torch.pi / 2 * self.alpha * x).pow_(2)) * grad

    def gradient_(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return x.mul_(torch.pi / 2 * self.alpha).pow_(2).add_(1).reciprocal_().mul_(self.alpha / 2).mul_(grad)


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """g(x) = 1 / (slope * |x| + 1)^2 (Zenke and Ganguli, Neural Computation 2018, section 3.2)."""

    slope: float = 25

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return grad / (self.slope * torch.abs(x) + 1.0) ** 2

    def gradient_(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return torch.div(grad, x.abs_().mul_(self.slope).add_(1.0).pow_(2), out=x)


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """g(x) = slope * exp(-slope * x) / (exp(-slope * x) + 1)^2; NaN where the exponential overflows, as in snntorch."""

    slope: float = 25

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return grad * self.slope * torch.exp(-self.slope * x) / ((torch.exp(-self.slope * x) + 1) ** 2)


@dataclass(frozen=True)
class StraightThroughEstimator(Surrogate):
    """g(x) = 1."""

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return grad.clone()


@dataclass(frozen=True)
class Triangular(Surrogate):
    """g(x) = threshold where x < 0, -threshold where x >= 0."""

    threshold: float = 1

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        rising = grad * self.threshold
        return torch.where(x >= 0, -rising, rising)


@dataclass(frozen=True)
class SpikeRateEscape(Surrogate):
    """g(x) = slope * exp(-beta * |x - 1|) (Gerstner and Kistler, Spiking Neuron Models, 2002, section 5.3)."""

    beta: float = 1
    slope: float = 25

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return grad * self.slope * torch.exp(-self.beta * torch.abs(x - 1))


@dataclass(frozen=True)
class SparseFastSigmoid(Surrogate):
    """g(x) = 1 / (slope * |x| + 1)^2 where x > B, else 0 (Perez-Nieves and Goodman, NeurIPS 2021)."""

    slope: float = 25
    B: float = 1

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return grad / (self.slope * torch.abs(x) + 1.0) ** 2 * (x > self.B).to(x.dtype)


@dataclass(frozen=True)
class StochasticSpikeOperator(Surrogate):
    """g(x) = 1 where the neuron fired, else (uniform[-0.5, 0.5) + mean) * variance, drawn anew at every call."""

    mean: float = 0
    variance: float = 0.2

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        noise = (torch.rand_like(x) - 0.5 + self.mean) * self.variance
        return grad * spikes + (grad * (~spikes.bool()).to(x.dtype)) * noise


@dataclass(frozen=True)
class LeakySpikeOperator(Surrogate):
    """g(x) = 1 where the neuron fired, else slope."""

    slope: float = 0.1

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return grad * spikes + (~spikes.bool()).to(x.dtype) * self.slope * grad


@dataclass(frozen=True)
class Heaviside(Surrogate):
    """g(x) = H(x)."""

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return grad * spikes


@dataclass(frozen=True)
class CustomSurrogate(Surrogate):
    """The user's own: ``function(x, grad, spikes)`` returns grad * g(x)."""

    function: GradientFunction

    def gradient(self, x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return self.function(x, grad, spikes)


def atan(alpha: float = 2.0) -> ATan:
    """The arctangent surrogate, the default of :class:`~qleaky.Leaky`; see :class:`ATan`.

    >>> x = torch.tensor([-1.0, 0.0, 0.5], requires_grad=True)
    >>> atan()(x).tolist()
    [0.0, 0.0, 1.0]
    """
    return ATan(alpha)


def fast_sigmoid(slope: float = 25) -> FastSigmoid:
    """See :class:`FastSigmoid`."""
    return FastSigmoid(slope)


def sigmoid(slope: float = 25) -> Sigmoid:
    """See :class:`Sigmoid`."""
    return Sigmoid(slope)


def straight_through_estimator() -> StraightThroughEstimator:
    """See :class:`StraightThroughEstimator`."""
    return StraightThroughEstimator()


def triangular(threshold: float = 1) -> Triangular:
    """See :class:`Triangular`."""
    return Triangular(threshold)


def spike_rate_escape(beta: float = 1, slope: float = 25) -> SpikeRateEscape:
    """See :class:`SpikeRateEscape`."""
    return SpikeRateEscape(beta, slope)


def SFS(slope: float = 25, B: float = 1) -> SparseFastSigmoid:
    """See :class:`SparseFastSigmoid`."""
    return SparseFastSigmoid(slope, B)


def SSO(mean: float = 0, variance: float = 0.2) -> StochasticSpikeOperator:
    """See :class:`StochasticSpikeOperator`."""
    return StochasticSpikeOperator(mean, variance)


def LSO(slope: float = 0.1) -> LeakySpikeOperator:
    """See :class:`LeakySpikeOperator`."""
    return LeakySpikeOperator(slope)


def heaviside() -> Heaviside:
    """See :class:`Heaviside`."""
    return Heaviside()


def custom_surrogate(custom_surrogate_function: GradientFunction) -> CustomSurrogate:
    """Wrap ``custom_surrogate_function(x, grad, spikes) -> grad * g(x)``; hyperparameters belong inside the function.

    Raises:
        InputError: the argument is not callable.
    """
    if not callable(custom_surrogate_function):
        raise InputError(
            f"custom_surrogate: {custom_surrogate_function!r} is not callable; pass a function (x, grad, spikes) -> gradient."
        )
    return CustomSurrogate(custom_surrogate_function)


@contextlib.contextmanager
def disabled(net: nn.Module) -> Iterator[nn.Module]:
    """Within the context every spiking layer of ``net`` fires without a gradient, as with ``surrogate_disable=True``.

    Every layer gets its own setting back at the end, also after an exception.
    """
    layers: list[Any] = [module for module in net.modules() if hasattr(module, "surrogate_disable")]
    before = [layer.surrogate_disable for layer in layers]
    try:
        for layer in layers:
            layer.surrogate_disable = True
        yield net
    finally:
        for layer, setting in zip(layers, before, strict=True):
            layer.surrogate_disable = setting

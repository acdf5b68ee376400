"""One LIF step in torch: the equations, for any input dtype, quantizer and surrogate, differentiable by autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qleaky.dynamics import (
    Compare,
    Decay,
    MulShift,
    ResetMechanism,
    ResetTiming,
    RoundingSite,
    ShiftDecay,
    float32_carries,
    resets_late,
)
from qleaky.errors import UsageError
from qleaky.quantizers import FixedPoint, FixedPointSpec, StateQuantizer, round_to_grid_
from qleaky.surrogate import Surrogate, step


@dataclass(frozen=True)
class LIFRule:
    """Everything but the numbers that one step reads: how the layer decays, quantizes, fires and resets."""

    reset_mechanism: ResetMechanism
    reset_timing: ResetTiming
    compare: Compare
    decay: Decay | None
    rounding_site: RoundingSite
    quantizer: Callable[[Tensor], Tensor] | None
    surrogate: Callable[[Tensor], Tensor] | None
    inhibition: bool = False

    @property
    def subtracts(self) -> bool:
        return self.reset_mechanism is ResetMechanism.SUBTRACT

    @property
    def zeroes(self) -> bool:
        return self.reset_mechanism is ResetMechanism.ZERO

    @property
    def resets_before(self) -> bool:
        """The step begins with the reset of an old spike."""
        return self.reset_timing is not ResetTiming.SAME_STEP

    @property
    def resets_after(self) -> bool:
        """The step ends with the reset of its own spike."""
        return resets_late(self.reset_mechanism, self.reset_timing)

    @property
    def spec(self) -> FixedPointSpec | None:
        """The fixed-point format of the state, if it has one."""
        return self.quantizer.spec if isinstance(self.quantizer, FixedPoint) else None

    @property
    def decays_on_grid(self) -> bool:
        """The decayed term is itself brought to the state's grid before anything is added to it."""
        return isinstance(self.decay, ShiftDecay) or self.rounding_site is RoundingSite.DECAY

    def carrier(self, dtype: torch.dtype) -> torch.dtype:
        """The float type that computes the step exactly for inputs of ``dtype``."""
        if self.spec is None or dtype is torch.float64:
            return dtype
        return torch.float32 if float32_carries(self.spec.format, self.spec.overflow) else torch.float64


def lif_step(
    rule: LIFRule, input_: Tensor, mem: Tensor, beta: Tensor, threshold: Tensor, graded: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(I[t], U[t-1]) -> (S[t], U[t], R), in snntorch 1.0.0's order of float operations; see numerics in the docs.

    ::

        R = H(U - theta), detached
        A = beta * U + I - R * theta       subtract;   zero: beta * ((1 - R) * U) + I
        V = quantize(A)
        S = H(V - theta) * graded
        U = V - (S/graded - R) * theta     undelayed;  same step: V - H(V - theta) * theta
    """
    carrier = rule.carrier(input_.dtype)
    x, old = input_.to(carrier), mem.to(carrier)
    reset = fires(rule, old, threshold)
    kept = (1 - reset) * old if rule.zeroes and rule.resets_before else old
    charged = decayed(rule, beta, kept) + x
    if rule.subtracts and rule.resets_before:
        charged = charged - reset * threshold
    if rule.quantizer is not None:
        charged = rule.quantizer(charged)
    raw = fire(rule, charged, threshold)
    spk = raw * graded
    after = charged
    if rule.resets_after:
        due = raw if rule.reset_timing is ResetTiming.SAME_STEP else spk / graded - reset
        after = charged - due * (threshold if rule.subtracts else charged)
    dtype = input_.dtype
    held = dtype if rule.spec is None else rule.spec.dtype_for(dtype)
    return spk.to(dtype), after if carrier == dtype else after.to(held), reset


def decayed(rule: LIFRule, beta: Tensor, mem: Tensor) -> Tensor:
    """beta * U, or that number on the state's grid with beta * U's gradient."""
    product = beta * mem
    if not rule.decays_on_grid:
        return product
    return StraightThrough.apply(product, on_grid(rule, product.detach(), mem.detach()))  # type: ignore[no-any-return,no-untyped-call]


def on_grid(rule: LIFRule, product: Tensor, mem: Tensor) -> Tensor:
    """The decayed membrane as a chip computes it: rounded on its own, or by a shift."""
    if rule.spec is None:
        raise UsageError("Leaky: this decay works on the grid of the state; set state_quant to a qleaky.FixedPoint again.")
    fmt = rule.spec.format
    if isinstance(rule.decay, ShiftDecay):
        codes = mem * 2.0**fmt.frac_bits
        lost = torch.floor(codes * 2.0**-rule.decay.k)
        if rule.decay.at_least_one:
            lost = torch.where(lost == 0, codes.sign(), lost)
        return (codes - lost) * fmt.step
    rounding = (rule.decay.rounding if isinstance(rule.decay, MulShift) else None) or rule.spec.rounding
    return round_to_grid_(product.clone(), fmt.frac_bits, rounding) * fmt.step


def fires(rule: LIFRule, mem: Tensor, threshold: Tensor) -> Tensor:
    """R = H(U - theta) without a gradient; a foreign surrogate is asked for its own forward value."""
    shift = mem.detach() - threshold.detach()  # no torch.no_grad: exported programs that hold it cannot be saved
    if rule.compare is Compare.INCLUSIVE:
        return (shift >= 0).to(shift.dtype)
    foreign = rule.surrogate is not None and not isinstance(rule.surrogate, Surrogate)
    return rule.surrogate(shift).detach().to(shift.dtype) if foreign and rule.surrogate else step(shift)


def fire(rule: LIFRule, mem: Tensor, threshold: Tensor) -> Tensor:
    """S = H(U - theta) with the surrogate's gradient; with inhibition only the winner over dim 1 fires."""
    if rule.quantizer is not None and not isinstance(rule.quantizer, StateQuantizer) and not rule.inhibition:
        mem = rule.quantizer(mem)  # snntorch asks a quantizer of its own twice a step
    shift = mem - threshold
    spikes = step(shift) if rule.surrogate is None else rule.surrogate(shift)
    if rule.compare is Compare.INCLUSIVE:
        spikes = spikes + ((shift >= 0).to(shift.dtype) - spikes).detach()
    if not rule.inhibition:
        return spikes
    winner = shift.argmax(dim=1, keepdim=True)
    return spikes * torch.zeros_like(spikes).scatter_(1, winner, 1)


class StraightThrough(torch.autograd.Function):
    """Forward the second argument, backward the gradient to the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.expand_as(x).clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None

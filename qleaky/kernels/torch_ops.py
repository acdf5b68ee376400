"""The sequence in torch operations: what every other kernel must equal, and what runs where there is none.

All steps go to preallocated time-major buffers, and gradients are written by hand. The backward recursion adds its terms in
the order in which autograd meets them in the step-by-step loop, so that gradients are equal bit for bit, not only
mathematically.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qleaky._lif import LIFRule, fires, on_grid
from qleaky.dynamics import Compare, ResetTiming
from qleaky.quantizers import inside, quantize_
from qleaky.surrogate import Surrogate, step

Gradients = list[Tensor | None]


@dataclass(frozen=True)
class Kept:
    """What a forward pass leaves for its backward pass, time-major: ungraded spikes, membranes when they fire and after the
    step, and where they were inside the quantizer's range."""

    mem: Tensor
    beta: Tensor
    threshold: Tensor
    graded: Tensor
    raw: Tensor
    charged: Tensor
    mems: Tensor
    masks: Tensor | None


def is_one(graded: Tensor) -> bool:
    """Whether spikes need no factor."""
    return graded.numel() == 1 and not graded.requires_grad and bool(graded == 1)


def forward(
    rule: LIFRule, currents: Tensor, mem: Tensor, beta: Tensor, threshold: Tensor, graded: Tensor
) -> tuple[Tensor, Kept]:
    """Spikes (T, B, ...), and the rest, membranes among it."""
    raw = torch.empty_like(currents, memory_format=torch.contiguous_format)
    charged = torch.empty_like(raw)
    mems = torch.empty_like(raw) if rule.resets_after else charged
    clipped = rule.spec is not None and rule.spec.gradient == "clipped"
    masks = torch.empty_like(raw, dtype=torch.bool) if clipped else None
    kept = Kept(mem, beta, threshold, graded, raw, charged, mems, masks)
    forward_steps(rule, currents, kept)
    return raw if is_one(graded) else raw * graded, kept


class TorchSequence(torch.autograd.Function):
    """(rule, currents, mem, beta, threshold, graded) -> spikes and membranes."""

    @staticmethod
    def forward(ctx: Any, rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        spks, kept = forward(rule, *tensors)
        ctx.rule = rule
        ctx.save_for_backward(*tensors[1:], kept.raw, kept.charged, kept.mems, kept.masks)
        ctx.set_materialize_grads(False)
        if rule.surrogate is None and not kept.graded.requires_grad:
            ctx.mark_non_differentiable(spks)
        return spks, kept.mems

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        return (None, *Backward(ctx.rule, Kept(*ctx.saved_tensors), ctx.needs_input_grad[1:]).run(*gradients))


def forward_steps(rule: LIFRule, currents: Tensor, kept: Kept) -> None:
    """Fill the buffers of ``kept``."""
    mem, beta, threshold, masks = kept.mem, kept.beta, kept.threshold, kept.masks
    reset = fires(rule, mem, threshold) if rule.resets_before else None
    mask_of = masks.unbind(0) if masks is not None else (None,) * len(currents)
    for x, spikes, new, after, mask in zip(
        currents.unbind(0), kept.raw.unbind(0), kept.charged.unbind(0), kept.mems.unbind(0), mask_of, strict=True
    ):
        decaying = (1 - reset) * mem if rule.zeroes and reset is not None else mem
        torch.mul(decaying, beta, out=new)
        if rule.decays_on_grid:
            new.copy_(on_grid(rule, new, decaying))
        new.add_(x)
        if rule.subtracts and reset is not None:
            new.addcmul_(reset, threshold, value=-1)  # reset is 0 or 1: the product is exact, fused or not
        if mask is not None and rule.spec is not None:
            mask.copy_(inside(new, rule.spec))
        if rule.spec is not None:
            quantize_(new, rule.spec)
        elif rule.quantizer is not None:
            new.copy_(rule.quantizer(new))
        _fire(rule, new, threshold, out=spikes)
        if rule.resets_after:
            _reset_after(rule, kept, (spikes, new, after, reset))
        mem = after
        if reset is not None:
            reset = fires(rule, after, threshold) if rule.resets_after else spikes


def _fire(rule: LIFRule, charged: Tensor, threshold: Tensor, *, out: Tensor) -> None:
    if rule.compare is Compare.STRICT:
        torch.gt(charged, threshold, out=out)
    else:
        torch.ge(torch.sub(charged, threshold, out=out), 0, out=out)  # of two infinities only the difference says no


def _reset_after(rule: LIFRule, kept: Kept, step_: tuple[Tensor, Tensor, Tensor, Tensor | None]) -> None:
    """U = V - due * (theta or V), with due as lif_step has it."""
    spikes, new, after, reset = step_
    due = spikes if reset is None else spikes * kept.graded / kept.graded - reset
    torch.sub(new, due * (kept.threshold if rule.subtracts else new), out=after)


class Backward:
    """The recursion from the last step to the first; one accumulator per gradient."""

    def __init__(self, rule: LIFRule, kept: Kept, needs: tuple[bool, ...]) -> None:
        self.rule, self.plain = rule, is_one(kept.graded)
        self.mem, self.beta, self.threshold, self.graded = kept.mem, kept.beta, kept.threshold, kept.graded
        self.raw, self.charged, self.mems, self.masks = kept.raw, kept.charged, kept.mems, kept.masks
        self.needs_x, self.needs_mem, self.needs_beta, self.needs_theta, self.needs_graded = needs
        self.for_beta: Tensor | None = None
        self.for_theta: Tensor | None = None
        self.for_graded: Tensor | None = None
        self.scratch = self.mem

    def run(self, grad_spks: Tensor | None, grad_mems: Tensor | None) -> Gradients:
        """The gradients of currents, first membrane, beta, threshold and graded factor; None where not needed or absent."""
        rule = self.rule
        for_x = torch.empty_like(self.raw)
        carried = torch.empty_like(self.raw[0])
        out = for_x.unbind(0)
        raw, charged, mems = self.raw.unbind(0), self.charged.unbind(0), self.mems.unbind(0)
        for_spk = grad_spks.unbind(0) if grad_spks is not None else None
        for_mem = grad_mems.unbind(0) if grad_mems is not None else None
        carry: Tensor | None = None
        for t in reversed(range(len(raw))):
            before = mems[t - 1] if t else self.mem
            reset = self._reset_of(before, raw[t - 1] if t else None)
            grad = _add(for_mem[t] if for_mem else None, carry, out=carried)
            self.scratch = out[t]
            grad = self._through_fire(grad, for_spk[t] if for_spk else None, raw[t], charged[t], reset)
            if grad is None:
                out[t].zero_()
                carry = None
                continue
            if self.masks is not None:
                grad = torch.mul(grad, self.masks[t], out=out[t])
            elif grad is not out[t]:
                grad = out[t].copy_(grad)
            if rule.subtracts and reset is not None and self.needs_theta:
                self.for_theta = accumulate(self.for_theta, -grad * reset, self.threshold)
            if self.needs_beta:
                decaying = (1 - reset) * before if rule.zeroes and reset is not None else before
                self.for_beta = accumulate(self.for_beta, grad * decaying, self.beta)
            carry = torch.mul(grad, self.beta, out=carried) if t or self.needs_mem else None
            if carry is not None and rule.zeroes and reset is not None:
                carry = carry * (1 - reset)
        return [for_x if self.needs_x else None, carry, self.for_beta, self.for_theta, self.for_graded]

    def _reset_of(self, before: Tensor, spikes_before: Tensor | None) -> Tensor | None:
        """R of a step, from the membrane before it."""
        if not self.rule.resets_before:
            return None
        known = self.rule.reset_timing is ResetTiming.DELAYED and spikes_before is not None
        return spikes_before if known else fires(self.rule, before, self.threshold)

    def _through_fire(
        self, grad: Tensor | None, grad_spk: Tensor | None, raw: Tensor, charged: Tensor, reset: Tensor | None
    ) -> Tensor | None:
        """From dL/dU and dL/dS of a step to dL/dV, through the late reset and the surrogate."""
        grad_raw: Tensor | None = None
        if self.rule.resets_after and grad is not None:
            grad, grad_spk, grad_raw = self._through_reset(grad, grad_spk, raw, charged, reset)
        if grad_spk is not None:
            if self.needs_graded:
                self.for_graded = accumulate(self.for_graded, grad_spk * raw, self.graded)
            grad_raw = _add(grad_raw, grad_spk if self.plain else grad_spk * self.graded)
        if grad_raw is None or not isinstance(self.rule.surrogate, Surrogate):
            return grad
        shift = torch.sub(charged, self.threshold, out=self.scratch)
        strict = raw if self.rule.compare is Compare.STRICT else step(shift)  # a surrogate's own forward is strict
        fired = self.rule.surrogate.gradient_(shift, grad_raw, strict)
        if self.needs_theta:
            self.for_theta = accumulate(self.for_theta, -fired, self.threshold)
        return fired if grad is None else torch.add(grad, fired, out=fired)

    def _through_reset(
        self, grad: Tensor, grad_spk: Tensor | None, raw: Tensor, charged: Tensor, reset: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Through U = V - due * (theta or V): (dL/dV so far, dL/dS, dL/d raw spikes)."""
        spk = raw * self.graded
        due = raw if reset is None else spk / self.graded - reset
        factor = self.threshold if self.rule.subtracts else charged
        grad_due = -grad * factor
        if self.rule.subtracts and self.needs_theta:
            self.for_theta = accumulate(self.for_theta, -grad * due, self.threshold)
        if self.rule.zeroes:
            grad = grad + -grad * due
        if reset is None:
            return grad, grad_spk, grad_due
        if self.needs_graded:
            self.for_graded = accumulate(self.for_graded, -grad_due * ((spk / self.graded) / self.graded), self.graded)
        return grad, _add(grad_spk, grad_due / self.graded), None


def _add(a: Tensor | None, b: Tensor | None, out: Tensor | None = None) -> Tensor | None:
    """Sum of two gradients, either of which may be absent."""
    if a is None or b is None:
        return b if a is None else a
    return torch.add(a, b, out=out)


def accumulate(total: Tensor | None, grad: Tensor, like: Tensor) -> Tensor:
    """Add one step's gradient of a parameter, reduced to its shape."""
    reduced = grad.sum_to_size(like.shape)
    return reduced if total is None else total + reduced

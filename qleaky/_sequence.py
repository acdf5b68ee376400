"""``Leaky.sequence`` as one autograd function: all steps in preallocated time-major buffers, gradients by hand.

The backward recursion adds its terms in the order in which autograd meets them in the step-by-step loop, so that
gradients are equal bit for bit, not only mathematically.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qleaky._lif import LIFRule, fires, on_grid
from qleaky.dynamics import Compare, ResetTiming
from qleaky.quantizers import FixedPoint, Levels, inside, quantize_, refuse_nan
from qleaky.surrogate import Surrogate

Gradients = list[Tensor | None]


def can_fuse(rule: LIFRule, currents: Tensor, mem: Tensor, beta: Tensor, threshold: Tensor, graded: Tensor) -> bool:
    """Whether the hand-written recursion covers this layer and these tensors."""
    tensors = (currents, mem, beta, threshold, graded)
    return (
        (rule.quantizer is None or (type(rule.quantizer) in (FixedPoint, Levels) and not _hooked(rule.quantizer)))
        and (rule.surrogate is None or _is_plain(rule.surrogate))
        and not rule.inhibition
        and currents.dtype in (torch.float32, torch.float64)
        and rule.carrier(currents.dtype) == currents.dtype
        and all(tensor.dtype == currents.dtype for tensor in tensors)
        and all(tensor.device == currents.device for tensor in tensors)
        and torch.broadcast_shapes(*(tensor.shape for tensor in tensors[1:])) == mem.shape  # type: ignore[no-untyped-call]
        and not torch.compiler.is_compiling()
    )


def _hooked(quantizer: Any) -> bool:
    return bool(quantizer._forward_hooks or quantizer._forward_pre_hooks or "forward" in vars(quantizer))


def _is_plain(surrogate: Any) -> bool:
    """A surrogate of ours, or a subclass that keeps the forward step."""
    return isinstance(surrogate, Surrogate) and type(surrogate).__call__ is Surrogate.__call__


def lif_sequence(
    rule: LIFRule, currents: Tensor, mem: Tensor, beta: Tensor, threshold: Tensor, graded: Tensor
) -> tuple[Tensor, Tensor]:
    """Spikes and membranes (T, B, ...) of a whole sequence; :func:`qleaky._lif.lif_step` states the equations."""
    spks, mems = _Sequence.apply(rule, currents, mem, beta, threshold, graded)  # type: ignore[no-untyped-call]
    if isinstance(rule.quantizer, FixedPoint):
        refuse_nan(mems[-1])
    return spks, mems


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rule: LIFRule, currents: Tensor, mem: Tensor, beta: Tensor, threshold: Tensor, graded: Tensor
    ) -> tuple[Tensor, Tensor]:
        raw = torch.empty_like(currents, memory_format=torch.contiguous_format)
        charged = torch.empty_like(raw)
        mems = torch.empty_like(raw) if rule.resets_after else charged
        clipped = rule.spec is not None and rule.spec.gradient == "clipped"
        masks = torch.empty_like(raw, dtype=torch.bool) if clipped else None
        forward_steps(rule, currents, mem, beta, threshold, graded, raw, charged, mems, masks)
        plain = graded.numel() == 1 and not graded.requires_grad and bool(graded == 1)
        spks = raw if plain else raw * graded
        ctx.rule, ctx.plain = rule, plain
        ctx.save_for_backward(mem, beta, threshold, graded, raw, charged, mems, masks)
        ctx.set_materialize_grads(False)
        if rule.surrogate is None and not graded.requires_grad:
            ctx.mark_non_differentiable(spks)
        return spks, mems

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return (None, *_Backward(ctx).run(*gradients))


def forward_steps(
    rule: LIFRule,
    currents: Tensor,
    mem: Tensor,
    beta: Tensor,
    threshold: Tensor,
    graded: Tensor,
    raw: Tensor,
    charged: Tensor,
    mems: Tensor,
    masks: Tensor | None,
) -> None:
    """Fill the buffers: ungraded spikes, membranes when they fire, membranes after the step, and gradient masks."""
    compare = torch.gt if rule.compare is Compare.STRICT else torch.ge
    reset = fires(rule, mem, threshold) if rule.resets_before else None
    mask_of = masks.unbind(0) if masks is not None else (None,) * len(currents)
    for x, spikes, new, after, mask in zip(
        currents.unbind(0), raw.unbind(0), charged.unbind(0), mems.unbind(0), mask_of, strict=True
    ):
        kept = (1 - reset) * mem if rule.zeroes and reset is not None else mem
        torch.mul(kept, beta, out=new)
        if rule.decays_on_grid:
            new.copy_(on_grid(rule, new, kept))
        new.add_(x)
        if rule.subtracts and reset is not None:
            new.addcmul_(reset, threshold, value=-1)  # reset is 0 or 1: the product is exact, fused or not
        if mask is not None and rule.spec is not None:
            mask.copy_(inside(new, rule.spec))
        if rule.spec is not None:
            quantize_(new, rule.spec)
        elif rule.quantizer is not None:
            new.copy_(rule.quantizer(new))
        compare(new, threshold, out=spikes)
        if rule.resets_after:
            _reset_after(rule, spikes, new, after, reset, threshold, graded)
        mem = after
        if reset is not None:
            reset = fires(rule, after, threshold) if rule.resets_after else spikes


def _reset_after(
    rule: LIFRule, spikes: Tensor, new: Tensor, after: Tensor, reset: Tensor | None, threshold: Tensor, graded: Tensor
) -> None:
    """U = V - due * (theta or V), with due as lif_step has it."""
    due = spikes if reset is None else spikes * graded / graded - reset
    torch.sub(new, due * (threshold if rule.subtracts else new), out=after)


class _Backward:
    """The recursion from the last step to the first; one accumulator per gradient."""

    def __init__(self, ctx: Any) -> None:
        self.rule: LIFRule = ctx.rule
        self.plain: bool = ctx.plain
        self.mem, self.beta, self.threshold, self.graded, self.raw, self.charged, self.mems, self.masks = ctx.saved_tensors
        _, self.needs_x, self.needs_mem, self.needs_beta, self.needs_theta, self.needs_graded = ctx.needs_input_grad
        self.for_beta: Tensor | None = None
        self.for_theta: Tensor | None = None
        self.for_graded: Tensor | None = None
        self.scratch = self.mem

    def run(self, grad_spks: Tensor | None, grad_mems: Tensor | None) -> Gradients:
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
                self.for_theta = _accumulate(self.for_theta, -grad * reset, self.threshold)
            if self.needs_beta:
                kept = (1 - reset) * before if rule.zeroes and reset is not None else before
                self.for_beta = _accumulate(self.for_beta, grad * kept, self.beta)
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
                self.for_graded = _accumulate(self.for_graded, grad_spk * raw, self.graded)
            grad_raw = _add(grad_raw, grad_spk if self.plain else grad_spk * self.graded)
        if grad_raw is None or not isinstance(self.rule.surrogate, Surrogate):
            return grad
        shift = torch.sub(charged, self.threshold, out=self.scratch)
        fired = self.rule.surrogate.gradient_(shift, grad_raw, raw)
        if self.needs_theta:
            self.for_theta = _accumulate(self.for_theta, -fired, self.threshold)
        return fired if grad is None else torch.add(grad, fired, out=fired)

    def _through_reset(
        self, grad: Tensor, grad_spk: Tensor | None, raw: Tensor, charged: Tensor, reset: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Through U = V - due * (theta or V): (dL/dV so far, dL/dS, dL/d raw spikes)."""
        same_step = reset is None
        spk = raw * self.graded
        due = raw if same_step else spk / self.graded - reset
        factor = self.threshold if self.rule.subtracts else charged
        grad_due = -grad * factor
        if self.rule.subtracts and self.needs_theta:
            self.for_theta = _accumulate(self.for_theta, -grad * due, self.threshold)
        if self.rule.zeroes:
            grad = grad + -grad * due
        if same_step:
            return grad, grad_spk, grad_due
        if self.needs_graded:
            self.for_graded = _accumulate(self.for_graded, -grad_due * ((spk / self.graded) / self.graded), self.graded)
        return grad, _add(grad_spk, grad_due / self.graded), None


def _add(a: Tensor | None, b: Tensor | None, out: Tensor | None = None) -> Tensor | None:
    """Sum of two gradients, either of which may be absent."""
    if a is None or b is None:
        return b if a is None else a
    return torch.add(a, b, out=out)


def _accumulate(total: Tensor | None, grad: Tensor, like: Tensor) -> Tensor:
    """Add one step's gradient of a parameter, reduced to its shape."""
    reduced = grad.sum_to_size(like.shape)
    return reduced if total is None else total + reduced

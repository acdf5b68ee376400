"""Calling the Triton kernels on float32 tensors: outputs and gradients equal to those of ``torch_ops`` on the same device.

Checked bit for bit in Triton's interpreter; not yet run on a GPU. What fails to compile or to launch is computed by torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qleaky._lif import LIFRule, fires
from qleaky.kernels import compiled, torch_ops
from qleaky.kernels.compiled import flat, in_order
from qleaky.kernels.plan import Plan
from qleaky.kernels.terms import ParameterTerms
from qleaky.kernels.triton_backward import lif_backward
from qleaky.kernels.triton_forward import lif_forward

BLOCK, WARPS = 128, 4  # one neuron a thread; not tuned
ALIGNED = 128  # floats: torch's allocations start at multiples of 512 bytes

Gradients = list[Tensor | None]


@dataclass(frozen=True)
class Held:
    """What the backward pass reads: membranes after the step, those when it fires where a late reset makes them differ, and a
    byte each for where they were inside the range."""

    mem: Tensor
    beta: Tensor
    threshold: Tensor
    graded: Tensor
    mems: Tensor
    charged: Tensor | None = None
    masks: Tensor | None = None

    @staticmethod
    def of(plan: Plan, kept: torch_ops.Kept) -> Held:
        """The same from what ``torch_ops`` keeps."""
        charged = kept.charged if plan.late else None
        return Held(kept.mem, kept.beta, kept.threshold, kept.graded, kept.mems, charged, kept.masks)

    def kept(self, rule: LIFRule) -> torch_ops.Kept:
        """The same as ``torch_ops`` keeps it."""
        charged = self.mems if self.charged is None else self.charged
        raw = fires(rule, charged, self.threshold)
        return torch_ops.Kept(self.mem, self.beta, self.threshold, self.graded, raw, charged, self.mems, self.masks)


class TritonKernel:
    """The kernels on one device. ``failure`` says why torch operations compute instead, once anything has gone wrong."""

    def __init__(self) -> None:
        self.failure = ""

    def forward(self, plan: Plan, rule: LIFRule, *tensors: Tensor, saving: bool = True) -> tuple[Tensor, Held]:
        """Spikes, and the membranes with what else the backward pass needs."""
        if not self.failure:
            try:
                return forward(plan, *tensors, saving=saving)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # of Triton, its compilers or the driver: their kinds are not documented
                self.failure = _reason(error)
        spks, kept = torch_ops.forward(rule, *tensors)
        return spks, Held.of(plan, kept)

    def backward(
        self, plan: Plan, rule: LIFRule, held: Held, gradients: tuple[Tensor | None, ...], needs: tuple[bool, ...]
    ) -> Gradients:
        """Gradients of currents, first membrane, beta, threshold and graded factor."""
        if not self.failure and _covers(plan, held, gradients, needs):
            try:
                return backward(plan, held, gradients, needs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self.failure = _reason(error)
        return torch_ops.Backward(rule, held.kept(rule), needs).run(*gradients)

    def backward_of(
        self, plan: Plan, rule: LIFRule, kept: torch_ops.Kept, gradients: tuple[Tensor | None, ...], needs: tuple[bool, ...]
    ) -> Gradients:
        """The same from what ``torch_ops`` keeps."""
        return self.backward(plan, rule, Held.of(plan, kept), gradients, needs)

    def sequence(self, plan: Plan, rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and membranes (T, B, ...) of currents, first membrane, beta, threshold and graded factor."""
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            spks, mems = TritonSequence.apply(self, plan, rule, *tensors)  # type: ignore[no-untyped-call]
            return spks, mems
        spks, held = self.forward(plan, rule, *tensors, saving=False)
        return spks, held.mems

    def compute(self, plan: Plan, rule: LIFRule, tensors: list[Tensor], weights: Tensor) -> Gradients:
        """Outputs and gradients for the self-test; what fails is raised."""
        spks, held = forward(plan, *tensors, saving=True)
        return [spks, held.mems, *backward(plan, held, tuple(weights), (True,) * 5)]


def _reason(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return f"the Triton kernel failed with {type(error).__name__}: {first}"


class TritonSequence(torch.autograd.Function):
    """(kernel, plan, rule, currents, mem, beta, threshold, graded) -> spikes and membranes."""

    @staticmethod
    def forward(ctx: Any, kernel: TritonKernel, plan: Plan, rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        spks, held = kernel.forward(plan, rule, *tensors)
        ctx.kernel, ctx.plan, ctx.rule = kernel, plan, rule
        ctx.save_for_backward(*tensors[1:], held.mems, held.charged, held.masks)
        ctx.set_materialize_grads(False)
        if not plan.has_gradient and not held.graded.requires_grad:
            ctx.mark_non_differentiable(spks)
        return spks, held.mems

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        held, needs = Held(*ctx.saved_tensors), ctx.needs_input_grad[3:]
        return (None, None, None, *ctx.kernel.backward(ctx.plan, ctx.rule, held, gradients, needs))


def forward(
    plan: Plan, currents: Tensor, mem: Tensor, beta: Tensor, threshold: Tensor, graded: Tensor, *, saving: bool
) -> tuple[Tensor, Held]:
    """Spikes and what is held of them, from the kernel."""
    x, rule = flat(currents), plan.rule
    spks, mems = torch.empty_like(x), torch.empty_like(x)
    charged = torch.empty_like(x) if saving and plan.late else None
    masks = torch.empty_like(x, dtype=torch.uint8) if saving and plan.clipped else None
    settings, per_neuron = _settings(mem, beta, threshold, graded)
    numbers = (rule.scale, rule.step, rule.lowest, rule.highest, rule.shift)
    tensors = (x, flat(mem), *settings, spks, mems, charged, masks)
    decay = {"DECAY": rule.decay, "DECAY_ROUNDING": rule.decay_rounding}
    state = {"QUANTIZED": bool(rule.quantized), "ROUNDING": rule.rounding}
    _launch(lif_forward, mem, *tensors, len(x), mem.numel(), *numbers, **per_neuron, **_rule(plan), **decay, **state)
    return spks, Held(mem, beta, threshold, graded, mems, charged, None if masks is None else masks.view(torch.bool))


def backward(plan: Plan, held: Held, gradients: tuple[Tensor | None, ...], needs: tuple[bool, ...]) -> Gradients:
    """Gradients from the kernel, of which there are some."""
    for_spks, for_mems = (None if gradient is None else flat(gradient) for gradient in gradients)
    mem, mems = flat(held.mem), flat(held.mems)
    charged = mems if held.charged is None else flat(held.charged)
    masks = None if held.masks is None else flat(held.masks).view(torch.uint8)
    out, carry, steps, neurons = torch.empty_like(mems), torch.empty_like(mem), len(mems), mem.numel()
    row = -(-neurons // ALIGNED) * ALIGNED
    given = (for_spks is not None, for_mems is not None)
    terms = ParameterTerms(plan, needs, steps, given=given, fresh=lambda: _rows(mem, steps, row))
    names = ("theta_due", "theta_fired", "theta_reset", "beta", "graded_due", "graded_fired")
    settings, per_neuron = _settings(mem, held.beta, held.threshold, held.graded)
    tensors = (mem, *settings, mems, charged, masks, for_spks, for_mems, *map(terms.buffers.get, names), out, carry)
    numbers = (steps, neurons, row, plan.rule.a, plan.rule.b)
    _launch(lif_backward, mem, *tensors, *numbers, **per_neuron, **_rule(plan), SURROGATE=plan.rule.surrogate)
    parameters = terms.reduced(held.beta, held.threshold, held.graded)
    return [out if needs[0] else None, carry if needs[1] else None, *parameters]


def _covers(plan: Plan, held: Held, gradients: tuple[Tensor | None, ...], needs: tuple[bool, ...]) -> bool:
    """Gradients come for something that has them, as plain tensors, and sums over them run in the order of memory."""
    for_spks, for_mems = gradients
    given = [tensor for tensor in gradients if tensor is not None]
    return (
        (for_mems is not None or (for_spks is not None and plan.has_gradient))
        and compiled.fits(held.mem, *given, device=held.mem.device.type)
        and (not any(needs[2:]) or in_order(held.mem, *given))
    )


def _rows(like: Tensor, steps: int, row: int) -> Tensor:
    """Memory (T, B, ...) whose steps are aligned as new tensors are: on a GPU a sum's order depends on where it starts."""
    return like.new_empty((steps, row)).as_strided((steps, *like.shape), (row, *like.stride()))


def _settings(mem: Tensor, *settings: Tensor) -> tuple[list[Tensor], dict[str, bool]]:
    tensors = [flat(setting if setting.numel() == 1 else setting.expand(mem.shape)) for setting in settings]
    names = ("BETAS", "THETAS", "FACTORS")
    return tensors, {name: tensor.numel() != 1 for name, tensor in zip(names, tensors, strict=True)}


def _rule(plan: Plan) -> dict[str, int | bool]:
    rule = plan.rule
    same_step, inclusive = bool(rule.same_step), bool(rule.inclusive)
    return {"EARLY": rule.early, "LATE": rule.late, "SAME_STEP": same_step, "INCLUSIVE": inclusive}


def _launch(kernel: Any, mem: Tensor, *arguments: Any, **settings: Any) -> None:
    programs = math.ceil(mem.numel() / BLOCK)
    if programs:
        with torch.cuda.device_of(mem):  # type: ignore[no-untyped-call]
            kernel[(programs,)](*arguments, **settings, BLOCK=BLOCK, num_warps=WARPS, enable_fp_fusion=False)

"""``qleaky::lif_sequence``: the sequence as one torch operator, for torch.compile and torch.export, with its gradient.

It takes the rule as numbers, so that a graph that holds it needs nothing else. What its forward pass leaves for the backward
pass depends on the rule and the dtype alone, not on which kernel computed it: a graph may run elsewhere than it was traced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from qleaky._lif import LIFRule
from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.errors import InputError
from qleaky.fixed import Rounding
from qleaky.kernels import compiled, library, torch_ops
from qleaky.kernels.compiled import Saved
from qleaky.kernels.plan import SURROGATES, Plan, plan_of
from qleaky.quantizers import FixedPoint, FixedPointSpec, refuse_nan

_MECHANISMS, _TIMINGS, _COMPARES, _SITES = tuple(ResetMechanism), tuple(ResetTiming), tuple(Compare), tuple(RoundingSite)
_NONE, _MUL_SHIFT, _SHIFT_DECAY = 0, 1, 2
_HEAD = 9


def encode(rule: LIFRule) -> tuple[list[int], list[float]]:
    """The rule as the operator's ``rule`` and ``surrogate`` arguments; it must be one that has a plan."""
    names = [_MECHANISMS.index(rule.reset_mechanism), _TIMINGS.index(rule.reset_timing)]
    names += [_COMPARES.index(rule.compare), _SITES.index(rule.rounding_site)]
    surrogate = -1 if rule.surrogate is None else SURROGATES.index(type(rule.surrogate))
    numbers = [] if rule.surrogate is None else [float(number) for number in astuple(rule.surrogate)]  # type: ignore[call-overload]
    spec = [] if rule.spec is None else rule.spec.encode()
    return [*names, *_encode_decay(rule.decay), surrogate, *spec], numbers


def _encode_decay(decay: Any) -> list[int]:
    if isinstance(decay, ShiftDecay):
        return [_SHIFT_DECAY, decay.k, int(decay.at_least_one), 0]
    if isinstance(decay, MulShift):
        rounding = -1 if decay.rounding is None else list(Rounding).index(decay.rounding)
        return [_MUL_SHIFT, -1 if decay.m is None else decay.m, decay.n, rounding]
    return [_NONE, 0, 0, 0]


def decode(rule: Sequence[int], surrogate: Sequence[float]) -> LIFRule:
    """The rule that :func:`encode` turned into numbers."""
    return _decode(tuple(rule), tuple(surrogate))


@lru_cache(maxsize=256)
def _decode(rule: tuple[int, ...], surrogate: tuple[float, ...]) -> LIFRule:
    mechanism, timing, compare, site, *decay, kind = rule[:_HEAD]
    return LIFRule(
        _MECHANISMS[mechanism],
        _TIMINGS[timing],
        _COMPARES[compare],
        _decode_decay(*decay),
        _SITES[site],
        _quantizer(FixedPointSpec.decode(rule[_HEAD:])) if len(rule) > _HEAD else None,
        None if kind < 0 else SURROGATES[kind](*surrogate),
    )


def _decode_decay(kind: int, first: int, second: int, third: int) -> MulShift | ShiftDecay | None:
    if kind == _SHIFT_DECAY:
        return ShiftDecay(first, bool(second))
    if kind == _MUL_SHIFT:
        return MulShift(None if first < 0 else first, second, None if third < 0 else list(Rounding)[third])
    return None


def _quantizer(spec: FixedPointSpec) -> FixedPoint:
    fmt = spec.format
    options = {"narrow": fmt.narrow, "gradient": spec.gradient}
    return FixedPoint(fmt.bits, fmt.frac_bits, fmt.signed, spec.rounding, spec.overflow, **options)  # type: ignore[arg-type]


@torch.library.custom_op("qleaky::lif_sequence", mutates_args=())
def lif_sequence(
    currents: Tensor,
    mem: Tensor,
    beta: Tensor,
    threshold: Tensor,
    graded: Tensor,
    rule: list[int],
    surrogate: list[float],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Spikes and membranes (T, B, ...), and for the backward pass charged membranes, codes and packed masks, empty where
    the rule does not need them.

    Raises:
        InputError: a membrane of another shape than a step's currents, or a rule that has no plan.
        FormatError: a quantized membrane is NaN (on the CPU).
    """
    decoded = decode(rule, surrogate)
    plan = _checked_plan(decoded, currents, mem)
    tensors = (currents, mem, beta, threshold, graded)
    on_cuda = library.cuda_kernel(*tensors)
    kernel = library.kernel() if on_cuda is None and compiled.fits(*tensors) else None
    if on_cuda is not None:
        spks, held = on_cuda.forward(plan, decoded, *tensors)
        saved = compiled.packed(plan, held.kept(decoded))
    elif kernel is not None:
        spks, saved = compiled.forward(kernel, plan, *tensors, saving=True)
    else:
        spks, kept = torch_ops.forward(decoded, *tensors)
        saved = compiled.packed(plan, kept)
    assert saved.mems is not None
    if plan.spec is not None:
        refuse_nan(saved.mems[-1])
    absent = currents.new_empty(0)
    charged = absent if saved.charged is None else saved.charged
    codes, masks = (absent.byte() if tensor is None else tensor for tensor in (saved.codes, saved.masks))
    return spks, saved.mems, charged, codes, masks


def _checked_plan(rule: LIFRule, currents: Tensor, mem: Tensor) -> Plan:
    plan = plan_of(rule)
    if plan is None:
        raise InputError(f"qleaky::lif_sequence: {rule} is a rule that it does not cover; call Leaky.sequence.")
    if currents.ndim < 1 or len(currents) == 0 or mem.shape != currents.shape[1:]:
        raise InputError(
            f"qleaky::lif_sequence: currents have shape {tuple(currents.shape)}, mem {tuple(mem.shape)}; pass (T, B, ...) with "
            f"T >= 1 and (B, ...)."
        )
    return plan


@lif_sequence.register_fake
def _(
    currents: Tensor, mem: Tensor, beta: Tensor, threshold: Tensor, graded: Tensor, rule: list[int], surrogate: list[float]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    plan = _checked_plan(decode(rule, surrogate), currents, mem)
    charged = currents.new_empty(currents.shape if plan.keeps_charged else 0)
    codes = currents.new_empty(currents.shape if plan.spec is not None else 0, dtype=torch.uint8)
    rows = (len(currents), (mem.numel() + 7) // 8)
    masks = currents.new_empty(rows if plan.clipped else 0, dtype=torch.uint8)
    return currents.new_empty(currents.shape), currents.new_empty(currents.shape), charged, codes, masks


@torch.library.custom_op("qleaky::lif_sequence_backward", mutates_args=())
def lif_sequence_backward(
    grad_spks: Tensor | None,
    grad_mems: Tensor | None,
    saved: list[Tensor],
    rule: list[int],
    surrogate: list[float],
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of currents, first membrane, beta, threshold and graded factor; zero, or empty where not needed."""
    decoded = decode(rule, surrogate)
    plan = plan_of(decoded)
    assert plan is not None
    mem, beta, threshold, graded, mems, charged, codes, masks = saved
    kept = Saved(
        mem,
        beta,
        threshold,
        graded,
        mems if plan.keeps_membranes else None,
        charged if plan.keeps_charged else None,
        codes if plan.spec is not None else None,
        masks if plan.clipped else None,
    )
    on_cuda = library.cuda_kernel(mem)
    kernel = library.kernel() if on_cuda is None and compiled.fits(mem) else None
    with torch.no_grad():
        if on_cuda is not None:
            unpacked = compiled.unpacked(plan, decoded, kept)
            gradients = on_cuda.backward_of(plan, decoded, unpacked, (grad_spks, grad_mems), tuple(needs))
        else:
            gradients = compiled.backward(kernel, plan, decoded, kept, (grad_spks, grad_mems), tuple(needs))
    likes = (mems, mem, beta, threshold, graded)
    return tuple(  # type: ignore[return-value]
        _owned(gradient, like, need) for gradient, like, need in zip(gradients, likes, needs, strict=True)
    )


def _owned(gradient: Tensor | None, like: Tensor, need: bool) -> Tensor:
    """A gradient that is a tensor of its own."""
    if not need:
        return like.new_empty(0)
    return torch.zeros_like(like, memory_format=torch.contiguous_format) if gradient is None else gradient.contiguous()


@lif_sequence_backward.register_fake
def _(
    grad_spks: Tensor | None,
    grad_mems: Tensor | None,
    saved: list[Tensor],
    rule: list[int],
    surrogate: list[float],
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    mem, beta, threshold, graded, mems, *_ = saved
    likes = (mems, mem, beta, threshold, graded)
    return tuple(  # type: ignore[return-value]
        like.new_empty(like.shape if need else 0) for like, need in zip(likes, needs, strict=True)
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, mem, beta, threshold, graded, ctx.rule, ctx.surrogate = inputs
    _, mems, charged, codes, masks = output
    ctx.save_for_backward(mem, beta, threshold, graded, mems, charged, codes, masks)
    ctx.mark_non_differentiable(charged, codes, masks)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad_spks: Tensor | None, grad_mems: Tensor | None, *_: Any) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:5])
    given = (grad_spks, grad_mems, list(ctx.saved_tensors), ctx.rule, ctx.surrogate, needs)
    gradients = lif_sequence_backward(*given)
    return (*(gradient if need else None for gradient, need in zip(gradients, needs, strict=True)), None, None)


lif_sequence.register_autograd(_differentiate, setup_context=_setup)

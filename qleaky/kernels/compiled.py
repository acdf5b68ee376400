"""Calling the C kernel on tensors: float32 on the CPU, outputs and gradients equal to those of ``torch_ops``."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qleaky._lif import LIFRule, fires
from qleaky.kernels import torch_ops
from qleaky.kernels.plan import Plan, Rule, Setting, Terms
from qleaky.kernels.terms import ParameterTerms

LARGE = 1 << 21  # bytes of a huge page
Kernel = Any  # a ctypes library with the two functions of lif.c


@dataclass(frozen=True)
class Saved:
    """What the backward pass reads: floats, or for quantized states a byte a neuron-step and a bit for where they saturate.

    ``mems`` are membranes after the step, ``charged`` those when it fires (where a late reset makes them differ); ``codes``
    count from the format's lowest; ``masks`` are packed, eight neurons a byte, the first in the lowest bit.
    """

    mem: Tensor
    beta: Tensor
    threshold: Tensor
    graded: Tensor
    mems: Tensor | None = None
    charged: Tensor | None = None
    codes: Tensor | None = None
    masks: Tensor | None = None


def declare(kernel: Kernel) -> Kernel:
    """The library with the types of its functions' arguments."""
    i64, i32, pointer = ctypes.c_int64, ctypes.c_int32, ctypes.c_void_p
    head = [ctypes.POINTER(Rule), i64, i64, i64, i64, i32, *[ctypes.POINTER(Setting)] * 3]
    kernel.qleaky_lif_forward.argtypes = [*head, *[pointer] * 7]
    kernel.qleaky_lif_backward.argtypes = [*head, *[pointer] * 7, ctypes.POINTER(Terms), pointer, pointer]
    kernel.qleaky_expect_writes.argtypes = [pointer, i64]
    kernel.qleaky_expect_writes.restype = None
    kernel.qleaky_lif_forward.restype = kernel.qleaky_lif_backward.restype = None
    return kernel


def fits(*tensors: Tensor, device: str = "cpu") -> bool:
    """Plain float32 tensors in memory: no fakes, no functorch wrappers, whose data a pointer does not reach."""
    return not torch._C._are_functorch_transforms_active() and all(
        tensor.dtype is torch.float32
        and tensor.device.type == device
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        for tensor in tensors
    )


def sequence(kernel: Kernel, plan: Plan, rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and membranes (T, B, ...) of currents, first membrane, beta, threshold and graded factor."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        spks, mems = CompiledSequence.apply(kernel, plan, rule, *tensors)  # type: ignore[no-untyped-call]
        return spks, mems
    spks, saved = forward(kernel, plan, *tensors, saving=False)
    assert saved.mems is not None
    return spks, saved.mems


class CompiledSequence(torch.autograd.Function):
    """(kernel, plan, rule, currents, mem, beta, threshold, graded) -> spikes and membranes."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, plan: Plan, rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        spks, saved = forward(kernel, plan, *tensors, saving=True)
        ctx.kernel, ctx.plan, ctx.rule = kernel, plan, rule
        mems = saved.mems if plan.keeps_membranes else None
        ctx.save_for_backward(*tensors[1:], mems, saved.charged, saved.codes, saved.masks)
        ctx.set_materialize_grads(False)
        if not plan.has_gradient and not saved.graded.requires_grad:
            ctx.mark_non_differentiable(spks)
        return spks, saved.mems  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        saved, needs = Saved(*ctx.saved_tensors), ctx.needs_input_grad[3:]
        return (None, None, None, *backward(ctx.kernel, ctx.plan, ctx.rule, saved, gradients, needs))


def forward(
    kernel: Kernel,
    plan: Plan,
    currents: Tensor,
    mem: Tensor,
    beta: Tensor,
    threshold: Tensor,
    graded: Tensor,
    *,
    saving: bool,
) -> tuple[Tensor, Saved]:
    """Spikes, and the membranes with what else the backward pass needs."""
    x = flat(currents)
    steps, neurons = len(x), mem.numel()
    spks, mems = _fresh(kernel, x), _fresh(kernel, x)
    charged = _fresh(kernel, x) if saving and plan.keeps_charged else None
    codes = _fresh(kernel, x, torch.uint8) if saving and plan.spec is not None else None
    masks = x.new_empty((steps, (neurons + 7) // 8), dtype=torch.uint8) if saving and plan.clipped else None
    settings = Settings(mem, beta, threshold, graded)
    first = flat(mem)
    outputs = (spks, mems, charged, codes, masks)
    sizes = (steps, neurons, 0, neurons, torch_ops.is_one(graded))
    kernel.qleaky_lif_forward(plan.rule, *sizes, *settings.structures, x.data_ptr(), first.data_ptr(), *map(_pointer, outputs))
    return spks, Saved(mem, beta, threshold, graded, mems, charged, codes, masks)


def _fresh(kernel: Kernel, like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Memory of ``like``'s shape that the kernel will fill."""
    tensor = torch.empty_like(like, dtype=dtype, memory_format=torch.contiguous_format)
    if tensor.nbytes >= LARGE:
        kernel.qleaky_expect_writes(tensor.data_ptr(), tensor.nbytes)
    return tensor


class Settings:
    """beta, threshold and graded factor for the kernel; holds the tensors that it points to."""

    def __init__(self, mem: Tensor, *settings: Tensor) -> None:
        self.tensors = [flat(s if s.numel() == 1 else s.expand(mem.shape)) for s in settings]
        self.structures = [Setting(s.data_ptr(), s.numel() != 1) for s in self.tensors]


def backward(
    kernel: Kernel | None,
    plan: Plan,
    rule: LIFRule,
    saved: Saved,
    gradients: tuple[Tensor | None, ...],
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """Gradients of currents, first membrane, beta, threshold and graded factor."""
    for_spks, for_mems = gradients
    if kernel is None or not _covers(plan, saved, gradients, needs):
        return torch_ops.Backward(rule, unpacked(plan, rule, saved), needs).run(for_spks, for_mems)
    steps = next(len(tensor) for tensor in (saved.codes, saved.mems) if tensor is not None)
    out, carry = _fresh(kernel, saved.mem.expand(steps, *saved.mem.shape)), saved.mem.new_empty(saved.mem.shape)
    given = (for_spks is not None, for_mems is not None)
    terms = ParameterTerms(plan, needs, steps, given=given, fresh=lambda: _fresh(kernel, out))
    pointers = Terms(**{name: buffer.data_ptr() for name, buffer in terms.buffers.items()})
    settings = Settings(saved.mem, saved.beta, saved.threshold, saved.graded)
    charged = saved.mems if saved.charged is None and saved.codes is None else saved.charged
    inputs = [
        None if tensor is None else flat(tensor)
        for tensor in (saved.mem, saved.mems, charged, saved.codes, saved.masks, for_spks, for_mems)
    ]
    neurons = saved.mem.numel()
    sizes = (steps, neurons, 0, neurons, torch_ops.is_one(saved.graded))
    kernel.qleaky_lif_backward(
        plan.rule, *sizes, *settings.structures, *map(_pointer, inputs), pointers, out.data_ptr(), carry.data_ptr()
    )
    return [out if needs[0] else None, carry if needs[1] else None, *terms.reduced(saved.beta, saved.threshold, saved.graded)]


def _covers(plan: Plan, saved: Saved, gradients: tuple[Tensor | None, ...], needs: tuple[bool, ...]) -> bool:
    """Gradients come for something that has them, as plain tensors, and sums over them run in the order of memory."""
    for_spks, for_mems = gradients
    floats = (saved.mem, saved.beta, saved.threshold, saved.graded, saved.mems, saved.charged, for_spks, for_mems)
    return (
        (for_mems is not None or (for_spks is not None and plan.has_gradient))
        and fits(*(tensor for tensor in floats if tensor is not None))
        and (not any(needs[2:]) or in_order(saved.mem, for_spks, for_mems))
    )


def unpacked(plan: Plan, rule: LIFRule, saved: Saved) -> torch_ops.Kept:
    """The same as ``torch_ops`` keeps it."""
    mems, charged = saved.mems, saved.charged
    if plan.spec is not None and saved.codes is not None:
        charged = (saved.codes.to(saved.mem.dtype) + plan.spec.format.lowest) * plan.spec.format.step
    charged = mems if charged is None else charged
    assert charged is not None
    raw = fires(rule, charged, saved.threshold)
    if mems is None:
        factor = saved.threshold if rule.subtracts else charged
        mems = charged - raw * factor if plan.late else charged
    masks = None if saved.masks is None else unpacked_bits(saved.masks, charged.shape)
    return torch_ops.Kept(saved.mem, saved.beta, saved.threshold, saved.graded, raw, charged, mems, masks)


def packed(plan: Plan, kept: torch_ops.Kept) -> Saved:
    """What ``torch_ops`` keeps, as the kernel saves it."""
    codes = None
    if plan.spec is not None:
        fmt = plan.spec.format
        codes = (kept.charged / fmt.step - fmt.lowest).to(torch.uint8)
    charged = kept.charged if plan.keeps_charged else None
    masks = None if kept.masks is None else packed_bits(kept.masks)
    return Saved(kept.mem, kept.beta, kept.threshold, kept.graded, kept.mems, charged, codes, masks)


def packed_bits(masks: Tensor) -> Tensor:
    """Booleans (T, ...) of M elements a step as bits (T, ceil(M / 8))."""
    rows = masks.reshape(len(masks), masks.shape[1:].numel())
    padded = torch.nn.functional.pad(rows, (0, -rows.shape[1] % 8)).to(torch.uint8)
    weights = 1 << torch.arange(8, dtype=torch.uint8, device=masks.device)
    return (padded.reshape(len(masks), padded.shape[1] // 8, 8) * weights).sum(-1, dtype=torch.uint8)


def unpacked_bits(packed_: Tensor, shape: torch.Size) -> Tensor:
    """Bits (T, ceil(M / 8)) as booleans of ``shape`` (T, ...), of M elements a step."""
    bits = (packed_.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8, device=packed_.device)) & 1
    return bits.reshape(len(packed_), 8 * packed_.shape[1])[:, : shape[1:].numel()].reshape(shape).bool()


def in_order(*tensors: Tensor | None) -> bool:
    """Whether sums over these run in the order of memory: the order of a sum decides its bits."""
    return all(tensor is None or tensor.is_contiguous() or not any(tensor.stride()) for tensor in tensors)


def flat(tensor: Tensor) -> Tensor:
    """The same numbers in order of memory, for a pointer to reach."""
    return tensor.detach().contiguous().resolve_neg()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()

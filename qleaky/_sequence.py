"""``Leaky.sequence``: which kernel computes a layer and its tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qleaky._lif import LIFRule
from qleaky.kernels import compiled, library, operator
from qleaky.kernels.plan import covers, plan_of
from qleaky.kernels.torch_ops import TorchSequence
from qleaky.quantizers import FixedPoint, Levels, refuse_nan
from qleaky.surrogate import Surrogate


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
        and (not torch.compiler.is_compiling() or covers(rule))
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
    tensors = (currents, mem, beta, threshold, graded)
    if torch.compiler.is_compiling():
        spks, mems, *_ = operator.lif_sequence(*tensors, *operator.encode(rule))
        return spks, mems
    on_cuda = library.cuda_kernel(*tensors)
    plan = plan_of(rule) if on_cuda is not None or compiled.fits(*tensors) else None
    kernel = library.kernel() if plan is not None and on_cuda is None else None
    if plan is not None and on_cuda is not None:
        spks, mems = on_cuda.sequence(plan, rule, *tensors)
    elif plan is not None and kernel is not None:
        spks, mems = compiled.sequence(kernel, plan, rule, *tensors)
    else:
        spks, mems = TorchSequence.apply(rule, *tensors)  # type: ignore[no-untyped-call]
    if isinstance(rule.quantizer, FixedPoint):
        refuse_nan(mems[-1])
    return spks, mems

"""A few small sequences through a kernel and through torch, before the kernel is trusted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qleaky._lif import LIFRule
from qleaky.dynamics import Compare, ResetMechanism, ResetTiming, RoundingSite
from qleaky.kernels import compiled, torch_ops
from qleaky.kernels.plan import Plan, plan_of
from qleaky.quantizers import FixedPoint
from qleaky.surrogate import ATan, FastSigmoid

SHAPE = (3, 43)  # a vector, a part of one, and bits that do not fill a byte
SUBNORMAL = 1e-38  # kernels that flush such numbers to zero differ from torch
NEEDS = (True,) * 5

Compute = Callable[[Plan, LIFRule, list[Tensor], Tensor], list[Tensor | None]]


def differs(kernel: compiled.Kernel) -> str:
    """What the C kernel computes differently from torch; empty if nothing."""

    def compute(plan: Plan, rule: LIFRule, tensors: list[Tensor], weights: Tensor) -> list[Tensor | None]:
        currents, *others = tensors
        spks, saved = compiled.forward(kernel, plan, currents, *others, saving=True)
        return [spks, saved.mems, *compiled.backward(kernel, plan, rule, saved, tuple(weights), NEEDS)]

    return first_difference(compute, torch.device("cpu"))


def first_difference(compute: Compute, device: torch.device) -> str:
    """The first rule of which ``compute`` does not give torch's outputs and gradients on ``device``; empty if there is none."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device("cpu"):
        torch.manual_seed(0)
        return next((name for name, rule in _rules().items() if not _agrees(compute, rule, device)), "")


def _rules() -> dict[str, LIFRule]:
    delayed = ResetTiming.DELAYED, Compare.STRICT, None, RoundingSite.SUM
    late = ResetTiming.SAME_STEP, Compare.INCLUSIVE, None, RoundingSite.SUM
    quantizer = FixedPoint(8, 5)
    return {
        "float, subtract": LIFRule(ResetMechanism.SUBTRACT, *delayed, None, ATan()),
        "float, zero": LIFRule(ResetMechanism.ZERO, *delayed, None, FastSigmoid()),
        "8 bits, subtract": LIFRule(ResetMechanism.SUBTRACT, *delayed, quantizer, ATan()),
        "8 bits, reset in the same step": LIFRule(ResetMechanism.SUBTRACT, *late, quantizer, ATan()),
        "8 bits, floor": LIFRule(ResetMechanism.SUBTRACT, *delayed, FixedPoint(8, 5, rounding="floor"), ATan()),
    }


def _agrees(compute: Compute, rule: LIFRule, device: torch.device) -> bool:
    plan = plan_of(rule)
    assert plan is not None
    currents, mem = torch.randn(SHAPE, dtype=torch.float32), torch.randn(SHAPE[1:], dtype=torch.float32)
    currents[0, :2], mem[:2] = torch.tensor([SUBNORMAL, -SUBNORMAL]), 0.0
    settings = [torch.tensor(number, dtype=torch.float32) for number in (0.9, 0.7, 1.0)]
    weights = torch.randn((2, *SHAPE), dtype=torch.float32)
    weights[0, -1, :2], weights[1, -1, :2] = SUBNORMAL, 0.0
    weights, *tensors = (tensor.to(device) for tensor in (weights, currents, mem, *settings))
    spks, kept = torch_ops.forward(rule, *tensors)
    expected = [spks, kept.mems, *torch_ops.Backward(rule, kept, NEEDS).run(*weights)]
    return all(_equal(a, b) for a, b in zip(compute(plan, rule, tensors, weights), expected, strict=True))


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a, b)

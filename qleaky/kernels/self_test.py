"""A few small sequences through the compiled kernel and through torch, before the kernel is trusted."""

from __future__ import annotations

import torch
from torch import Tensor

from qleaky._lif import LIFRule
from qleaky.dynamics import Compare, ResetMechanism, ResetTiming, RoundingSite
from qleaky.kernels import compiled, torch_ops
from qleaky.kernels.plan import plan_of
from qleaky.quantizers import FixedPoint
from qleaky.surrogate import ATan, FastSigmoid

SHAPE = (3, 43)  # a vector, a part of one, and bits that do not fill a byte


def differs(kernel: compiled.Kernel) -> str:
    """What the kernel computes differently from torch; empty if nothing."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device("cpu"):
        torch.manual_seed(0)
        return next((name for name, rule in _rules().items() if not _agrees(kernel, rule)), "")


def _rules() -> dict[str, LIFRule]:
    delayed = ResetTiming.DELAYED, Compare.STRICT, None, RoundingSite.SUM
    late = ResetTiming.SAME_STEP, Compare.INCLUSIVE, None, RoundingSite.SUM
    quantizer = FixedPoint(8, 5)
    return {
        "float, subtract": LIFRule(ResetMechanism.SUBTRACT, *delayed, None, ATan()),
        "float, zero": LIFRule(ResetMechanism.ZERO, *delayed, None, FastSigmoid()),
        "8 bits, subtract": LIFRule(ResetMechanism.SUBTRACT, *delayed, quantizer, ATan()),
        "8 bits, reset in the same step": LIFRule(ResetMechanism.SUBTRACT, *late, quantizer, ATan()),
    }


def _agrees(kernel: compiled.Kernel, rule: LIFRule) -> bool:
    plan = plan_of(rule)
    assert plan is not None
    currents, mem = torch.randn(SHAPE, dtype=torch.float32), torch.randn(SHAPE[1:], dtype=torch.float32)
    settings = [torch.tensor(number, dtype=torch.float32) for number in (0.9, 0.7, 1.0)]
    weights = torch.randn((2, *SHAPE), dtype=torch.float32)
    needs = (True,) * 5
    spks, kept = torch_ops.forward(rule, currents, mem, *settings)
    expected = [spks, kept.mems, *torch_ops.Backward(rule, kept, needs).run(*weights)]
    spks, saved = compiled.forward(kernel, plan, currents, mem, *settings, saving=True)
    computed = [spks, saved.mems, *compiled.backward(kernel, plan, rule, saved, tuple(weights), needs)]
    return all(_equal(a, b) for a, b in zip(computed, expected, strict=True))


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a, b)

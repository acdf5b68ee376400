"""Random layers and tensors for the kernels, with the numbers at which arithmetic goes wrong among them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qleaky import FixedPoint, MulShift, ShiftDecay, surrogate
from qleaky._lif import LIFRule
from qleaky.dynamics import Compare, ResetMechanism, ResetTiming, RoundingSite
from qleaky.fixed import Rounding

SURROGATES = [
    surrogate.atan(),
    surrogate.atan(3.7),
    surrogate.fast_sigmoid(),
    surrogate.straight_through_estimator(),
    surrogate.triangular(0.3),
    surrogate.SFS(5, 0.1),
    surrogate.LSO(),
    surrogate.heaviside(),
]
ODD = [0.0, -0.0, 1e-40, -1e-40, 1e-45, 1.17e-38, 3e38, -3e38, float("inf"), -float("inf")]
NAMES = ("spikes", "membranes", "currents", "first membrane", "beta", "threshold", "graded factor")


@dataclass(frozen=True)
class Case:
    """What a sequence is computed from, and the gradients that come back to its two outputs."""

    rule: LIFRule
    tensors: tuple[Tensor, ...]  # currents, first membrane, beta, threshold, graded factor
    learned: tuple[bool, ...]
    gradients: tuple[Tensor | None, Tensor | None]


def draw_rule(r: random.Random) -> LIFRule:
    quantizer: FixedPoint | None = None
    decay: Any = r.choice([None, MulShift(n=8)])
    site = RoundingSite.SUM
    if r.random() < 0.6:
        bits, signed = r.randint(2, 8), r.random() < 0.8
        narrow = signed and r.random() < 0.2
        options: dict[str, Any] = {"narrow": narrow, "gradient": r.choice(["clipped", "identity"])}
        quantizer = FixedPoint(bits, r.choice([0, 1, 3, 5, 7, 126]), signed, r.choice(list(Rounding)), **options)
        decay = r.choice(
            [decay, MulShift(n=8, rounding=r.choice(list(Rounding))), ShiftDecay(3), ShiftDecay(2, at_least_one=True)]
        )
        site = r.choice(list(RoundingSite))
    chosen = None if r.random() < 0.1 else r.choice(SURROGATES)
    timing, compare = r.choice(list(ResetTiming)), r.choice(list(Compare))
    return LIFRule(r.choice(list(ResetMechanism)), timing, compare, decay, site, quantizer, chosen)


def draw_case(seed: int) -> Case:
    r = random.Random(seed)
    torch.manual_seed(seed)
    rule = draw_rule(r)
    batch, sample = r.choice([1, 3]), r.choice([(1,), (5,), (19,), (40,), (2, 3, 3)])
    steps = r.choice([1, 1, 2, 3, 6])
    grid = rule.spec.format.step if rule.spec is not None and r.random() < 0.5 else 0.25
    rough = r.random() < 0.4 or (rule.spec is not None and rule.spec.format.frac_bits > 100)

    def numbers(*shape: int) -> Tensor:
        values = torch.randn(shape) * r.choice([0.5, 1.0, 3.0])
        return (values * 4).round() * (grid / 2) if rough else values  # ties, edges, membranes on the threshold

    def setting(low: float, high: float) -> Tensor:
        shape = r.choice([(), (), (1,), sample, (sample[0], *[1] * (len(sample) - 1)), (batch, *sample)])
        values = torch.rand(shape) * (high - low) + low
        return (values / grid).round() * grid if r.random() < 0.3 else values

    currents, mem = numbers(steps, batch, *sample), numbers(batch, *sample)
    if r.random() < 0.15:
        chosen = torch.rand(currents.shape) < 0.1
        currents[chosen] = torch.tensor([r.choice(ODD) for _ in range(int(chosen.sum()))])
    graded = torch.tensor(1.0) if r.random() < 0.5 else setting(0.2, 2.0) + 0.1
    tensors = (_strided(r, currents), _strided(r, mem), setting(0.0, 1.0), setting(-0.1, 1.2), graded)
    gradients = r.choice([(True, True), (True, True), (True, False), (False, True)])
    given = [_strided(r, torch.randn(currents.shape)) if wanted else None for wanted in gradients]
    return Case(rule, tensors, tuple(r.random() < 0.6 for _ in tensors), (given[0], given[1]))


def _strided(r: random.Random, tensor: Tensor) -> Tensor:
    """Now and then the same numbers in another order of memory."""
    if tensor.ndim < 2 or r.random() < 0.8:
        return tensor
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)


def run(function: Any, case: Case) -> list[Tensor | None]:
    """Outputs and gradients of ``function(rule, *tensors)``; None where there is none."""
    copies = [tensor.detach().clone(memory_format=torch.preserve_format) for tensor in case.tensors]
    leaves = [copy.requires_grad_(learned) for copy, learned in zip(copies, case.learned, strict=True)]
    outputs = function(case.rule, *leaves)
    pairs = [(o, g) for o, g in zip(outputs, case.gradients, strict=True) if g is not None and o.requires_grad]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    found: list[Tensor | None] = [None] * len(wanted)
    if pairs and wanted:
        found = list(torch.autograd.grad([o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True))
    gradients = iter(found)
    return [*outputs, *(next(gradients) if leaf.requires_grad else None for leaf in leaves)]


def difference(a: list[Tensor | None], b: list[Tensor | None]) -> str:
    """The first of outputs and gradients that is not the same, bit for bit but for the sign of zero; NaN is NaN."""
    for name, x, y in zip(NAMES, a, b, strict=False):
        if (x is None or y is None) and x is not y:
            return f"{name}: {x} and {y}"
        if x is not None and y is not None and not _same(x, y):
            return f"{name}: {x} and {y}"
    return ""


def _same(x: Tensor, y: Tensor) -> bool:
    return torch.equal(x.isnan(), y.isnan()) and torch.equal(x.nan_to_num(7), y.nan_to_num(7))

"""The C kernel gives what torch operations give: spikes, membranes and every gradient, bit for bit."""

import threading
from typing import Any

import pytest
import torch
from cases import Case, difference, draw_case, run
from torch import Tensor

from qleaky import FixedPoint, Leaky
from qleaky._lif import LIFRule, lif_step
from qleaky.errors import FormatError
from qleaky.kernels import compiled, library, torch_ops
from qleaky.kernels.plan import plan_of

KERNEL = library.kernel()
needs_compiler = pytest.mark.skipif(KERNEL is None, reason=str(library.backend()))
pytestmark = needs_compiler


def in_c(rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    plan = plan_of(rule)
    assert plan is not None
    return compiled.sequence(KERNEL, plan, rule, *tensors)


def in_torch(rule: LIFRule, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    spks, mems = torch_ops.TorchSequence.apply(rule, *tensors)  # type: ignore[no-untyped-call]
    return spks, mems


def step_by_step(rule: LIFRule, currents: Tensor, mem: Tensor, *settings: Tensor) -> tuple[Tensor, Tensor]:
    spks, mems = [], []
    for x in currents.unbind(0):
        spk, mem, _ = lif_step(rule, x, mem, *settings)
        spks.append(spk)
        mems.append(mem)
    return torch.stack(spks), torch.stack(mems)


def assert_c_is_torch(seed: int) -> None:
    case = draw_case(seed)
    computed, expected = run(in_c, case), run(in_torch, case)
    if case.rule.spec is not None and expected[1] is not None and expected[1].isnan().any():
        computed, expected = computed[:2], expected[:2]  # an error follows
    assert not (found := difference(computed, expected)), (seed, found, case.rule)


def assert_torch_is_the_loop(seed: int) -> None:
    """Where no infinity is, which the loop multiplies by zeros that the sequence leaves out, and in the order of memory, which
    is the order of autograd's sums."""
    case = draw_case(seed)
    expected = run(step_by_step, case)
    tensors = [tensor for tensor in (*case.tensors, *case.gradients, *expected) if tensor is not None]
    if all(tensor.isfinite().all() and tensor.is_contiguous() for tensor in tensors):
        zeros = [None if t is None else torch.zeros_like(t) for t in (*expected[:2], *case.tensors)]
        filled = [
            [zero if tensor is None else tensor for tensor, zero in zip(side, zeros, strict=True)]
            for side in (run(in_torch, case), expected)
        ]
        assert not (found := difference(*filled)), (seed, found, case.rule)


@pytest.mark.parametrize("start", range(0, 2000, 100))
def test_c_is_torch(start: int) -> None:
    for seed in range(start, start + 100):
        assert_c_is_torch(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(2000, 40000, 1000))
def test_c_is_torch_at_length(start: int) -> None:
    for seed in range(start, start + 1000):
        assert_c_is_torch(seed)


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_torch_is_the_loop(start: int) -> None:
    for seed in range(start, start + 100):
        assert_torch_is_the_loop(seed)

"""``Levels`` and ``state_quant`` against snntorch."""

import itertools
import math
from typing import Any

import pytest
import torch
from drawn_numbers import INFINITIES, numbers
from hypothesis import given
from hypothesis import strategies as st
from snntorch.functional import quant
from torch import Tensor

from qleaky import Levels, state_quant


def adversarial(levels: Tensor) -> Tensor:
    """Levels, exact midpoints, the floats next to them, huge and special numbers."""
    middles = (levels[1:] + levels[:-1]) / 2
    beside = [torch.nextafter(x, torch.tensor(to)) for x in (levels, middles) for to in INFINITIES]
    generator = torch.Generator().manual_seed(0)
    random = [torch.randn(60, generator=generator) * scale for scale in (1e-6, 1.0, 5.0, 1e4, 1e8)]
    special = torch.tensor([*INFINITIES, math.nan, 1e30, -1e30, 0.0, -0.0])
    return torch.cat([levels, middles, *beside, *random, special])


GRID = [
    {
        "num_bits": bits,
        "uniform": uniform,
        "thr_centered": centred,
        "threshold": threshold,
        "lower_limit": low,
        "upper_limit": high,
    }
    for bits, uniform, centred, threshold, low, high in itertools.product(
        range(1, 8), (True, False), (True, False), (1, 0.5, 5), (0, 0.3, 1.0), (0.0, 0.2, 0.75)
    )
]


@pytest.mark.parametrize("bits", range(1, 8))
def test_state_quant_is_snntorch_s(bits: int) -> None:
    for options in (options for options in GRID if options["num_bits"] == bits):
        ours, reference = state_quant(**options), quant.state_quant(**options)  # type: ignore[arg-type]
        x = adversarial(ours.levels)
        assert torch.equal(ours(x), reference(x)), options


@pytest.mark.parametrize(
    "options",
    [{}, {"uniform": False}, {"num_bits": 9, "threshold": 2.0}, {"num_bits": 4, "uniform": False, "multiplier": 0.6}],
)
def test_state_quant_is_snntorch_s_for_more_bits_and_other_bases(options: dict[str, Any]) -> None:
    ours, reference = state_quant(**options), quant.state_quant(**options)
    x = adversarial(ours.levels)
    assert torch.equal(ours(x), reference(x))


def test_state_quant_lets_the_gradient_through_as_snntorch_s_does() -> None:
    x = torch.tensor([-9.0, 0.3, 9.0], requires_grad=True)
    for quantizer in (state_quant(4), quant.state_quant(4)):
        assert torch.autograd.grad((quantizer(x) * torch.tensor([1.0, 2.0, 3.0])).sum(), x)[0].tolist() == [1, 2, 3]


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=9, unique=True), numbers(32) | st.just(math.nan))
def test_levels_go_to_the_nearest_and_the_lower_on_ties(values: list[float], x: float) -> None:
    levels, mem = torch.tensor(sorted(values)), torch.tensor([x])
    nearest = quant.StateQuant.apply(mem, levels)
    assert torch.equal(Levels(levels)(mem), nearest)

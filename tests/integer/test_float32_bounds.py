"""The theorem about float32: torch, and graphs with float32 carriers, are exact where the bounds say so."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import qleaky
from qleaky.dynamics import MulShift, ResetMechanism
from qleaky.fixed import QFormat, Rounding
from qleaky.integer import LIF
from qleaky.integer.bounds import lif_bounds
from qleaky.integer.signals import Signal
from qleaky.reference import arrays


def lif(state: QFormat, theta: int, **changes: Any) -> LIF:
    decay = {"decay": MulShift(n=8), "multiplier": np.array(230)}
    return LIF(**{"name": "lif", "input": "input", "state": state, "theta": np.array(theta)} | decay | changes)


def steps_near_ties(layer: LIF, shift: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Membranes and float32 currents whose sums come within a bit of a tie between two codes, or of the next code."""
    assert isinstance(layer.decay, MulShift)
    assert layer.multiplier is not None
    mems, ends = (
        grid.ravel() for grid in np.meshgrid(np.arange(layer.state.lowest, layer.state.highest + 1), np.arange(-300, 300, 7))
    )
    fired = (mems > layer.theta).astype(np.int64)
    kept = mems * (1 - fired) if layer.reset_mechanism is ResetMechanism.ZERO else mems
    decayed = (kept * layer.multiplier) << (shift - layer.decay.n)
    subtracted = fired * layer.theta << shift if layer.reset_mechanism is ResetMechanism.SUBTRACT else 0
    goals = [(ends << shift >> 1) + offset for offset in (-1, 0, 1)]
    currents = np.concatenate([goal - decayed + subtracted for goal in goals])
    exact = currents == currents.astype(np.float32).astype(np.int64)
    return np.tile(mems, len(goals))[exact], currents[exact]


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("mechanism", ResetMechanism)
@pytest.mark.parametrize("signed", [True, False])
def test_a_step_in_float32_is_exact_where_the_proof_says_so(
    signed: bool, mechanism: ResetMechanism, rounding: Rounding
) -> None:
    quantizer, exact = qleaky.FixedPoint(8, 0, signed=signed, rounding=rounding), 0
    for theta, (n, multiplier), shift in itertools.product(
        (0, 1, 100, 120, 127), ((0, 1), (8, 230), (15, 32767)), (15, 16, 17)
    ):
        decay = {"decay": MulShift(n=n), "multiplier": np.array(multiplier)}
        layer = lif(QFormat(8, 0, signed), theta, rounding=rounding, reset_mechanism=mechanism, **decay)
        mems, currents = steps_near_ties(layer, shift)
        bounds = lif_bounds(layer, Signal((1,), shift, currents.min(), currents.max()))
        assert bounds.training_carrier == "float32"
        if bounds.training_exact:
            leaky = qleaky.Leaky(multiplier / (1 << n), float(theta), reset_mechanism=mechanism, state_quant=quantizer)
            inputs = torch.from_numpy(np.ldexp(currents.astype(np.float32), -shift))
            _, after = leaky(inputs, torch.from_numpy(mems.astype(np.float32)))
            assert np.array_equal(after.numpy(), arrays.lif_step(layer, mems, currents, shift)[0])
            exact += 1
    assert exact > 10


def carried_in_float32(layer: LIF, mem: Any, current: Any, shift: int, *, half_even: bool) -> Any:
    """The charge of one step as a graph with float32 carriers does: decay, plus current, minus threshold, round, clip."""
    k, single = max(8 if layer.decay else 0, shift), np.float32
    multiplier = single(1) if layer.multiplier is None else layer.multiplier.astype(np.float32) / single(256)
    incoming = np.ldexp(current.astype(np.float32), -shift)
    if half_even and k and layer.rounding is not Rounding.HALF_EVEN:
        incoming = incoming + single(2.0 ** -(k + 1) - (0.5 if layer.rounding is Rounding.FLOOR else 0))
    total = multiplier * mem.astype(np.float32) + incoming
    total = total - (mem > layer.theta).astype(np.float32) * layer.theta.astype(np.float32)
    assert total.dtype == np.float32
    if half_even or layer.rounding is Rounding.HALF_EVEN:
        total = np.rint(total)
    else:
        total = np.floor(total + single(0.5) if layer.rounding is Rounding.HALF_UP else total)
    return np.clip(total, layer.state.lowest, layer.state.highest).astype(np.int64)


@pytest.mark.parametrize("half_even", [False, True])
@pytest.mark.parametrize("rounding", [Rounding.FLOOR, Rounding.HALF_UP, Rounding.HALF_EVEN])
def test_a_graph_with_float32_carriers_is_exact_where_the_bounds_say_so(rounding: Rounding, half_even: bool) -> None:
    """States of 8 to 16 bits, whatever torch used for them; currents around every tie, and as far as 2**24."""
    met: list[bool] = []
    for bits, theta, shift, decays in itertools.product((8, 12, 16), (1, 100), (0, 7, 8, 9, 16), (True, False)):
        decay = {} if decays else {"decay": None, "multiplier": None}
        layer = lif(QFormat(bits, 0), theta, rounding=rounding, **decay)
        mems, currents = ties(layer, shift)
        bounds = lif_bounds(layer, Signal((1,), shift, currents.min(), currents.max()))
        fine = bounds.float32_half_even if half_even else bounds.float32_exact
        met.append(fine)
        if fine:
            expected = arrays.lif_step(layer, mems, currents, shift)[0]
            assert np.array_equal(carried_in_float32(layer, mems, currents, shift, half_even=half_even), expected)
    assert 5 < sum(met) < len(met)


def ties(layer: LIF, shift: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Membranes, and currents that bring them near a tie between two codes of the whole format, and somewhat beyond it."""
    rng, n, far = np.random.default_rng(0), 8 if layer.decay else 0, 2 * layer.state.highest
    mems, goals = (rng.integers(low, high, 20_000) for low, high in ((layer.state.lowest, layer.state.highest), (-far, far)))
    m = 1 if layer.multiplier is None else int(layer.multiplier)
    decayed = mems * m * 2.0 ** (shift - n) - (mems > layer.theta) * (int(layer.theta) << shift)
    currents = np.rint((goals + 0.5) * 2.0**shift - decayed).astype(np.int64) + rng.integers(-1, 2, goals.size)
    return mems, np.clip(currents, -(1 << 24), 1 << 24)

"""``Leaky`` with deployable dynamics: it computes the scalar specification, and it trains."""

import contextlib
import copy
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from qleaky import FixedPoint, Leaky, MulShift, ShiftDecay, state_quant
from qleaky.dynamics import Compare, Decay, ResetMechanism, ResetTiming, RoundingSite
from qleaky.errors import InputError
from qleaky.fixed import Rounding
from qleaky.integer import LIF
from qleaky.integer.bounds import lif_bounds
from qleaky.integer.reach import Interval
from qleaky.integer.reach import reach as states_reached
from qleaky.integer.signals import Signal
from qleaky.reference import lif_step


def contract(layer: Leaky) -> LIF:
    """The integer layer that a fixed-point Leaky with one threshold and one beta computes."""
    spec = layer.state_quant.spec
    multiplies = isinstance(layer.decay, MulShift)
    multiplier = np.array(round(layer.effective_beta().item() * (1 << layer.decay.n))) if multiplies else None
    return LIF(
        name="lif",
        input="input",
        state=spec.format,
        theta=np.array(int(spec.format.encode(layer.threshold.item()))),
        decay=layer.decay,
        multiplier=multiplier,
        reset_mechanism=layer.reset_mechanism,
        reset_timing=layer.reset_timing,
        compare=layer.compare,
        rounding=spec.rounding,
        rounding_site=layer.rounding_site,
        overflow=spec.overflow,
    )


def assert_computes_the_contract(
    layer: Leaky, mems: Sequence[int], currents: Sequence[int], shift: int, dtype: torch.dtype
) -> None:
    """One step on codes; currents have ``shift`` more fractional bits than the state."""
    expected_layer = contract(layer)
    step = expected_layer.state.step
    numbers = int(expected_layer.theta), 0 if expected_layer.multiplier is None else int(expected_layer.multiplier), shift
    expected = [lif_step(expected_layer, mem, current, *numbers) for mem, current in zip(mems, currents, strict=True)]
    x, old = (
        torch.tensor(codes, dtype=torch.float64) * scale for codes, scale in ((currents, step / 2.0**shift), (mems, step))
    )
    spk, mem = layer(x.to(dtype), old.to(dtype))
    assert mem.dtype == dtype
    assert (mem.double() / step).tolist() == [after for after, _ in expected]
    assert spk.tolist() == [spike for _, spike in expected]


DECAYS: list[Decay | None] = [None, MulShift(n=3), MulShift(n=8), ShiftDecay(3), ShiftDecay(2, at_least_one=True)]
SITES = [(decay, site) for decay in DECAYS for site in RoundingSite if site is RoundingSite.SUM or isinstance(decay, MulShift)]
EVERY_BYTE, QUARTERS = range(-128, 128), [-1200, -516, -131, -6, -2, -1, 0, 1, 2, 3, 6, 130, 515, 1200]


@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize(("decay", "site"), SITES)
def test_every_8_bit_membrane_is_exact(decay: Decay | None, site: RoundingSite, rounding: Rounding, overflow: str) -> None:
    quantizer = FixedPoint(8, 5, rounding=rounding, overflow=overflow)
    mems, currents = zip(*itertools.product(EVERY_BYTE, QUARTERS), strict=True)
    for index, (mechanism, timing, compare) in enumerate(itertools.product(ResetMechanism, ResetTiming, Compare)):
        how = {"reset_mechanism": mechanism, "reset_timing": timing, "compare": compare, "rounding_site": site}
        layer = Leaky(0.63 if decay else 1.0, 1.0, state_quant=quantizer, decay=decay, **how)
        share = slice(index % 3, None, 3)  # every membrane with a third of the currents; the others go to the layers beside it
        assert_computes_the_contract(layer, mems[share], currents[share], 2, torch.float32)


shifts = st.builds(ShiftDecay, k=st.integers(1, 8), at_least_one=st.booleans())


@st.composite
def layers(draw: st.DrawFn) -> Leaky:
    bits, frac_bits = draw(st.sampled_from([4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])), draw(st.integers(0, 12))
    rounding, overflow = draw(st.sampled_from(Rounding)), draw(st.sampled_from(["saturate", "wrap"]))
    decay = draw(st.none() | st.builds(MulShift, n=st.integers(0, 15)) | shifts)
    return Leaky(
        draw(st.floats(-0.1, 1.1)) if decay else 1.0,
        draw(st.integers(1, (1 << (bits - 1)) - 1)) * 2.0**-frac_bits,
        state_quant=FixedPoint(bits, frac_bits, rounding=rounding, overflow=overflow),
        decay=decay,
        reset_mechanism=draw(st.sampled_from(ResetMechanism)),
        reset_timing=draw(st.sampled_from(ResetTiming)),
        compare=draw(st.sampled_from(Compare)),
        rounding_site=draw(st.sampled_from(RoundingSite)),
    )


@settings(max_examples=500)
@given(layers(), st.integers(-2, 14), st.integers(0, 23), st.data())
def test_4_to_16_bit_membranes_are_exact_wherever_the_proof_says_so(
    layer: Leaky, shift: int, current_bits: int, data: st.DataObject
) -> None:
    fmt, reach = layer.state_quant.format, 1 << current_bits
    spec, current = contract(layer), Signal((1,), fmt.frac_bits + shift, np.array(-reach), np.array(reach))
    assume(lif_bounds(spec, current).training_exact)
    states = states_reached(spec, Interval(current.lows, current.highs), spec.membrane_shift(current)).state
    pairs = st.tuples(st.integers(int(states.low.min()), int(states.high.max())), st.integers(-reach, reach))
    mems, currents = zip(*data.draw(st.lists(pairs, min_size=1, max_size=8)), strict=True)
    for dtype in (torch.float32, torch.float64):
        assert_computes_the_contract(layer, mems, currents, shift, dtype)


@pytest.mark.parametrize("bits", [12, 16])
def test_the_finest_decay_of_wide_states_is_exact_in_float32(bits: int) -> None:
    """A membrane times m / 2**15 needs up to 31 bits, which float32 has not: the layer computes in float64."""
    layer = Leaky(32765 / 32768, 1.0, state_quant=FixedPoint(bits, 8), decay=MulShift(n=15))
    mems = range(-(1 << (bits - 1)), 1 << (bits - 1), max(1, 1 << (bits - 12)))
    assert_computes_the_contract(layer, mems, [5] * len(mems), 1, torch.float32)


@pytest.mark.parametrize(("bits", "frac_bits", "dtype"), [(12, 8, torch.bfloat16), (16, 10, torch.float16)])
def test_a_dtype_too_narrow_for_the_state_never_silently_loses_a_code(bits: int, frac_bits: int, dtype: torch.dtype) -> None:
    layer, step = Leaky(1.0, 7.0, state_quant=FixedPoint(bits, frac_bits), reset_mechanism="none"), 2.0**-frac_bits
    with contextlib.suppress(InputError):  # such an input may be refused
        _, mem = layer(torch.tensor([[step]], dtype=dtype), torch.tensor([[4.0]], dtype=dtype))
        assert mem.double().item() == 4 + step


# Training


OPTIONS: list[dict[str, Any]] = [
    {},
    *({"reset_mechanism": mechanism} for mechanism in ResetMechanism),
    *({"reset_timing": timing, "reset_mechanism": "zero"} for timing in ResetTiming),
    *({"reset_timing": timing} for timing in ResetTiming),
    {"compare": "inclusive"},
    {"inhibition": True},
    {"learn_beta": True, "learn_threshold": True, "learn_graded_spikes_factor": True},
    {"learn_beta": True, "decay": MulShift(n=8)},
    {"state_quant": state_quant(8, threshold=1, upper_limit=1.0)},
    *({"state_quant": FixedPoint(8, 5, rounding=rounding)} for rounding in Rounding),
    {"state_quant": FixedPoint(12, 8, overflow="wrap")},
    {"state_quant": FixedPoint(8, 5), "decay": MulShift(n=8), "rounding_site": "decay", "learn_beta": True},
    {"state_quant": FixedPoint(8, 5), "decay": ShiftDecay(3), "learn_beta": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_training_reduces_the_loss(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer, linear = Leaky(0.9, **copy.deepcopy(options)), nn.Linear(6, 4)
    x, target = torch.rand(8, 16, 6), torch.rand(16, 4) * 0.5
    parameters = [*linear.parameters(), *layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    losses = []
    for _ in range(30):
        spikes, _ = layer.sequence(linear(x))
        loss = (spikes.mean(0) - target).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in parameters)


def test_a_learned_beta_stays_on_the_grid_of_its_decay() -> None:
    layer = Leaky(torch.tensor([0.3, 0.9]), learn_beta=True, decay=MulShift(n=8))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0123)
    for _ in range(5):
        layer.sequence(torch.ones(4, 1, 2))[1].sum().backward()
        optimizer.step()
        assert torch.equal(layer.effective_beta() * 256, (layer.beta.clamp(0, 1) * 256).round())
    assert layer.beta.grad is not None
    assert layer.beta.grad.all()

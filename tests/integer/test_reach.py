"""Reachable states: sound against brute force, attained where the worst currents attain them, and for any number of steps."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, lowest_threshold
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer import LIF, Input, IntegerNetwork, Linear, Readout, Synapse
from qleaky.integer.lif_bounds import lif_bounds
from qleaky.integer.reach import Interval, reach
from qleaky.integer.signals import Signal
from qleaky.reference import lif_step
from qleaky.reference.scalar import synapse_step

BYTE = QFormat(8, 0)


def neuron(theta: int = 10, **changes: Any) -> LIF:
    return LIF(**{"name": "lif", "input": "input", "state": BYTE, "theta": np.array(theta)} | changes)


def beta(m: int, n: int) -> dict[str, Any]:
    return {"decay": MulShift(n=n), "multiplier": np.array(m)}


def states_of(part: LIF | Synapse, low: int, high: int, shift: int = 0) -> tuple[int, int]:
    found = reach(part, Interval(np.array(low), np.array(high)), shift).state
    return int(found.low.min()), int(found.high.max())


# By hand


@pytest.mark.parametrize(
    ("layer", "low", "high", "expected"),
    [
        # U = round(U/2 + 7): 7, 11 (10.5), 13 (12.5), 14 (13.5), 14
        (neuron(reset_mechanism=ResetMechanism.NONE, **beta(1, 1)), 0, 7, (0, 14)),
        # -7, -10 (-10.5), -12, -13, -13 (-13.5)
        (neuron(reset_mechanism=ResetMechanism.NONE, **beta(1, 1)), -7, 0, (-13, 0)),
        # U > 10 loses 10 a step later: 10/2 + 7 = 12, and 12/2 - 10 + 0 = -4, 11 - 10 as low as 6 - 10 (5.5 half up)
        (neuron(**beta(1, 1)), 0, 7, (-4, 12)),
        (neuron(compare=Compare.INCLUSIVE, **beta(1, 1)), 0, 7, (-5, 12)),  # 9/2 + 7 = 11.5; 10/2 - 10
        (neuron(reset_mechanism=ResetMechanism.ZERO, **beta(1, 1)), 0, 7, (0, 12)),
        (neuron(reset_timing=ResetTiming.SAME_STEP, **beta(1, 1)), 0, 7, (0, 10)),  # 12 - 10; 10 does not fire
        (neuron(reset_timing=ResetTiming.UNDELAYED, **beta(1, 1)), 0, 7, (0, 10)),
        (neuron(reset_timing=ResetTiming.SAME_STEP, reset_mechanism=ResetMechanism.ZERO), 0, 7, (0, 10)),
        (neuron(), 0, 7, (0, 17)),  # no leak: 10 + 7; 11 - 10 is above zero
        (neuron(), 0, 0, (0, 0)),
        (neuron(reset_mechanism=ResetMechanism.NONE), 0, 1, (0, 127)),  # no leak, no reset: saturates
        (neuron(reset_mechanism=ResetMechanism.NONE, overflow=Overflow.WRAP), 0, 1, (-128, 127)),
        (neuron(reset_mechanism=ResetMechanism.NONE, decay=ShiftDecay(2)), 0, 5, (0, 20)),  # 19 - 4 + 5, and 20 - 5 + 5
        (neuron(theta=-3, **beta(0, 0)), 0, 0, (0, 3)),  # 0 > -3 fires, and takes -3 off
        (neuron(max_spikes=3, reset_timing=ResetTiming.SAME_STEP), 0, 25, (0, 10)),  # 35 fires 3 times, 31 too: 5 and 1
        (
            neuron(max_spikes=2, reset_timing=ResetTiming.SAME_STEP),
            0,
            25,
            (0, 107),
        ),  # 35 keeps 15, 40 keeps 20, ..., 127 keeps 107
    ],
)
def test_reachable_membranes(layer: LIF, low: int, high: int, expected: tuple[int, int]) -> None:
    assert states_of(layer, low, high) == expected


def test_a_synaptic_current_has_no_reset() -> None:
    assert states_of(Synapse(state=BYTE, **beta(1, 1)), 0, 7) == (0, 14)


def test_each_neuron_has_its_own_range() -> None:
    layer = neuron(reset_mechanism=ResetMechanism.NONE, decay=MulShift(n=1), multiplier=np.array([0, 1, 2]))
    found = reach(layer, Interval(np.array([-1, 0, 0]), np.array([0, 7, 1])), 0)
    assert found.state.low.tolist() == [-1, 0, 0]
    assert found.state.high.tolist() == [0, 14, 127]
    assert found.overflows


# A leak that takes longer than the rounds allow


def test_a_slow_leak_has_the_geometric_bound() -> None:
    """|I| / (1 - beta) = 256 * 100: about 25,600 of 2**20, reached after some 2,000 steps of adding 100."""
    layer = neuron(state=QFormat(21, 0), reset_mechanism=ResetMechanism.NONE, **beta(255, 8))
    low, high = states_of(layer, -30, 100)
    mem = 0
    for _ in range(5000):
        mem, _ = lif_step(layer, mem, 100, 10, 255, 0)
    assert mem <= high <= 1.03 * mem
    assert -1.1 * 30 * 256 <= low <= -30 * 250


def test_a_slow_leak_with_resets_stays_near_the_threshold() -> None:
    """One input of 100 above a threshold of 1,000 is all there is: no long sums."""
    layer = neuron(theta=1000, state=QFormat(21, 0), **beta(4095, 12))
    low, high = states_of(layer, 0, 100)
    assert 1100 <= high <= 26 * 4096
    assert low >= -1000


def test_where_nothing_leaks_the_format_is_the_bound() -> None:
    assert states_of(neuron(state=QFormat(20, 0), reset_mechanism=ResetMechanism.NONE), -1, 1) == (-(1 << 19), (1 << 19) - 1)


def test_numbers_beyond_64_bits_are_exact() -> None:
    layer = neuron(reset_mechanism=ResetMechanism.NONE, **beta(1, 1))
    assert states_of(layer, 0, 7 << 90, 90) == (0, 14)


# Brute force


def brute_force(layer: LIF, currents: list[int], shift: int) -> set[int]:
    """Every membrane that any sequence of these currents can lead to."""
    multiplier = 0 if layer.multiplier is None else int(layer.multiplier)
    met, new = {0}, {0}
    while new:
        new = {lif_step(layer, u, i, int(layer.theta), multiplier, shift)[0] for u in new for i in currents} - met
        met |= new
    return met


@st.composite
def parts(draw: st.DrawFn) -> LIF:
    decay = draw(
        st.none()
        | st.builds(MulShift, n=st.integers(0, 6), rounding=st.none() | st.sampled_from(Rounding))
        | st.builds(ShiftDecay, k=st.integers(1, 4), at_least_one=st.booleans())
    )
    state = QFormat(draw(st.integers(3, 9)), 0, draw(st.booleans()))
    mechanism, timing = draw(st.sampled_from(ResetMechanism)), draw(st.sampled_from(ResetTiming))
    compare = draw(st.sampled_from(Compare))
    lowest = lowest_threshold(mechanism, timing, compare)
    counted = mechanism is ResetMechanism.SUBTRACT and timing is not ResetTiming.UNDELAYED and draw(st.booleans())
    theta = draw(st.integers(1 if counted else state.lowest if lowest is None else lowest, min(state.highest, 60)))
    return neuron(
        theta,
        state=state,
        decay=decay,
        multiplier=np.array(draw(st.integers(0, 1 << decay.n))) if isinstance(decay, MulShift) else None,
        reset_mechanism=mechanism,
        reset_timing=timing,
        compare=compare,
        rounding=draw(st.sampled_from(Rounding)),
        rounding_site=draw(st.sampled_from(RoundingSite)),
        overflow=draw(st.sampled_from([Overflow.SATURATE, Overflow.SATURATE, Overflow.WRAP])),
        max_spikes=draw(st.integers(2, 4)) if counted else 1,
    )


@settings(max_examples=400)
@given(parts(), st.integers(-60, 60), st.integers(0, 40), st.integers(-1, 4))
def test_no_sequence_of_currents_leaves_the_reachable_range(layer: LIF, low: int, span: int, shift: int) -> None:
    currents = sorted({low, low + span // 3, low + span // 2, low + span})
    met = brute_force(layer, currents, shift)
    least, most = states_of(layer, low, low + span, shift)
    assert least <= min(met) <= max(met) <= most


@settings(max_examples=200)
@given(parts(), st.integers(-60, 60), st.integers(0, 40), st.integers(-1, 4))
def test_without_resets_the_worst_currents_attain_the_range(layer: LIF, low: int, span: int, shift: int) -> None:
    changes = {"reset_mechanism": ResetMechanism.NONE, "overflow": Overflow.SATURATE, "max_spikes": 1}
    layer = LIF(**{name: getattr(layer, name) for name in layer.__struct_fields__} | changes)
    met = brute_force(layer, [low, low + span], shift)
    least, most = states_of(layer, low, low + span, shift)
    assert (min(met), max(met)) == (least, most)


@settings(max_examples=200)
@given(parts(), st.integers(-60, 60), st.integers(0, 40))
def test_a_state_that_never_overflows_is_said_to_where_the_interval_shows_it(layer: LIF, low: int, span: int) -> None:
    if reach(layer, Interval(np.array(low), np.array(low + span)), 0).overflows:
        return
    silent = LIF(**{name: getattr(layer, name) for name in layer.__struct_fields__} | {"overflow": Overflow.PROVED_NONE})
    assert brute_force(silent, [low, low + span], 0) == brute_force(layer, [low, low + span], 0), "no step raises"


@settings(max_examples=100)
@given(parts(), st.integers(-60, 60), st.integers(0, 40), st.integers(-1, 4))
def test_synaptic_currents_stay_in_their_range(layer: LIF, low: int, span: int, shift: int) -> None:
    same = ("state", "decay", "multiplier", "rounding", "rounding_site", "overflow")
    synapse = Synapse(**{name: getattr(layer, name) for name in same})
    multiplier = 0 if synapse.multiplier is None else int(synapse.multiplier)
    met, new = {0}, {0}
    while new:
        new = {synapse_step(synapse, j, i, multiplier, shift) for j in new for i in (low, low + span)} - met
        met |= new
    least, most = states_of(synapse, low, low + span, shift)
    assert least <= min(met) <= max(met) <= most


# What the proof says of it


def network(layer: LIF, weight: int = 1) -> IntegerNetwork:
    fc = Linear(name="fc", input="input", weight=np.array([[weight]]), weight_frac_bits=0)
    layers = (fc, LIF(**{name: getattr(layer, name) for name in layer.__struct_fields__} | {"input": "fc"}))
    return IntegerNetwork(inputs=(Input((1,), QFormat(4, 0)),), num_steps=3, layers=layers, readouts=(Readout("lif"),))


def test_proved_none_is_proved_or_a_reason() -> None:
    silent = neuron(overflow=Overflow.PROVED_NONE, **beta(1, 1))  # |I| <= 8 * weight, |U| <= 2 |I| + 10
    assert network(silent, 5).proof.artefact_exact
    refused = network(silent, 9).proof
    assert refused.artefact_reasons == (
        "layer 'lif': a sum may leave Q7.0 (range -128.0 to 127.0, step 1.0), where overflow='proved_none' says that none "
        "does; use a wider state, a stronger leak or smaller weights, or let it saturate.",
    )


def test_a_synapse_that_may_overflow_is_a_reason_too() -> None:
    synapse = Synapse(state=BYTE, overflow=Overflow.PROVED_NONE)
    assert "layer 'lif' (synaptic current): a sum may leave Q7.0" in network(neuron(synapse=synapse)).proof.artefact_reasons[0]


@pytest.mark.parametrize(("weight", "overflows"), [(1, False), (9, True)])
def test_the_bounds_say_whether_a_state_ever_saturates(weight: int, overflows: bool) -> None:
    bounds = network(neuron(**beta(1, 1)), weight).proof.layers[1]
    assert bounds.overflows == overflows
    assert (bounds.mem_low, bounds.mem_high) == ((-128, 106) if overflows else (-15, 12))


def test_the_membrane_integrates_the_reachable_synaptic_current() -> None:
    """J <= 14 from currents up to 7, so U <= 14 without a memory of its own, in a format of 8 bits each."""
    synapse = Synapse(state=BYTE, **beta(1, 1))
    layer = neuron(reset_mechanism=ResetMechanism.NONE, synapse=synapse, **beta(0, 0))
    bounds = lif_bounds(layer, Signal((1,), 0, np.array(0), np.array(7)))
    assert bounds.synapse is not None
    assert (bounds.synapse.kind, bounds.synapse.mem_low, bounds.synapse.mem_high) == ("synapse", 0, 14)
    assert (bounds.synapse.input_bound, bounds.input_bound, bounds.mem_high) == (7, 14, 14)

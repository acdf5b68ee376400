"""What vectors are chosen for beyond events of neurons: every step and weight, equal classes, the edges of rounding."""

from typing import Any

import numpy as np
import pytest
from benchmark_scripts import script

from qleaky import IntegerNetwork, QFormat, run
from qleaky.dynamics import Compare
from qleaky.fixed import Rounding, round_shift
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.verification.vectors import vectors
from qleaky.verification.vectors.moments import MOMENTS, elsewhere
from qleaky.verification.vectors.observing import Observer

BYTES, STATE, SHIFT = QFormat(8, 0), QFormat(6, 0), 4


def one(rounding: str = "half_up", compare: str = "strict", readout: Any = None) -> IntegerNetwork:
    """One step of two neurons, whose current is the input, and three times the input, in sixteenths of a code."""
    fc = Linear(name="fc", input="input", weight=np.array([[1], [3]], np.int8), weight_frac_bits=SHIFT)
    neurons = LIF(name="lif", input="fc", state=STATE, theta=np.array(2), rounding=Rounding(rounding), compare=Compare(compare))
    return IntegerNetwork(
        inputs=(Input((1,), BYTES),), num_steps=1, layers=(fc, neurons), readouts=(readout or Readout("lif", "last_membrane"),)
    )


ALL = np.arange(-128, 128).astype(np.int8).reshape(1, 256, 1)
CURRENTS = np.arange(-128, 128)[:, None] * np.array([1, 3])


def happened(network: IntegerNetwork, event: str) -> Any:
    return Observer(network).observe({"input": ALL}).events[event]


@pytest.mark.parametrize("rounding", Rounding)
def test_a_sum_is_at_an_edge_where_the_least_more_or_less_rounds_to_another_code(rounding: Rounding) -> None:
    rounded = np.vectorize(lambda total: round_shift(int(total), SHIFT, rounding))
    codes = rounded(CURRENTS)
    inside = (codes > STATE.lowest) & (codes < STATE.highest)
    more, less = (inside & (rounded(CURRENTS + by) != codes) for by in (1, -1))
    assert np.array_equal(happened(one(rounding), "under"), more & (codes % 2 == 0))
    assert np.array_equal(happened(one(rounding), "other_under"), more & (codes % 2 == 1))
    assert np.array_equal(happened(one(rounding), "over"), less)


def test_a_tie_is_what_half_up_and_half_even_round_differently() -> None:
    up, even = (
        np.vectorize(lambda total, how=how: round_shift(int(total), SHIFT, how))(CURRENTS)
        for how in (Rounding.HALF_UP, Rounding.HALF_EVEN)
    )
    inside = (up > STATE.lowest) & (up < STATE.highest)
    halves = CURRENTS % (1 << SHIFT) == 1 << (SHIFT - 1)
    assert np.array_equal(happened(one(), "tie"), inside & (up != even))
    assert np.array_equal(happened(one(), "other_tie"), inside & halves & (up == even))


def test_what_pushes_a_neuron_up_is_its_rounded_sum() -> None:
    sums = np.vectorize(lambda total: round_shift(int(total), SHIFT, Rounding.HALF_UP))(CURRENTS)
    assert (sums.min(), sums.max()) == (-24, 24)
    assert np.array_equal(Observer(one()).observe({"input": ALL}).pushed, sums)


@pytest.mark.parametrize(("compare", "code"), [("strict", 3), ("inclusive", 1)])
def test_above_is_the_code_next_to_the_threshold_on_the_other_side_of_the_comparison(compare: str, code: int) -> None:
    network = one(compare=compare)
    membranes = run(network, ALL).membranes["lif"][0]
    assert np.array_equal(happened(network, "above"), membranes == code)
    assert np.array_equal(happened(network, "threshold"), membranes == 2)


def test_a_weight_is_felt_where_its_input_is_active_and_its_neuron_does_not_saturate() -> None:
    codes = np.vectorize(lambda total: round_shift(int(total), SHIFT, Rounding.HALF_UP))(CURRENTS)
    inside = (codes >= STATE.lowest) & (codes <= STATE.highest)
    felt = Observer(one()).observe({"input": ALL}).goals["weights"]
    assert np.array_equal(felt, inside & (np.arange(-128, 128)[:, None] != 0))


@pytest.mark.parametrize("kind", ["spikes", "spike_count", "membrane_mean", "last_membrane"])
def test_classes_are_equal_where_the_two_largest_numbers_are(kind: Any) -> None:
    network = script("mutations_networks").dense(np.random.default_rng(5), {}, readout=kind)
    codes = {"input": np.random.default_rng(0).integers(0, 2, (4, 200, 4)).astype(np.uint8)}
    name = network.output_name(network.readouts[0])
    numbers = np.sort(run(network, codes).outputs[name], axis=-1)
    equal = numbers[..., -1] == numbers[..., -2]
    found = Observer(network).observe(codes)
    assert np.array_equal(found.goals["classes"][:, 0], equal.any(axis=0) if kind == "spikes" else equal)
    assert np.array_equal(found.gaps[:, 0] == 0, found.goals["classes"][:, 0])


def test_moments_are_events_of_a_layer_at_a_step() -> None:
    network = script("mutations_networks").small("half-up")
    codes = np.random.default_rng(0).integers(0, 2, (4, 50, 4)).astype(np.uint8)
    found = Observer(network).observe({"input": codes}).goals["moments"].reshape(50, len(MOMENTS), 2, 4)
    recording = run(network, codes)
    for place, layer in enumerate(network.lif_layers):
        there = (recording.membranes[layer.name] == layer.theta).any(axis=2).T
        assert np.array_equal(found[:, MOMENTS.index("threshold"), place], there)


def test_what_lacks_at_a_step_is_looked_for_in_samples_that_have_it_at_another() -> None:
    """Two moments of three steps: the first is had at step 1 by sample 1, the second nowhere."""
    found = np.zeros((3, 6), np.bool_)
    found[1, 1] = True
    assert elsewhere(found, 3).tolist() == [1]
    found[:, :3] = True
    assert elsewhere(found, 3).tolist() == []


@pytest.mark.parametrize("name", ["half-up", "undelayed", "12-bit states", "no reset", "8-bit static inputs"])
def test_of_a_network_with_few_inputs_every_event_that_there_is_is_in_the_vectors(name: str) -> None:
    networks = script("mutations_networks")
    network = networks.small(name)
    observer = Observer(network)
    possible, chosen = observer.observe(networks.every_input(network)), observer.observe(vectors(network).codes)
    for event, found in possible.events.items():
        assert np.array_equal(chosen.events[event].any(axis=0), found.any(axis=0)), event
    for goal, found in possible.goals.items():
        assert np.array_equal(chosen.goals[goal].any(axis=0), found.any(axis=0)), goal

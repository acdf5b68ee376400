"""Coverage counts what neurons did: compared with the scalar reference, neuron by neuron, in Python's integers."""

from typing import Any

import numpy as np
import pytest

from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.fixed import Overflow, Rounding, round_shift
from qleaky.integer import LIF, FloatInput, FloatLIF, FloatNetwork, Golden, Input, Linear, Readout, Synapse
from qleaky.reference import Recording, lif_step
from qleaky.reference.scalar import synapse_step
from qleaky.verification.coverage import Approach, LayerCoverage, coverage, recorded_coverage
from qleaky.verification.vectors.observing import CHAIN, Observer, bounds

T, SAMPLES, NEURONS = 9, 6, 5
RNG = np.random.default_rng(3)
WEIGHT = (RNG.integers(-9, 10, (NEURONS, 3)) * [[1], [1], [2], [3], [7]]).astype(np.int8)
BIAS = RNG.integers(-20, 21, NEURONS).astype(np.int8)
CODES = RNG.integers(-8, 8, (T, SAMPLES, 3)).astype(np.int8)


def network(**lif: Any) -> IntegerNetwork:
    settings = {"state": QFormat(8, 4), "theta": np.array([120, 25, 3, 40, 9]), "decay": MulShift(n=5)} | lif
    if isinstance(settings["decay"], MulShift):
        settings["multiplier"] = np.array(29)
    layers = (
        Linear(name="fc", input="input", weight=WEIGHT, bias=BIAS, weight_frac_bits=3),
        LIF(name="lif", input="fc", **settings),
    )
    return IntegerNetwork(inputs=(Input((3,), QFormat(4, 2)),), num_steps=T, layers=layers, readouts=(Readout("lif"),))


def scalar(net: IntegerNetwork) -> dict[str, Any]:
    """What happens to every neuron, by the definitions in numerics.md, and the largest integers on the way."""
    layer: Any = net.lif_layers[0]
    x = net.signals["fc"]
    found: dict[str, Any] = {
        name: set() for name in ("fired", "reset", "threshold", "low", "high", "chain", "syn_low", "syn_high")
    }
    found |= {"accumulate": 0, "decay": 0, "step": 0}
    for sample in range(SAMPLES):
        for neuron in range(NEURONS):
            mem = syn = run = 0
            for t in range(T):
                current = int(CODES[t, sample].astype(int) @ WEIGHT[neuron].astype(int)) + int(BIAS[neuron])
                found["accumulate"] = max(found["accumulate"], abs(current))
                shift = layer.current_shift(x)
                if layer.synapse is not None:
                    exact = synapse_sum(layer.synapse, syn, current, shift)
                    found["syn_low"] |= {neuron} if exact < layer.synapse.state.lowest else set()
                    found["syn_high"] |= {neuron} if exact > layer.synapse.state.highest else set()
                    current = syn = synapse_step(layer.synapse, syn, current, 29, shift)
                    shift = layer.membrane_shift(x)
                theta = int(layer.theta[neuron])
                wide = LIF(
                    name="wide",
                    input="x",
                    state=QFormat(30, layer.state.frac_bits),
                    **{"theta": np.array(theta), "reset_timing": ResetTiming.DELAYED},
                    **{name: getattr(layer, name) for name in ("decay", "compare", "rounding", "rounding_site", "max_spikes")},
                    multiplier=layer.multiplier,
                    reset_mechanism=layer.reset_mechanism if layer.reset_timing != "same_step" else ResetMechanism.NONE,
                )
                exact, _ = lif_step(wide, mem, current, theta, 29, shift)  # the same step with room for every sum
                low, high = layer.state.lowest, layer.state.highest
                found["low"] |= {neuron} if exact < low else set()
                found["high"] |= {neuron} if exact > high else set()
                kept = min(max(exact, low), high)
                if layer.overflow is Overflow.WRAP:
                    kept = (exact - low) % (high - low + 1) + low
                if kept in [theta * n for n in range(1, layer.max_spikes + 1)]:
                    found["threshold"] |= {neuron}
                mem, spikes = lif_step(layer, mem, current, theta, 29, shift)
                run = run + 1 if spikes else 0
                found["fired"] |= {neuron} if spikes else set()
                found["chain"] |= {neuron} if run >= CHAIN else set()
                acts = layer.reset_timing != "delayed" or t < T - 1
                found["reset"] |= {neuron} if spikes and acts and layer.reset_mechanism != "none" else set()
    return found


def synapse_sum(synapse: Synapse, state: int, current: int, shift: int) -> int:
    """The rounded sum of a MulShift synapse of 5 bits, before overflow."""
    extra = max(5, shift)
    return round_shift((29 * state << extra - 5) + (current << extra - shift), extra, synapse.rounding)


VARIANTS: dict[str, dict[str, Any]] = {
    "delayed subtract": {},
    "delayed zero": {"reset_mechanism": ResetMechanism.ZERO},
    "no reset": {"reset_mechanism": ResetMechanism.NONE},
    "same step": {"reset_timing": ResetTiming.SAME_STEP},
    "undelayed zero": {"reset_timing": ResetTiming.UNDELAYED, "reset_mechanism": ResetMechanism.ZERO},
    "inclusive": {"compare": Compare.INCLUSIVE},
    "several spikes": {"max_spikes": 3},
    "wrap": {"overflow": Overflow.WRAP},
    "half even on the decay": {"rounding": Rounding.HALF_EVEN, "rounding_site": RoundingSite.DECAY},
    "a shift": {"decay": ShiftDecay(2)},
    "a synapse": {"synapse": Synapse(state=QFormat(6, 2), decay=MulShift(n=5), multiplier=np.array(29))},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_neurons_do_is_what_the_scalar_reference_shows(name: str) -> None:
    net = network(**VARIANTS[name])
    expected = scalar(net)
    (found,), _ = coverage(net, {"input": CODES})
    count = {key: len(neurons) for key, neurons in expected.items() if isinstance(neurons, set)}
    assert found == LayerCoverage(
        layer="lif",
        neurons=NEURONS,
        fired=count["fired"],
        silent=NEURONS - count["fired"],
        reset=count["reset"],
        threshold=count["threshold"],
        saturated_low=count["low"],
        saturated_high=count["high"],
        synapse_low=count["syn_low"],
        synapse_high=count["syn_high"],
    )
    chain = Observer(net).observe({"input": CODES}).events["chain"][:, :NEURONS].any(axis=0)
    assert set(np.flatnonzero(chain)) == expected["chain"]


def test_the_cases_above_tell_some_neurons_from_others() -> None:
    met = [scalar(network(**settings)) for settings in VARIANTS.values()]
    for event in ("fired", "reset", "threshold", "low", "high", "chain", "syn_low", "syn_high"):
        assert any(0 < len(found[event]) < NEURONS for found in met), event


def test_bounds_are_approached_by_the_sample_that_is_named() -> None:
    net = network()
    _, approached = coverage(net, {"input": CODES})
    sums = np.abs(CODES.astype(int) @ WEIGHT.T.astype(int) + BIAS).max(axis=(0, 2))
    accumulate = net.proof.layers[0].accumulate
    assert approached[0] == Approach(
        layer="fc", kind="accumulate", bound=accumulate, reached=int(sums.max()), sample=int(sums.argmax())
    )
    assert [(a.layer, a.kind) for a in approached[1:]] == [("lif", "decay"), ("lif", "step")]


@pytest.mark.parametrize("name", VARIANTS)
def test_no_sample_leaves_a_bound(name: str) -> None:
    net = network(**VARIANTS[name])
    _, approached = coverage(net, {"input": CODES})
    assert {(a.layer, a.kind): a.bound for a in approached} == bounds(net)
    assert all(0 < a.reached <= a.bound for a in approached)


def test_decay_and_step_are_the_integers_of_one_step_written_out() -> None:
    """One neuron, k = 5 bits: 29 * U, and 32 * I + 29 * U - 32 * theta + 16."""
    layers = (
        LIF(name="lif", input="input", state=QFormat(8, 0), theta=np.array(9), decay=MulShift(n=5), multiplier=np.array(29)),
    )
    parts: dict[str, Any] = {"num_steps": 2, "layers": layers, "readouts": (Readout("lif"),)}
    net = IntegerNetwork(inputs=(Input((1,), QFormat(8, 0)),), **parts)
    _, approached = coverage(net, {"input": np.array([[[50], [-60]], [[40], [-70]]], np.int8)})
    reached = {a.kind: (a.reached, a.sample) for a in approached}
    assert reached == {"decay": (29 * 60, 1), "step": (32 * 70 + 29 * 60, 1)}


def test_samples_in_pieces_count_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = coverage(network(), {"input": CODES})
    monkeypatch.setattr("qleaky.verification.vectors.observing.PIECE_NUMBERS", 1)
    assert coverage(network(), {"input": CODES}) == whole


def test_a_float_network_is_covered_by_what_was_recorded() -> None:
    one, record = np.ones((), np.float32), np.zeros((2, 1, 3), np.float32)
    lif = FloatLIF(name="lif", input="input", beta=one, theta=one, graded=one, state=QFormat(4, 2))
    parts: dict[str, Any] = {"layers": (lif,), "readouts": (Readout("lif"),), "reasons": ("beta",)}
    golden = Golden({"input": record}, {"lif": record}, {"lif": record})
    net = FloatNetwork(inputs=(FloatInput((3,)),), num_steps=2, golden=golden, **parts)
    membranes = np.array([[[1.0, 1.75, 0.5]], [[0.0, 1.0, -2.0]]], np.float32)
    (found,) = recorded_coverage(net, Recording({"lif": (membranes > 1).astype(np.float32)}, {"lif": membranes}, {}))
    counts = {"neurons": 3, "fired": 1, "silent": 2, "reset": 1, "threshold": 2, "saturated_low": 1, "saturated_high": 1}
    assert found == LayerCoverage(layer="lif", basis="codes", **counts)  # type: ignore[arg-type]

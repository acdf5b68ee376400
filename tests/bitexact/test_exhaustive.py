"""Every pair of an 8-bit membrane and an 8-bit current in ONNX Runtime, for every way to round, reset and compare."""

from typing import Any

import numpy as np
import pytest

from qleaky import IntegerNetwork, QFormat, Runner, run
from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.export import onnx_bytes
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import LIF, Input, Linear, Readout

CODES = np.arange(-128, 128)
MEMBRANE, CURRENT = (grid.ravel() for grid in np.meshgrid(CODES, CODES))
ZERO = np.zeros_like(MEMBRANE)
INPUTS = np.stack([np.stack([MEMBRANE, ZERO], axis=1), np.stack([ZERO, CURRENT], axis=1)]).astype(np.int8)


def network(gain: int, state: QFormat, theta: int, **settings: Any) -> IntegerNetwork:
    """Two steps: the first input places the membrane, the second is the current, ``gain`` halves of a step each."""
    fc = Linear(name="fc", input="input", weight=np.array([[2, gain]], np.int8), weight_frac_bits=1 - state.frac_bits)
    lif = LIF(name="lif", input="fc", state=state, theta=np.array(theta), **settings)
    return IntegerNetwork(
        inputs=(Input((2,), QFormat(8, state.frac_bits)),), num_steps=2, layers=(fc, lif), readouts=(Readout("lif"),)
    )


def agree(net: IntegerNetwork) -> tuple[Any, Any]:
    """Run all pairs in both; membranes and spikes of the second step."""
    recording, found = run(net, INPUTS), Runner(onnx_bytes(net)).run(INPUTS)
    assert np.array_equal(found["spikes"], recording.spikes["lif"])
    assert np.array_equal(found["lif.final_mem"], recording.membranes["lif"][-1])
    return recording.membranes["lif"], recording.spikes["lif"]


DECAY = {"decay": MulShift(n=8), "multiplier": np.array(230)}
STATE = QFormat(8, 0)


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
@pytest.mark.parametrize("compare", Compare)
@pytest.mark.parametrize("timing", ResetTiming)
@pytest.mark.parametrize("mechanism", ResetMechanism)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_membrane_and_current(
    rounding: Rounding, mechanism: ResetMechanism, timing: ResetTiming, compare: Compare, overflow: Overflow
) -> None:
    how = {"rounding": rounding, "reset_mechanism": mechanism, "reset_timing": timing, "compare": compare, "overflow": overflow}
    for gain in (1, 5):
        membranes, spikes = agree(network(gain, STATE, 40, **how, **DECAY))
        placed = (
            membranes[0] if timing is ResetTiming.DELAYED or mechanism is ResetMechanism.NONE else membranes[0][spikes[0] == 0]
        )
        assert set(range(-128, 40)) <= set(placed.ravel().tolist()) <= set(range(-128, 128))
        assert 0.1 < spikes[1].mean() < 0.6
        assert gain == 1 or membranes[1].min() == -128


@pytest.mark.parametrize("site", RoundingSite)
@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize(
    "beta", [(0, 0), (0, 1), (1, 1), (3, 5), (8, 1), (15, 32767)], ids=lambda beta: f"{beta[1]}/2^{beta[0]}"
)
def test_every_membrane_decays_alike(beta: tuple[int, int], rounding: Rounding, site: RoundingSite) -> None:
    decay = {"decay": MulShift(n=beta[0]), "multiplier": np.array(beta[1])}
    agree(network(1, STATE, 40, rounding=rounding, rounding_site=site, **decay))


@pytest.mark.parametrize("at_least_one", [False, True])
@pytest.mark.parametrize("k", [1, 2, 5, 7, 8, 15])
def test_every_membrane_decays_by_a_shift_alike(k: int, at_least_one: bool) -> None:
    agree(network(1, STATE, 40, decay=ShiftDecay(k, at_least_one)))


@pytest.mark.parametrize("compare", Compare)
@pytest.mark.parametrize("mechanism", ResetMechanism)
@pytest.mark.parametrize("theta", [-128, -1, 0, 1, 127])
def test_every_threshold_at_an_edge(theta: int, mechanism: ResetMechanism, compare: Compare) -> None:
    agree(network(5, STATE, theta, reset_mechanism=mechanism, compare=compare, **DECAY))


@pytest.mark.parametrize(
    "state", [QFormat(7, 0, signed=False), QFormat(8, 0, signed=False), QFormat(8, 0, narrow=True)], ids=repr
)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_membrane_of_an_unsigned_or_narrow_format(state: QFormat, rounding: Rounding) -> None:
    agree(network(5, state, 40, rounding=rounding, **DECAY))


@pytest.mark.parametrize("site", RoundingSite)
@pytest.mark.parametrize("rounding", Rounding)
def test_a_product_at_the_end_of_int32(rounding: Rounding, site: RoundingSite) -> None:
    """131,071 * 2**14 fits 32 bits; what rounding adds to it does not."""
    how = {"rounding": rounding, "rounding_site": site, "reset_mechanism": ResetMechanism.NONE}
    layer = LIF(
        name="lif",
        input="input",
        state=QFormat(17, 0, signed=False),
        theta=np.array(1),
        decay=MulShift(n=15),
        multiplier=np.array(1 << 14),
        **how,
    )
    net = IntegerNetwork(inputs=(Input((1,), QFormat(20, 0)),), num_steps=3, layers=(layer,), readouts=(Readout("lif"),))
    inputs = np.array([500_000, 0, 0]).reshape(3, 1, 1)
    found = Runner(onnx_bytes(net)).run(net.encode(inputs))
    assert np.array_equal(found["lif.final_mem"], run(net, inputs).membranes["lif"][-1])

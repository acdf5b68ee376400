"""The executable specification: scalar steps against tables worked by hand, NumPy against the scalar one."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qleaky.dynamics import Compare, Decay, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, lowest_threshold
from qleaky.errors import InputError, LoweringError
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer import LIF, Input, IntegerNetwork, Linear, Readout
from qleaky.reference import arrays, lif_step, run, run_scalar

BYTE = QFormat(8, 0)
HALVE = {"decay": MulShift(n=1), "multiplier": np.array(1)}


def neuron(theta: int = 10, **settings: Any) -> LIF:
    return LIF(name="lif", input="input", state=BYTE, theta=np.array(theta), **settings)


def step(layer: LIF, mem: int, current: int, shift: int = 0) -> tuple[int, int]:
    multiplier = 0 if layer.multiplier is None else int(layer.multiplier)
    return lif_step(layer, mem, current, int(layer.theta), multiplier, shift)


def play(layer: LIF, currents: list[int]) -> tuple[list[int], list[int]]:
    mem, mems, spks = 0, [], []
    for current in currents:
        mem, spk = step(layer, mem, current)
        mems.append(mem)
        spks.append(spk)
    return mems, spks


# Tables: beta = 1/2, theta = 10, HALF_UP, I = 30, 8, 9, 3. The comment is A (or V) before the rounding and the late reset.


@pytest.mark.parametrize(
    ("mechanism", "timing", "mems", "spks"),
    [
        ("subtract", "delayed", [30, 13, 6, 6], [1, 1, 0, 0]),  # 30; 15+8-10; 6.5+9-10; 3+3
        ("zero", "delayed", [30, 8, 13, 3], [1, 0, 1, 0]),  # 30; 0+8; 4+9; 0+3
        ("none", "delayed", [30, 23, 21, 14], [1, 1, 1, 1]),  # 30; 15+8; 11.5+9; 10.5+3
        ("subtract", "same_step", [20, 8, 3, 5], [1, 1, 1, 0]),  # 30-10; 10+8-10; 4+9-10; 1.5+3
        ("zero", "same_step", [0, 8, 0, 3], [1, 0, 1, 0]),  # 30; 0+8; 4+9; 0+3
        ("none", "same_step", [30, 23, 21, 14], [1, 1, 1, 1]),
        ("subtract", "undelayed", [20, 18, 18, 12], [1, 0, 0, 0]),  # 30-10; 10+8-10 then +10; 9+9-10 then +10; 9+3-10 then +10
        ("zero", "undelayed", [0, 8, 0, 3], [1, 0, 1, 0]),
        ("none", "undelayed", [30, 23, 21, 14], [1, 1, 1, 1]),
    ],
)
def test_reset_mechanism_and_timing(mechanism: str, timing: str, mems: list[int], spks: list[int]) -> None:
    layer = neuron(reset_mechanism=ResetMechanism(mechanism), reset_timing=ResetTiming(timing), **HALVE)
    assert play(layer, [30, 8, 9, 3]) == (mems, spks)


def test_an_undelayed_zero_reset_undoes_the_reset_of_a_silent_step() -> None:
    layer = neuron(reset_mechanism=ResetMechanism.ZERO, reset_timing=ResetTiming.UNDELAYED, **HALVE)
    assert step(layer, 20, 5) == (10, 0)  # R = 1, so V = 0 + 5; S = 0, so U = V - (0 - 1) * V


@pytest.mark.parametrize(("compare", "spike"), [(Compare.STRICT, 0), (Compare.INCLUSIVE, 1)])
def test_a_membrane_on_the_threshold(compare: Compare, spike: int) -> None:
    assert step(neuron(compare=compare), 0, 10) == (10, spike)
    assert step(neuron(compare=compare), 10, 0) == (10 - 10 * spike, 0)


@pytest.mark.parametrize(("overflow", "up", "down"), [(Overflow.SATURATE, 127, -128), (Overflow.WRAP, -56, 56)])
def test_a_membrane_past_its_range(overflow: Overflow, up: int, down: int) -> None:
    layer = neuron(reset_mechanism=ResetMechanism.NONE, overflow=overflow)
    assert step(layer, 100, 100) == (up, int(up > 10))
    assert step(layer, -100, -100) == (down, int(down > 10))


@pytest.mark.parametrize(
    ("rounding", "on_sum", "on_decay"),
    [
        (Rounding.FLOOR, [-1, 1], [-1, 1]),
        (Rounding.HALF_UP, [0, 2], [0, 2]),
        (Rounding.HALF_EVEN, [0, 2], [-1, 1]),
        (Rounding.TOWARD_ZERO, [0, 1], [0, 1]),
    ],
)
def test_the_rounding_site(rounding: Rounding, on_sum: list[int], on_decay: list[int]) -> None:
    """U = -3 decays to -1.5 and U = 1 to 0.5; the current is 1."""
    for site, expected in ((RoundingSite.SUM, on_sum), (RoundingSite.DECAY, on_decay)):
        layer = neuron(rounding=rounding, rounding_site=site, **HALVE)
        assert [step(layer, mem, 1)[0] for mem in (-3, 1)] == expected


def test_a_decay_may_round_in_its_own_way() -> None:
    own = {"decay": MulShift(n=1, rounding=Rounding.TOWARD_ZERO), "multiplier": np.array(1)}
    assert step(neuron(rounding_site=RoundingSite.DECAY, **own), -3, 0) == (-1, 0)


@pytest.mark.parametrize(("at_least_one", "expected"), [(False, [13, -13, 3, -2, 1, 0, 0]), (True, [13, -13, 2, -2, 0, 0, 0])])
def test_a_shift_decay(at_least_one: bool, expected: list[int]) -> None:
    layer = neuron(reset_mechanism=ResetMechanism.NONE, decay=ShiftDecay(2, at_least_one))
    assert [step(layer, mem, 0)[0] for mem in (17, -18, 3, -3, 1, -1, 0)] == expected


@pytest.mark.parametrize(("shift", "current", "mem"), [(2, 7, 2), (2, 6, 2), (2, 5, 1), (1, -3, -1), (-2, 3, 12)])
def test_a_current_on_a_finer_or_coarser_grid(shift: int, current: int, mem: int) -> None:
    """I = 7/4, 6/4, 5/4, -3/2 rounded half up, and 3*4."""
    assert step(neuron(theta=100), 0, current, shift)[0] == mem


# NumPy equals the scalar specification


MEMBRANES = np.arange(-128, 128)
FAR = [64, 66, 131, 200, 257, 258, 513, 600]
CURRENTS = [*range(-9, 10), *FAR, *(-current for current in FAR)]


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
@pytest.mark.parametrize("compare", Compare)
@pytest.mark.parametrize("timing", ResetTiming)
@pytest.mark.parametrize("mechanism", ResetMechanism)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_8_bit_membrane(
    rounding: Rounding, mechanism: ResetMechanism, timing: ResetTiming, compare: Compare, overflow: Overflow
) -> None:
    """With a decay of 5/8 and currents in halves of the state's step, which saturate both ways."""
    how = {"rounding": rounding, "reset_mechanism": mechanism, "reset_timing": timing, "compare": compare}
    layer = neuron(theta=32, decay=MulShift(n=3), multiplier=np.array(5), overflow=overflow, **how)
    mems, currents = (grid.ravel() for grid in np.meshgrid(MEMBRANES, CURRENTS))
    after, spikes = arrays.lif_step(layer, mems, currents, 1)
    expected = [step(layer, mem, current, 1) for mem, current in zip(mems.tolist(), currents.tolist(), strict=True)]
    assert list(zip(after.tolist(), spikes.tolist(), strict=True)) == expected
    assert timing is not ResetTiming.DELAYED or {-128, 127} <= set(after.tolist())


decays = st.one_of(
    st.none(),
    st.builds(MulShift, n=st.integers(0, 15), rounding=st.none() | st.sampled_from(Rounding)),
    st.builds(ShiftDecay, k=st.integers(1, 15), at_least_one=st.booleans()),
)


def codes(draw: st.DrawFn, size: int, low: int, high: int) -> np.ndarray[Any, Any]:
    """One code for all neurons, or one each."""
    shape = draw(st.sampled_from([(), (size,)]))
    count = size if shape else 1
    return np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count))).reshape(shape)


@st.composite
def lif_layers(draw: st.DrawFn, name: str, source: str, size: int) -> LIF:
    signed, decay = draw(st.booleans()), draw(decays)
    overflow = draw(st.sampled_from([Overflow.SATURATE, Overflow.WRAP]))
    narrow = signed and overflow is Overflow.SATURATE and draw(st.booleans())
    state = QFormat(draw(st.integers(2, 20)), draw(st.integers(-3, 12)), signed, narrow=narrow)
    timing = draw(st.sampled_from(ResetTiming))
    mechanism, compare = draw(st.sampled_from(ResetMechanism)), draw(st.sampled_from(Compare))
    lowest = lowest_threshold(mechanism, timing, compare)
    return LIF(
        name=name,
        input=source,
        state=state,
        theta=codes(draw, size, state.lowest if lowest is None else lowest, state.highest),
        decay=decay,
        multiplier=codes(draw, size, 0, 1 << decay.n) if isinstance(decay, MulShift) else None,
        reset_mechanism=mechanism,
        reset_timing=timing,
        compare=compare,
        rounding=draw(st.sampled_from(Rounding)),
        rounding_site=draw(st.sampled_from(RoundingSite)),
        overflow=overflow,
    )


@st.composite
def linear_layers(draw: st.DrawFn, name: str, source: str, size: int, into: int) -> Linear:
    row = st.lists(st.integers(-127, 127), min_size=into, max_size=into)
    bias = draw(st.none() | st.lists(st.integers(-5000, 5000), min_size=size, max_size=size))
    return Linear(
        name=name,
        input=source,
        weight=np.array(draw(st.lists(row, min_size=size, max_size=size)), np.int8),
        bias=None if bias is None else np.array(bias, np.int32),
        weight_frac_bits=draw(st.integers(-2, 9)),
    )


@st.composite
def networks(draw: st.DrawFn) -> IntegerNetwork:
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    fmt = draw(st.sampled_from([QFormat(1, 0, signed=False), QFormat(8, 6, signed=False, zero_point=128), QFormat(6, 2)]))
    layers: list[Any] = []
    source = "input"
    for index, (into, size) in enumerate(itertools.pairwise(sizes)):
        layers.append(draw(linear_layers(f"fc{index}", source, size, into)))
        layers.append(draw(lif_layers(f"lif{index}", f"fc{index}", size)))
        source = f"lif{index}"
    time = draw(st.sampled_from(["sequence", "static"]))
    return IntegerNetwork(
        inputs=(Input((sizes[0],), fmt, time),),
        num_steps=draw(st.integers(1, 6)),
        layers=tuple(layers),
        readouts=(Readout(source),),
    )


@settings(max_examples=300)
@given(networks(), st.integers(0, 2**32 - 1))
def test_numpy_runs_a_network_as_the_scalar_specification_does(network: IntegerNetwork, seed: int) -> None:
    fmt, batch = network.input.format, 2
    lead = (network.num_steps, batch) if network.input.time == "sequence" else (batch,)
    inputs = np.random.default_rng(seed).integers(fmt.lowest, fmt.highest + 1, (*lead, *network.input.shape))
    recording = run(network, inputs)
    over_time = np.broadcast_to(inputs, (network.num_steps, batch, *network.input.shape))
    for sample in range(batch):
        expected = run_scalar(network, over_time[:, sample].tolist())
        for name, membranes in recording.membranes.items():
            assert membranes[:, sample].tolist() == expected[f"{name}.mem"]
            assert recording.spikes[name][:, sample].tolist() == expected[f"{name}.spk"]


@settings(max_examples=200)
@given(lif_layers("lif", "input", 1), st.lists(st.integers(-(1 << 20), 1 << 20), min_size=1, max_size=8))
def test_membranes_are_codes_of_the_state(layer: LIF, currents: list[int]) -> None:
    mem = np.zeros(1, np.int64)
    for current in currents:
        mem, _ = arrays.lif_step(layer, mem, np.array([current]), 0)
        assert layer.state.lowest <= mem <= layer.state.highest


@pytest.mark.parametrize(
    ("theta", "timing", "compare", "mechanism"),
    [
        (-100, ResetTiming.SAME_STEP, Compare.STRICT, ResetMechanism.SUBTRACT),  # 127 + 100
        (0, ResetTiming.UNDELAYED, Compare.INCLUSIVE, ResetMechanism.ZERO),  # 2 * -128
    ],
)
def test_a_late_reset_cannot_push_a_membrane_out_of_its_format(
    theta: int, timing: ResetTiming, compare: Compare, mechanism: ResetMechanism
) -> None:
    with pytest.raises(InputError, match="or a reset could push a membrane out of its format"):
        neuron(theta, reset_timing=timing, compare=compare, reset_mechanism=mechanism)


def test_sums_that_64_bits_cannot_hold_are_refused() -> None:
    weight = Linear(name="fc", input="input", weight=np.array([[127]], np.int8), weight_frac_bits=0)
    layer = LIF(name="lif", input="fc", state=QFormat(8, 50), theta=np.array(1), decay=MulShift(n=8), multiplier=np.array(1))
    network = IntegerNetwork(
        inputs=(Input((1,), QFormat(8, 0)),), num_steps=1, layers=(weight, layer), readouts=(Readout("lif"),)
    )
    with pytest.raises(LoweringError, match=r"layer 'lif': an intermediate sum can reach .*, more than 64-bit integers hold"):
        run(network, np.array([[[1]]]))


# Where rounding happens


def differences(rounding: Rounding, decay: Decay, multiplier: int) -> int:
    """How many of all 8-bit membranes and currents between saturation both ways end elsewhere by the rounding site."""
    sites = [
        neuron(theta=32, rounding=rounding, rounding_site=site, decay=decay, multiplier=np.array(multiplier))
        for site in RoundingSite
    ]
    mems, currents = np.meshgrid(MEMBRANES, np.arange(-300, 300))
    on_sum, on_decay = (arrays.lif_step(layer, mems, currents, 0)[0] for layer in sites)
    return int((on_sum != on_decay).sum())


@pytest.mark.parametrize("rounding", [Rounding.FLOOR, Rounding.HALF_UP])
def test_the_rounding_site_does_not_matter_to_floor_and_half_up(rounding: Rounding) -> None:
    multipliers = [(4, m) for m in range(17)] + [(8, m) for m in range(257)]
    assert not any(differences(rounding, MulShift(n=n), m) for n, m in multipliers)


@pytest.mark.parametrize("rounding", [Rounding.HALF_EVEN, Rounding.TOWARD_ZERO])
def test_the_rounding_site_matters_to_half_even_and_toward_zero(rounding: Rounding) -> None:
    assert differences(rounding, MulShift(n=8), 230) > 0

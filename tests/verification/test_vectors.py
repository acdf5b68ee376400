"""Adversarial vectors: the same every time, at the bounds and thresholds, and they catch what random samples miss."""

import hashlib
import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from qleaky import FloatNetwork, IntegerNetwork, QFormat, run
from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming
from qleaky.errors import InputError, LoweringError
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import LIF, Add, Conv, Delay, Input, Linear, Readout, Reshape, Synapse
from qleaky.model_reference import HowToLower, load_model
from qleaky.verification.coverage import coverage
from qleaky.verification.vectors import Vectors, vectors
from qleaky.verification.vectors.candidates import Inputs
from qleaky.verification.vectors.search import Pool
from qleaky.verification.vectors.textures import patched, stretched, textured

SPIKES = QFormat(1, 0, signed=False)
NARROW = QFormat(8, 6, narrow=True)
ORDER = [
    *("all_spikes", "all_lowest", "maximum_weights", "threshold"),
    *("saturation_low", "saturation_high", "reset_chain", "random"),
]


def dense(
    sizes: tuple[int, ...], steps: int = 12, fmt: QFormat = SPIKES, time: Any = "sequence", spread: int = 40, **lif: Any
) -> IntegerNetwork:
    """Weights of 8 bits; states of 8 bits with a threshold of 16, unless said otherwise."""
    rng, layers, source = np.random.default_rng(len(sizes) * 100 + sizes[0]), list[Any](), "input"
    settings = {"state": QFormat(8, 4), "theta": np.array(16), "decay": MulShift(n=8), "multiplier": np.array(230)} | lif
    for i, (into, size) in enumerate(itertools.pairwise(sizes), start=1):
        weight = rng.integers(-spread, spread + 1, (size, into)).astype(np.int8)
        layers.append(Linear(name=f"fc{i}", input=source, weight=weight, weight_frac_bits=6))
        layers.append(LIF(name=f"lif{i}", input=f"fc{i}", **settings))
        source = f"lif{i}"
    readouts = (Readout(source, "spike_count"),)
    return IntegerNetwork(inputs=(Input(sizes[:1], fmt, time),), num_steps=steps, layers=tuple(layers), readouts=readouts)


def branching() -> IntegerNetwork:
    """Two inputs, one of them static, a convolution, a synaptic current, and a loop."""
    synapse = Synapse(state=QFormat(12, 6), decay=MulShift(n=4), multiplier=np.array([9]))
    window: dict[str, Any] = {"stride": (1,), "pads": ((1, 1),), "dilation": (1,)}
    kernel = np.random.default_rng(0).integers(-9, 10, (3, 2, 3)).astype(np.int8)
    layers = (
        Conv(name="conv", input="image", weight=kernel, weight_frac_bits=2, **window),
        LIF(name="lif", input="conv", state=QFormat(10, 3), theta=np.array(20), synapse=synapse, max_spikes=2),
        Reshape(name="flat", input="lif", shape=(15,)),
        Delay(name="before", input="out", shape=(4,), frac_bits=0, low=0, high=1),
        Linear(name="fc", input="flat", weight=np.ones((4, 15), np.int8), weight_frac_bits=2),
        Linear(name="back", input="before", weight=-np.eye(4, dtype=np.int8) * 3, weight_frac_bits=2),
        Linear(name="side", input="sensor", weight=np.array([[3, -2]] * 4, np.int8), weight_frac_bits=2),
        Add(name="sum", inputs=("fc", "back", "side"), signs=(1, 1, -1)),
        LIF(name="out", input="sum", state=QFormat(8, 2), theta=np.array([5, 6, 7, 8]), reset_timing=ResetTiming.SAME_STEP),
    )
    inputs = (Input((2, 5), QFormat(4, 1), "static", "image"), Input((2,), QFormat(8, 0, False, zero_point=9), name="sensor"))
    readouts = (Readout("out", "spike_count", argmax=True),)
    return IntegerNetwork(inputs=inputs, num_steps=7, layers=layers, readouts=readouts)


def digest(made: Vectors) -> str:
    codes = b"".join(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes() for name, array in made.codes.items())
    return hashlib.sha256(codes + repr(made.groups).encode()).hexdigest()


NETWORKS = {
    "dense": dense((20, 30, 5)),
    "one step": dense((20, 5), steps=1),
    "sensor": dense((6, 9, 4), fmt=QFormat(8, 5, signed=False, zero_point=128)),
    "static": dense((16, 8, 3), fmt=QFormat(4, 3, signed=False), time="static"),
    "branching": branching(),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("samples", [1, 2, 3, 8, 64])
def test_the_groups_are_the_samples_in_order(samples: int, name: str) -> None:
    network, made = NETWORKS[name], vectors(NETWORKS[name], samples=samples)
    assert made.samples == samples
    names = [group.name for group in made.groups]
    assert names == [each for each in ORDER if each in names]
    assert [group.first for group in made.groups] == np.cumsum([0, *(group.count for group in made.groups)])[:-1].tolist()
    for source in network.inputs:
        lead = (network.num_steps, samples) if source.time == "sequence" else (samples,)
        assert made.codes[source.name].shape == (*lead, *source.shape)
        assert made.codes[source.name].dtype == source.format.dtype
    assert all(np.array_equal(made.codes[n], codes) for n, codes in network.encode_all(made.codes).items())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_call_gives_the_same_vectors_and_another_seed_others(name: str) -> None:
    network = NETWORKS[name]
    assert digest(vectors(network, seed=3)) == digest(vectors(network, seed=3)) != digest(vectors(network, seed=4))


def test_vectors_are_the_same_on_every_machine() -> None:
    assert digest(vectors(branching(), samples=16)) == "ae71dc405aaf639f237b4fd38a5b7dd7a0fad2e692607583b56c832985953b39"


def group(made: Vectors, name: str) -> NDArray[Any]:
    """The samples of one group of a network with one input that changes with time."""
    found = next(each for each in made.groups if each.name == name)
    return made.codes["input"][:, found.first : found.first + found.count]


def test_all_spikes_and_all_lowest_are_that() -> None:
    made = vectors(NETWORKS["sensor"])
    assert (group(made, "all_spikes") == 255).all()
    assert (group(made, "all_lowest") == 0).all()


def test_the_largest_channels_are_driven_to_the_bound_exactly() -> None:
    """With a range that is the same both ways the bound of the first layer is a sum that occurs."""
    network = dense((10, 12, 4), fmt=NARROW)
    layer: Any = network.layers[0]
    sums = (group(vectors(network), "maximum_weights")[0].astype(int) @ layer.weight.T.astype(int)).max(axis=0)
    largest = np.argsort(-np.abs(layer.weight.astype(int)).sum(axis=1), kind="stable")[:4]
    assert sums[largest].tolist() == (127 * np.abs(layer.weight.astype(int)).sum(axis=1))[largest].tolist()
    assert sums.max() == network.proof.layers[0].accumulate


def test_spikes_drive_the_largest_sum_that_they_can() -> None:
    network = dense((30, 12, 4))
    layer: Any = network.layers[0]
    _, approached = coverage(network, vectors(network).codes)
    weight = layer.weight.astype(int)
    assert approached[0].reached == max(weight.clip(min=0).sum(axis=1).max(), -weight.clip(max=0).sum(axis=1).min())


def test_a_convolution_is_driven_to_its_bound_where_its_window_is_whole() -> None:
    weight = np.random.default_rng(5).integers(-50, 51, (4, 3, 3, 3)).astype(np.int8)
    window: dict[str, Any] = {"stride": (2, 1), "pads": ((1, 1), (0, 2)), "dilation": (1, 2)}
    layers = (
        Conv(name="conv", input="input", weight=weight, weight_frac_bits=4, **window),
        LIF(name="lif", input="conv", state=QFormat(8, 2), theta=np.array(9)),
    )
    parts: dict[str, Any] = {"num_steps": 3, "layers": layers, "readouts": (Readout("lif"),)}
    network = IntegerNetwork(inputs=(Input((3, 9, 9), NARROW),), **parts)
    _, approached = coverage(network, vectors(network).codes)
    assert approached[0].reached == approached[0].bound == 127 * np.abs(weight.astype(int)).sum(axis=(1, 2, 3)).max()


@pytest.mark.parametrize(
    "network",
    [
        dense((64, 40, 6)),
        dense((64, 40), fmt=NARROW, state=QFormat(16, 12), theta=np.array(4097), spread=127),
        dense((64, 40), fmt=QFormat(8, 6, signed=False, zero_point=100), state=QFormat(16, 9), theta=np.arange(300, 340)),
        dense((64, 40), fmt=NARROW, state=QFormat(16, 12), theta=np.array(4097), rounding=Rounding.FLOOR, spread=127),
        dense((64, 40), fmt=NARROW, state=QFormat(14, 9), theta=np.array(501), time="static", spread=127),
    ],
    ids=["8 bits", "16 bits", "a threshold of each neuron", "floor", "static"],
)
def test_membranes_meet_the_threshold_exactly_where_that_is_possible(network: IntegerNetwork) -> None:
    recording = run(network, vectors(network).codes)
    met = [(recording.membranes[lif.name] == lif.theta).any(axis=(0, 1)) for lif in network.lif_layers]
    share = 1.0 if network.input.time == "sequence" else 0.2  # one sample holds one pattern
    assert all(found.mean() >= share for found in met), [found.mean() for found in met]


# Faults


def replaced(network: IntegerNetwork, **changes: Any) -> IntegerNetwork:
    """The network with its LIF layers changed."""
    layers = [msgspec.structs.replace(la, **changes) if isinstance(la, LIF) else la for la in network.layers]
    return msgspec.structs.replace(network, layers=tuple(layers))


def differs(network: IntegerNetwork, mutant: IntegerNetwork, codes: Any) -> bool:
    expected, got = run(network, codes), run(mutant, codes)
    kinds = ((expected.spikes, got.spikes), (expected.membranes, got.membranes))
    return any(not np.array_equal(a[name], b[name]) for a, b in kinds for name in a)


def random_codes(network: IntegerNetwork, samples: int = 64) -> NDArray[Any]:
    """As many samples of densities from 0 to 1."""
    rng, source = np.random.default_rng(0), network.input
    shape = (network.num_steps, samples, *source.shape)
    density = np.linspace(0, 1, samples).reshape(-1, *(1,) * len(source.shape))
    values = rng.integers(source.format.lowest, source.format.highest + 1, shape)
    return np.where(rng.random(shape) < density, values, source.format.zero_point)


WIDE = {"state": QFormat(20, 12), "theta": np.array(50_001), "spread": 127}
SUMS = {"decay": None, "multiplier": None}
FAULTS: dict[str, tuple[IntegerNetwork, dict[str, Any]]] = {
    "> to >=, wide states": (dense((40, 20), fmt=NARROW, **WIDE), {"compare": Compare.INCLUSIVE}),
    "> to >=, a slow leak": (dense((64, 10), steps=20, **WIDE), {"compare": Compare.INCLUSIVE}),
    ">= to >, no leak": (dense((30, 12), fmt=NARROW, **WIDE, **SUMS, compare=Compare.INCLUSIVE), {"compare": Compare.STRICT}),
    "a dropped saturation": (dense((100, 4), steps=8, state=QFormat(10, 4), theta=np.array(200)), {"state": QFormat(16, 4)}),
    "a dropped lower saturation": (
        dense((100, 4), steps=8, state=QFormat(10, 4), theta=np.array(200), reset_mechanism=ResetMechanism.NONE),
        {"state": QFormat(16, 4)},
    ),
    "wrapping for saturating": (
        dense((100, 4), steps=8, state=QFormat(10, 4), theta=np.array(200)),
        {"overflow": Overflow.WRAP},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_random_samples_miss_is_caught(name: str) -> None:
    network, change = FAULTS[name]
    mutant = replaced(network, **change)
    assert not differs(network, mutant, random_codes(network))
    assert differs(network, mutant, vectors(network).codes)


@pytest.mark.parametrize("fmt", [SPIKES, NARROW])
def test_an_accumulator_that_is_a_bit_too_narrow_is_caught(fmt: QFormat) -> None:
    """Sums that wrap where only the worst case reaches: 5, 50 or 95 % of random spikes never do."""
    network = dense((200, 8, 3), fmt=fmt)
    layer: Any = network.layers[0]

    def largest(codes: NDArray[Any]) -> int:
        return int(np.abs(codes.astype(int) @ layer.weight.T.astype(int)).max())

    assert largest(vectors(network).codes["input"]) > 1.5 * largest(random_codes(network))


# Images


def test_every_class_of_a_convolutional_network_fires() -> None:
    pytest.importorskip("torch")
    network = load_model("fashion-mnist-conv", HowToLower())
    assert isinstance(network, IntegerNetwork)
    last = network.lif_layers[-1].name
    assert run(network, vectors(network).codes).spikes[last].any(axis=(0, 1)).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 17), (2, 31)])
def test_a_texture_has_few_cells_or_lines_between_them_at_all_brightnesses(shape: tuple[int, ...]) -> None:
    made = textured(Inputs((Input(shape, QFormat(6, 3), "static"),), 5), 80, np.random.Generator(np.random.PCG64(2)))["input"]
    assert (made.shape, made.dtype) == ((80, 1, *shape), np.int8)
    assert -32 <= made.min() < -25
    assert 25 < made.max() <= 31
    edges = (np.diff(made.astype(int), axis=-1) != 0).any(axis=tuple(range(1, made.ndim - 1))).sum(axis=-1)
    assert 20 < (edges <= 3 + 2).sum() < 80  # those between four cells, and those of a rectangle; the others are smooth


def test_a_texture_stands_still_or_moves_by_an_element_at_every_step() -> None:
    made = textured(Inputs((Input((2, 9, 7), QFormat(6, 3)),), 5), 40, np.random.Generator(np.random.PCG64(2)))["input"]
    still = [all(np.array_equal(sample[t], sample[0]) for t in range(5)) for sample in made]
    moved = [all(np.array_equal(sample[t], np.roll(sample[0], t, axis=-1)) for t in range(5)) for sample in made]
    assert all(one or other for one, other in zip(still, moved, strict=True))
    assert 5 < sum(still) < 40


def test_a_line_between_two_cells_is_drawn_in_integers() -> None:
    assert stretched(np.array([[0, 10, -10]]), 1, 9, smooth=True).tolist() == [[0, 2, 5, 7, 10, 5, 0, -5, -10]]
    assert stretched(np.array([[1, 2]]), 1, 5, smooth=False).tolist() == [[1, 1, 1, 2, 2]]


def test_inputs_without_spatial_axes_get_no_textures() -> None:
    draw = np.random.Generator(np.random.PCG64(0))
    for shape in ((64,), (3, 2, 2)):
        assert len(textured(Inputs((Input(shape, NARROW),), 4), 7, draw)["input"]) == 0


def test_a_patched_child_has_another_rectangle() -> None:
    inputs = Inputs((Input((1, 8, 8), NARROW, "static"),), 4)
    batch = {"input": np.stack([np.full((1, 1, 8, 8), code, np.int8) for code in (5, 9)])}
    children = patched(inputs, batch, np.zeros(40, np.intp), np.random.Generator(np.random.PCG64(1)))["input"]
    for child in children[:, 0, 0]:
        rows, columns = np.nonzero(child != 5)
        assert ((child != 5)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]).all() if len(rows) else True
    assert (children != 5).any(axis=(1, 2, 3, 4)).sum() > 20
    assert (batch["input"][0] == 5).all()


# Effort and misuse


def test_a_large_network_gets_no_more_candidates_than_are_cheap() -> None:
    large = dense((2000, 3000, 10), steps=100)
    assert (Pool(large, 64, 0).size, Pool(large, 64, 0).rounds) == (64, 0)
    assert Pool(dense((30, 20, 5)), 64, 0).size == 1024


def test_misuse() -> None:
    with pytest.raises(InputError, match="vectors: samples=0; ask for at least 1"):
        vectors(NETWORKS["dense"], samples=0)
    wide = Linear(name="fc1", input="input", weight=np.full((3, 20), 2**62), weight_frac_bits=0)
    network = msgspec.structs.replace(dense((20, 3)), layers=(wide, dense((20, 3)).layers[1]))
    with pytest.raises(LoweringError, match="The reference runs in 64-bit integers"):
        vectors(network)


def test_a_float_network_has_no_codes(float_network: FloatNetwork) -> None:
    with pytest.raises(InputError, match="a FloatNetwork has none"):
        vectors(float_network)  # type: ignore[arg-type]


@pytest.fixture
def float_network() -> FloatNetwork:
    from qleaky.integer import FloatInput, FloatLIF, Golden

    one, record = np.ones((), np.float32), np.zeros((2, 1, 3), np.float32)
    lif = FloatLIF(name="lif", input="input", beta=one, theta=one, graded=one)
    golden = Golden({"input": record}, {"lif": record}, {"lif": record})
    parts: dict[str, Any] = {"layers": (lif,), "readouts": (Readout("lif"),), "reasons": ("beta",), "golden": golden}
    return FloatNetwork(inputs=(FloatInput((3,)),), num_steps=2, **parts)

"""Whole networks as C: what the compiled code computes is what the reference does."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export.c.model_programs import assert_computes, computed, differing, recorded

from qleaky import IntegerNetwork, QFormat
from qleaky.errors import LoweringError
from qleaky.export.c.model import c_model
from qleaky.integer import (
    Add,
    Affine,
    AveragePool,
    Concat,
    Conv,
    Delay,
    Input,
    Linear,
    MaxPool,
    Readout,
    Reshape,
    Transpose,
)
from qleaky.model_reference import HowToLower, load_model
from tests.export.layer_contracts import KERNEL, LAYERS, MAP, SMALL, W5, W44, W54, WINDOW, lif, network
from tests.export.random_contracts import draw, inputs

SPIKES = QFormat(1, 0, signed=False)
CENTRED = QFormat(8, 6, signed=False, zero_point=128)
R = np.random.default_rng(1)
WIDE = R.integers(-127, 128, (10, 1300)).astype(np.int8)
HUGE = W54.astype(np.int64) + np.array([1 << 24, 0, 0, 1 << 24, 0])
WHOLE, POINT = np.ones((4, 2, 6, 6), np.int8), np.ones((1, 1, 1), np.int8)
DEPTHWISE = R.integers(-7, 8, (4, 1, 3, 3)).astype(np.int8)
PADDED: dict[str, Any] = {"stride": (1, 1), "pads": ((1, 1), (1, 1)), "dilation": (1, 1)}
HALVED: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 2), "pads": ((0, 0), (0, 0)), "divisor": 4}
SPECIAL: dict[str, IntegerNetwork] = {
    "spikes go in": network(Linear(name="fc", input="input", weight=W54, weight_frac_bits=1), lif("lif", "fc"), fmt=SPIKES),
    "rows of spikes": network(
        Linear(name="fc", input="input", weight=W54, bias=np.arange(4), weight_frac_bits=1),
        lif("lif", "fc"),
        shape=(3, 7, 5),
        fmt=SPIKES,
    ),
    "more spikes than a list holds": network(
        Linear(name="fc", input="input", weight=WIDE, weight_frac_bits=5), lif("lif", "fc"), shape=(1300,), fmt=SPIKES
    ),
    "weights of 12 bits": network(
        Linear(name="fc", input="input", weight=W54.astype(np.int16) * 250, weight_frac_bits=9), lif("lif", "fc"), fmt=SPIKES
    ),
    "weights that only meet zeros": network(
        Affine(name="none", input="input", scale=np.array([0, 1, 1, 0, 1]), scale_frac_bits=0),
        Linear(name="fc", input="none", weight=HUGE, weight_frac_bits=0),
        lif("lif", "fc"),
        fmt=QFormat(8, 1),
    ),
    "scales that only meet zeros": network(
        Affine(name="none", input="input", scale=np.array([0, 1, 1, 0, 1]), scale_frac_bits=0),
        Affine(name="huge", input="none", scale=np.array([1 << 40, 2, 3, 1 << 50, 4]), bias=np.arange(5), scale_frac_bits=0),
        lif("lif", "huge"),
    ),
    "convolution behind padding, pooled": network(
        Conv(name="conv", input="input", weight=KERNEL, bias=np.arange(4) - 2, weight_frac_bits=1, **PADDED),
        AveragePool(name="pool", input="conv", **HALVED | {"pads": ((1, 1), (0, 1))}),
        lif("lif", "pool"),
        shape=MAP,
        fmt=SPIKES,
    ),
    "every channel its own kernel, pooled": network(
        Conv(name="conv", input="input", weight=DEPTHWISE, bias=np.arange(4), weight_frac_bits=0, groups=2, **PADDED),
        AveragePool(name="pool", input="conv", **HALVED),
        lif("lif", "pool"),
        shape=MAP,
        fmt=SPIKES,
    ),
    "a convolution that two layers read": network(
        Conv(name="conv", input="input", weight=KERNEL, bias=np.arange(4), weight_frac_bits=1, **WINDOW),
        AveragePool(name="pool", input="conv", **HALVED | {"kernel": (1, 1), "stride": (1, 1), "divisor": 1}),
        lif("one", "conv"),
        lif("two", "pool"),
        shape=MAP,
    ),
    "a convolution as wide as its input": network(
        Conv(
            name="conv",
            input="input",
            weight=WHOLE,
            weight_frac_bits=1,
            **PADDED | {"pads": ((0, 0),) * 2},
        ),
        lif("lif", "conv"),
        shape=MAP,
        fmt=SPIKES,
    ),
    "padding wider than the kernel": network(
        Conv(name="conv", input="input", weight=KERNEL, weight_frac_bits=1, **PADDED | {"pads": ((4, 3), (5, 2))}),
        lif("lif", "conv"),
        shape=MAP,
        fmt=SPIKES,
    ),
    "pools and turns of spikes": network(
        MaxPool(name="most", input="input", kernel=(2, 2), stride=(2, 2), pads=((0, 0), (1, 1)), dilation=(1, 1)),
        Transpose(name="turned", input="most", axes=(2, 0, 1)),
        Concat(name="both", inputs=("turned", "turned"), axis=1),
        Linear(name="fc", input="both", weight=np.array([[3, -2, 1]]), weight_frac_bits=1),
        lif("lif", "fc"),
        shape=MAP,
        fmt=SPIKES,
    ),
    "what does not move is computed once": network(
        Linear(name="still", input="image", weight=W5, weight_frac_bits=1),
        Add(name="sum", inputs=("still", "image", "events"), signs=(1, -1, 1)),
        lif("lif", "sum"),
        inputs=(
            Input((5,), CENTRED, "static", "image"),
            Input((5,), SPIKES, name="events"),
        ),
    ),
    "a static input alone": network(
        lif("lif", "input"), inputs=(Input((5,), QFormat(8, 3, signed=False, zero_point=3), "static"),)
    ),
    "static spikes, one step late": network(
        Delay(name="late", input="input", shape=(5,), frac_bits=0, low=-3, high=1),
        lif("lif", "late", theta=np.array(1)),
        inputs=(Input((5,), SPIKES, "static"),),
    ),
    "delays of delays, named last first": network(
        Delay(name="third", input="second", shape=(5,), frac_bits=1, low=-8, high=7),
        Delay(name="second", input="first", shape=(5,), frac_bits=1, low=-8, high=7),
        Delay(name="first", input="input", shape=(5,), frac_bits=1, low=-8, high=7),
        Add(name="sum", inputs=("first", "second", "third"), signs=(1, 1, -1)),
        lif("lif", "sum"),
        num_steps=6,
    ),
    "delays of delays, named first first": network(
        Delay(name="first", input="input", shape=(5,), frac_bits=1, low=-8, high=7),
        Reshape(name="again", input="first", shape=(5, 1)),
        Delay(name="second", input="again", shape=(5, 1), frac_bits=1, low=-8, high=7),
        Reshape(name="flat", input="second", shape=(5,)),
        Add(name="sum", inputs=("first", "flat"), signs=(1, 1)),
        lif("lif", "sum"),
        num_steps=6,
    ),
    "a delay of what lies behind another array": network(
        Affine(name="twice", input="input", scale=np.array([2, -2, 1, 0, 2]), scale_frac_bits=0),
        Affine(name="kept", input="twice", bias=np.arange(5), scale_frac_bits=0),
        Delay(name="late", input="kept", shape=(5,), frac_bits=1, low=-16, high=20),
        Add(name="sum", inputs=("twice", "kept", "late"), signs=(1, 1, -1)),
        lif("lif", "sum"),
    ),
    "layers that nothing reads": network(
        Linear(name="idle", input="input", weight=W54, weight_frac_bits=1),
        Conv(
            name="odd",
            input="input",
            weight=POINT,
            weight_frac_bits=0,
            stride=(1,),
            pads=((0, 0),),
            dilation=(1,),
        ),
        lif("lif", "input"),
        shape=(1, 5),
        readouts=(Readout("lif", "membrane_mean", True),),
    ),
    "readouts of every kind": network(
        lif("a", "input", graded=np.array([-3, 2, 0, 1, 5]), max_spikes=3),
        lif("b", "input"),
        readouts=(
            Readout("a", "spike_count", True),
            Readout("b", "membrane_mean", True),
            Readout("b", "last_membrane"),
            Readout("b", "spikes"),
            Readout("a", "membrane_mean"),
        ),
    ),
    "names that C would mix up": network(
        lif("lif", "input"),
        lif("lif neuron", "input"),
        lif("lif-neuron", "input"),
        lif("lif_membrane", "input"),
        lif("int", "input"),
        lif("膜*/", "input"),
        readouts=tuple(Readout(name, "spike_count", True) for name in ("lif", "lif neuron", "lif_membrane", "膜*/")),
    ),
    "one neuron": network(
        Reshape(name="one", input="input", shape=()), lif("lif", "one"), shape=(1,), readouts=(Readout("lif", "spike_count"),)
    ),
    "codes of 16 and 32 bits": network(
        Add(name="sum", inputs=("a", "b"), signs=(1, 1)),
        lif("lif", "sum"),
        inputs=(Input((5,), QFormat(12, 3), name="a"), Input((5,), QFormat(24, 3, signed=False, zero_point=99), name="b")),
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer(kind: str, tmp_path: Path) -> None:
    assert_computes(LAYERS[kind], inputs(LAYERS[kind], batch=8), tmp_path)


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_stored_and_joined_in_another_way(kind: str, tmp_path: Path) -> None:
    assert_computes(SPECIAL[kind], inputs(SPECIAL[kind], batch=8), tmp_path)


def random_network(seed: int, folder: Path) -> None:
    """A random network computes what the reference does, or is refused for the numbers that its proof bounds."""
    drawn = draw(seed)
    compilers = ("gcc", "clang") if seed % 4 == 0 else ("gcc",)
    if all(b.fits_int32 and (b.synapse is None or b.synapse.fits_int32) for b in drawn.proof.layers):
        assert_computes(drawn, inputs(drawn, batch=6, seed=seed), folder, compilers=compilers)
        return
    with pytest.raises(LoweringError, match=r"more than int32_t holds \(2147483647\)"):
        c_model(drawn)


@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    random_network(seed, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_random_networks(seed: int, tmp_path: Path) -> None:
    random_network(seed, tmp_path)


@pytest.mark.parametrize("name", ["digits", "japanese-vowels", "fsdd", "fashion-mnist-dense", "fashion-mnist-conv"])
def test_the_models_that_ship(name: str, tmp_path: Path) -> None:
    shipped = load_model(name, HowToLower())
    assert isinstance(shipped, IntegerNetwork)
    assert_computes(shipped, inputs(shipped, batch=2), tmp_path, compilers=("gcc",))


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "seen"),
    [
        ("linear", "u > 9 ? 8 * 9 : 0", "u > 10 ? 8 * 9 : 0", {"lif.mem"}),
        ("conv of spikes", "iy >= 0", "iy >= 1", {"lif.mem", "lif.spk"}),
        ("recurrence", "state->back_kept, w, state->lif_spk[w]", "state->back_kept, w, state->lif_spk[w] & 0u", {"lif.mem"}),
        ("concat", " + 5u, ", " + 4u, ", {"lif.mem"}),
    ],
)
def test_a_changed_step_is_seen(kind: str, right: str, wrong: str, seen: set[str], tmp_path: Path) -> None:
    model, arrays = c_model(LAYERS[kind]), inputs(LAYERS[kind], batch=8)
    assert right in model.source
    mutant = dataclasses.replace(model, source=model.source.replace(right, wrong))
    assert seen <= set(differing(computed(mutant, arrays, tmp_path), recorded(LAYERS[kind], arrays)))


def test_the_same_network_is_the_same_text() -> None:
    one, two = c_model(LAYERS["residual"]), c_model(LAYERS["residual"])
    assert (one.header, one.source, one.tensors, one.state_size) == (two.header, two.source, two.tensors, two.state_size)
    assert LAYERS["residual"].digest in one.header


def test_ram_of_the_networks_that_the_pages_name() -> None:
    """Bytes; 784-256-10 may take 3.2 KB, and the convolutional one must leave some of 16 KiB."""
    dense = network(
        Linear(name="fc1", input="input", weight=R.integers(-127, 128, (256, 784)).astype(np.int8), weight_frac_bits=6),
        lif("lif1", "fc1"),
        Linear(name="fc2", input="lif1", weight=R.integers(-127, 128, (10, 256)).astype(np.int8), weight_frac_bits=6),
        lif("lif2", "fc2"),
        shape=(784,),
        fmt=SPIKES,
        readouts=(Readout("lif2", "spike_count", True),),
    )
    assert c_model(dense).state_size == 1916
    conv = load_model("fashion-mnist-conv", HowToLower())
    assert c_model(conv).state_size == 14324


@pytest.mark.parametrize("weights", [W44[:, :1], W5[:1, :1]])
def test_products_of_one_input(weights: Any, tmp_path: Path) -> None:
    one = Linear(name="fc", input="input", weight=weights, weight_frac_bits=1)
    small = network(one, lif("lif", "fc"), shape=(1,), fmt=SMALL)
    assert_computes(small, inputs(small, batch=8), tmp_path, compilers=("gcc",))

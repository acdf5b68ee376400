"""What has no C form is refused, with its numbers and the fix."""

import re
from typing import Any

import numpy as np
import pytest
import torch

import qleaky
from qleaky import QFormat
from qleaky.errors import InputError, LoweringError
from qleaky.export.c.model import c_model
from qleaky.integer import AveragePool, Concat, FloatNetwork, Input, Linear, Readout, Synapse
from tests.export.layer_contracts import W54, lif, network

SPIKES = QFormat(1, 0, signed=False)


def linear(weight: Any, **fields: Any) -> Linear:
    return Linear(name="fc", input="input", weight=np.asarray(weight), **{"weight_frac_bits": 0} | fields)


def refused(*layers: Any, **parts: Any) -> str:
    """The message."""
    with pytest.raises(LoweringError, match="This network has no C form") as found:
        c_model(network(*layers, **parts))
    return str(found.value)


def test_sums_beyond_int32() -> None:
    message = refused(linear(W54.astype(np.int64) * (1 << 27)), lif("lif", "fc"))
    assert re.search(r"layer 'fc': its sums can reach \d+, more than int32_t holds \(2147483647\); use fewer bits of", message)


def test_sums_that_meet_sums_beyond_int32() -> None:
    """What lies behind numbers that no C type holds is refused in words too."""
    large = W54.astype(np.int64) * (1 << 27)
    behind = Linear(name="behind", input="fc", weight=np.ones((3, 4), np.int8), weight_frac_bits=0)
    message = refused(linear(large), behind, lif("lif", "behind"))
    assert re.search(r"layer 'fc': its integers reach from -?\d+ to \d+, more than int32_t holds", message)
    assert re.search(r"layer 'behind': its integers reach from -?\d+ to \d+, more than int32_t holds", message)


def test_states_of_32_bits_without_a_sign() -> None:
    wide = QFormat(32, 1, signed=False)
    rule = "has codes up to 4294967295, more than int32_t holds (2147483647); use at most 31 bits, or a signed format."
    assert f"layer 'lif': its membrane, UQ31.1, {rule}" in refused(lif("lif", "input", state=wide))
    synapse = Synapse(state=QFormat(32, 2, signed=False))
    assert f"layer 'lif': its synaptic current, UQ30.2, {rule}" in refused(lif("lif", "input", synapse=synapse))


def test_a_decay_beyond_int32() -> None:
    wide = lif("lif", "input", state=QFormat(20, 2), decay=None, multiplier=None, input_shift=29)
    assert "layer 'lif': its sums can reach" in refused(wide)


def test_a_synaptic_current_beyond_int32() -> None:
    synapse = Synapse(state=QFormat(8, 31))
    assert "layer 'lif': the sums of its synaptic current can reach" in refused(lif("lif", "input", synapse=synapse))


def test_every_reason_is_given() -> None:
    message = refused(
        Concat(name="both", inputs=("fine", "coarse"), axis=0),
        lif("lif", "both"),
        inputs=(Input((2,), QFormat(8, 30), name="fine"), Input((2,), QFormat(8, 0), name="coarse")),
    )
    assert "layer 'both'" in message
    assert "layer 'lif'" in message


def test_codes_that_int32_does_not_hold() -> None:
    pattern = r"input 'input': UQ32.0 has codes up to 4294967295, more than int32_t holds; use at most 31 bits"
    assert re.search(pattern, refused(lif("lif", "input"), fmt=QFormat(32, 0, signed=False)))
    offset = refused(lif("lif", "input"), fmt=QFormat(32, 0, zero_point=-(1 << 31)))
    assert "input 'input': its integers reach from 0 to 4294967295, more than int32_t holds (2147483647)" in offset


def test_more_spikes_than_16_bits_number() -> None:
    weight = np.ones((1, 65537), np.int8)
    message = refused(linear(weight), lif("lif", "fc"), shape=(65537,), fmt=SPIKES)
    assert "layer 'fc': a sum over 65,537 spikes; events are numbered in 16 bits, so 65,536 at most. Split the layer" in message
    c_model(network(linear(weight[:, 1:]), lif("lif", "fc"), shape=(65536,), fmt=SPIKES))


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("spike_count", {"graded": np.array(1 << 29)}, r"counts over 5 steps of at most 536870912 can reach 2684354560"),
        ("membrane_mean", {"state": QFormat(31, 2)}, r"membrane sums over 5 steps of at most \d+ can reach \d+"),
    ],
)
def test_readouts_that_overflow_in_so_many_steps(kind: Any, fields: dict[str, Any], message: str) -> None:
    fields = {"decay": None, "multiplier": None} | fields
    readout = (Readout("lif", kind),)
    found = refused(lif("lif", "input", **fields), readouts=readout, num_steps=5)
    assert re.search(rf"layer 'lif': its {message}, more than int32_t holds \(2147483647\); run at most \d steps", found)
    c_model(network(lif("lif", "input", **fields), readouts=readout, num_steps=1))


def test_what_the_proof_does_not_cover() -> None:
    message = refused(linear(W54, accumulator_bits=4), lif("lif", "fc"))
    assert "layer 'fc': it declares an accumulator of 4 bits" in message


def test_networks_without_integers() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), qleaky.Leaky(beta=0.9, init_hidden=True))
    measured = qleaky.lower(net, torch.zeros(1, 3), num_steps=2, input_format="spikes")
    assert isinstance(measured, FloatNetwork)
    with pytest.raises(LoweringError, match=r"C computes the integers of a contract, and this network has none: .*Quantize it"):
        c_model(measured)
    with pytest.raises(LoweringError, match=r"C is written from an IntegerNetwork, not from str; call qleaky.lower first"):
        c_model("net")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["2fast", "int", "qleaky_x", "a-b", "", "x" * 25])
def test_names_that_cannot_prefix_symbols(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot prefix symbols|no C identifier"):
        c_model(network(lif("lif", "input")), name)


@pytest.mark.parametrize(("name", "why"), [("stdint", "in place of that of C"), ("Arduino", "in place"), ("aux", "Windows")])
def test_names_of_headers_that_others_look_for(name: str, why: str) -> None:
    with pytest.raises(InputError, match=f"names the header {name}.h: .*{why}.* Choose another, such as 'model'"):
        c_model(network(lif("lif", "input")), name)


def test_sizes_of_zero_never_come_here() -> None:
    with pytest.raises(InputError, match="weight must be a non-empty array of integer codes"):
        network(linear(np.zeros((0, 5), np.int8)), lif("lif", "fc"))


def test_a_layer_that_nothing_reads_may_be_as_wide_as_it_likes() -> None:
    pool = AveragePool(name="idle", input="input", kernel=(2,), stride=(1,), pads=((0, 0),), divisor=2)
    wide = Linear(name="wide", input="idle", weight=np.full((1, 4), 1 << 40), weight_frac_bits=0)
    assert "idle" not in c_model(network(pool, wide, lif("lif", "input"), shape=(1, 5))).source

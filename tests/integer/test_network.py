"""The contract: what it refuses to describe, how it encodes inputs, and its file, which is whole or an ArtefactError."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

import qleaky
from qleaky.dynamics import MulShift, ResetMechanism, ResetTiming
from qleaky.errors import ArtefactError, InputError
from qleaky.fixed import QFormat
from qleaky.integer import LIF, FloatInput, FloatLIF, FloatNetwork, Golden, Input, IntegerNetwork, Linear, Readout, load_network

SENSOR = QFormat(8, 6, signed=False, zero_point=128)
STATE = QFormat(8, 5)


def linear(**changes: Any) -> Linear:
    weight, bias = np.array([[3, -5], [127, 0], [-127, 2]], np.int8), np.array([1000, -2, 0], np.int16)
    return Linear(**{"name": "fc", "input": "input", "weight": weight, "bias": bias, "weight_frac_bits": 7} | changes)


def lif(**changes: Any) -> LIF:
    decay = {"decay": MulShift(n=8), "multiplier": np.array([230, 128, 256], np.int16)}
    return LIF(**{"name": "lif", "input": "fc", "state": STATE, "theta": np.array(32, np.int8)} | decay | changes)


def network(*layers: Linear | LIF, **changes: Any) -> IntegerNetwork:
    parts = {
        "inputs": (Input((2,), SENSOR),),
        "num_steps": 4,
        "layers": layers or (linear(), lif()),
        "readouts": (Readout("lif"),),
    }
    return IntegerNetwork(**parts | changes)


def float_network() -> FloatNetwork:
    one = np.ones((), np.float32)
    layer = FloatLIF(name="lif", input="input", beta=np.array(0.9, np.float32), theta=one, graded=one)
    zeros = np.zeros((4, 1, 2), np.float32)
    golden = Golden({"input": zeros}, {"lif": zeros}, {"lif": zeros})
    parts: dict[str, Any] = {"layers": (layer,), "readouts": (Readout("lif"),), "reasons": ("layer 'lif': beta.",)}
    return FloatNetwork(inputs=(FloatInput((2,)),), num_steps=4, golden=golden, **parts)


# The file


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network().save(tmp_path / "net.qleaky")
    return tmp_path / "net.qleaky"


@pytest.mark.parametrize("time", ["sequence", "static"])
def test_a_saved_network_comes_back_equal_and_saves_to_the_same_bytes(tmp_path: Path, time: str) -> None:
    first = network(inputs=(Input((2,), SENSOR, time),), readouts=(Readout("lif", "membrane_mean", argmax=True),))
    first.save(tmp_path / "a.qleaky")
    second = IntegerNetwork.load(tmp_path / "a.qleaky")
    second.save(tmp_path / "b.qleaky")
    assert (tmp_path / "a.qleaky").read_bytes() == (tmp_path / "b.qleaky").read_bytes()
    assert second.digest == first.digest
    assert (second.input, second.num_steps, second.readout) == (first.input, first.num_steps, first.readout)
    assert second.layers[0].weight.dtype == np.int8
    assert second.proof == first.proof


def test_the_file_is_safetensors_with_the_structure_as_json(saved: Path) -> None:
    tensors = load(saved.read_bytes())
    assert [tensors[key].tolist() for key in sorted(tensors)] == [
        *([[3, -5], [127, 0], [-127, 2]], [1000, -2, 0]),
        *(32, [230, 128, 256]),
    ]
    header = json.loads(read_header(saved)["__metadata__"]["qleaky"])
    assert header["version"] == 2
    assert header["digest"] == network().digest
    assert [layer["name"] for layer in header["network"]["layers"]] == ["fc", "lif"]


def test_either_kind_of_network_is_read_by_load_network(tmp_path: Path) -> None:
    for kind in (network(), float_network()):
        kind.save(tmp_path / "net.qleaky")
        again = load_network(tmp_path / "net.qleaky")
        assert type(again) is type(kind)
        assert again.digest == kind.digest


@pytest.mark.parametrize(
    "other",
    [
        network(num_steps=5),
        network(linear(weight=np.array([[3, -5], [127, 0], [-127, 3]], np.int8)), lif()),
        network(linear(), lif(reset_mechanism=ResetMechanism.ZERO)),
        network(linear(weight_frac_bits=6), lif()),
        network(readouts=(Readout("lif", argmax=False, kind="spike_count"),)),
    ],
)
def test_a_changed_network_has_another_digest(other: IntegerNetwork) -> None:
    assert re.fullmatch("[0-9a-f]{64}", other.digest)
    assert other.digest != network().digest


def read_header(path: Path) -> Any:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def test_a_missing_file_is_an_artefact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"Cannot read \.qleaky file .*net\.qleaky: No such file"):
        IntegerNetwork.load(tmp_path / "net.qleaky")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"Cannot read \.qleaky file"):
        IntegerNetwork.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, -1, -20])
def test_a_truncated_file_is_refused(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ArtefactError, match=r"is not a \.qleaky file, or is damaged"):
        IntegerNetwork.load(saved)


def test_what_a_file_says_reaches_no_terminal_as_a_command(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(b'"I8"', b'"I\x7f"'))
    with pytest.raises(ArtefactError, match=r"unknown variant `I\\x7f`") as caught:
        IntegerNetwork.load(saved)
    assert str(caught.value).isprintable()


def test_a_flipped_bit_of_a_weight_is_told_by_the_digest(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    place = data.rindex(np.array([3, -5, 127, 0], np.int8).tobytes())
    data[place + 2] ^= 1
    saved.write_bytes(data)
    with pytest.raises(ArtefactError, match=r"is damaged: its content does not match the digest it carries\. Export it again"):
        IntegerNetwork.load(saved)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(saved: Path) -> None:
    whole, refused = saved.read_bytes(), 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        saved.write_bytes(data)
        try:
            assert IntegerNetwork.load(saved).digest == network().digest
        except ArtefactError:
            refused += 1
    assert refused > 0.9 * len(whole)  # a misspelt field that had its default value is no damage


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (3, r"format version 3; this qleaky reads version 2\. Update qleaky"),
        (1, r"format version 1; this qleaky reads version 2\. Lower the network again, or read the file with the qleaky that"),
    ],
)
def test_another_version_says_what_to_do(saved: Path, version: int, message: str) -> None:
    rewrite(saved, lambda header: header | {"version": version})
    with pytest.raises(ArtefactError, match=message):
        IntegerNetwork.load(saved)


def test_a_field_that_the_format_has_not_is_refused(saved: Path) -> None:
    rewrite(saved, lambda header: header | {"network": header["network"] | {"colour": "red"}})
    with pytest.raises(ArtefactError, match="is damaged"):
        IntegerNetwork.load(saved)


def test_a_float_network_is_no_integer_network(tmp_path: Path) -> None:
    float_network().save(tmp_path / "net.qleaky")
    with pytest.raises(ArtefactError, match="does not hold a valid IntegerNetwork: Invalid value 'float'"):
        IntegerNetwork.load(tmp_path / "net.qleaky")
    network().save(tmp_path / "net.qleaky")
    with pytest.raises(ArtefactError, match="does not hold a valid FloatNetwork"):
        FloatNetwork.load(tmp_path / "net.qleaky")


def test_a_safetensors_file_of_something_else_is_refused(saved: Path) -> None:
    saved.write_bytes(save({"weight": np.zeros(3)}))
    with pytest.raises(ArtefactError, match=r"is not a \.qleaky file"):
        IntegerNetwork.load(saved)


def rewrite(path: Path, change: Any, tensors: dict[str, Any] | None = None) -> None:
    """The file with another header; its digest stays."""
    header = json.loads(read_header(path)["__metadata__"]["qleaky"])
    data = save(load(path.read_bytes()) if tensors is None else tensors, metadata={"qleaky": json.dumps(change(header))})
    path.write_bytes(data)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just({"tensor": "0000"}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def places(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every node below ``tree``."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in items for place in ((tree, key), *places(value))]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_structure_with_anything_anywhere_is_refused_or_changes_nothing(data: st.DataObject, saved: Path) -> None:
    network().save(saved)

    def change(header: Any) -> Any:
        container, key = data.draw(st.sampled_from(places(header)))
        container[key] = data.draw(anything)
        return header

    rewrite(saved, change)
    with contextlib.suppress(ArtefactError):
        assert IntegerNetwork.load(saved).digest == network().digest


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 2), (2, 0), (3, 2), (1, 3, 2)])
@pytest.mark.parametrize("key", ["0000", "0001", "0002", "0003"])
def test_arrays_of_other_shapes_and_types_are_refused(saved: Path, key: str, shape: Any, dtype: str) -> None:
    rewrite(saved, lambda header: header, load(saved.read_bytes()) | {key: np.ones(shape, dtype)})
    with pytest.raises(ArtefactError):
        IntegerNetwork.load(saved)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400) | st.binary(max_size=50).map(lambda tail: len(tail).to_bytes(8, "little") + tail))
def test_random_bytes_are_an_artefact_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "net.qleaky").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"is not a \.qleaky file, or is damaged"):
        load_network(tmp_path / "net.qleaky")


# What a network may not be


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: network(num_steps=0), "num_steps=0; a network runs for 1 to 1,000,000 time steps"),
        (lambda: network(num_steps=10**7), "num_steps=10000000"),
        (lambda: network(linear(), lif(name="fc")), r"Layer names must be unique.*found \['fc'\]"),
        (lambda: network(linear(name="input"), lif()), "not those of inputs"),
        (lambda: network(linear(name=""), lif()), "non-empty"),
        (lambda: network(linear(), lif(input="fc2")), "layer 'lif' takes its input from 'fc2', which is no layer before it"),
        (lambda: network(lif(), linear()), "layer 'lif' takes its input from 'fc'"),
        (lambda: network(readouts=(Readout("lif2"),)), "readout names layer 'lif2', which is no LIF layer"),
        (lambda: network(readouts=(Readout("fc"),)), "readout names layer 'fc', which is no LIF layer"),
        (lambda: network(readouts=(Readout("lif", "loudest"),)), "readout 'loudest' is unknown; choose one of spikes"),
        (lambda: network(inputs=(Input((5,), SENSOR),)), r"weight of shape \(3, 2\) cannot take an input of shape \(5,\)"),
        (lambda: network(inputs=(Input((), SENSOR),)), r"cannot take an input of shape \(\)"),
        (lambda: network(linear(weight=np.zeros(2, np.int8)), lif()), r"weight of shape \(2,\) cannot take"),
        (lambda: network(linear(weight=np.full((3, 2), 0.5)), lif()), "weight.*integer"),
        (lambda: network(linear(weight=np.zeros((0, 2), np.int8), bias=None), lif(multiplier=np.array(1))), "weight"),
        (lambda: network(linear(bias=np.zeros(2, np.int8)), lif()), r"bias of shape \(2,\), expected \(3,\)"),
        (lambda: network(linear(bias=np.full(3, 0.5)), lif()), "bias.*integer"),
        (lambda: network(linear(), lif(theta=np.array([1, 2], np.int8))), r"theta of shape \(2,\) does not fit neurons \(3,\)"),
        (lambda: network(linear(), lif(theta=np.zeros((2, 3), np.int8))), r"theta of shape \(2, 3\) does not fit"),
        (lambda: network(linear(), lif(multiplier=np.array([1, 2], np.int16))), r"multiplier of shape \(2,\) does not fit"),
        (lambda: lif(theta=np.array(128)), "theta code 128 lies outside -128 to 127"),
        (lambda: lif(theta=np.array([0, -129, 0])), "theta code -129 lies outside -128 to 127"),
        (lambda: lif(theta=np.array(0.5)), "theta must be a non-empty array of integer codes"),
        (lambda: lif(theta=np.zeros(0, int)), "theta must be a non-empty array"),
        (lambda: lif(multiplier=np.array(257)), "multiplier code 257 lies outside 0 to 256"),
        (lambda: lif(multiplier=np.array(-1)), "multiplier code -1 lies outside"),
        (lambda: lif(multiplier=None), "a multiplier goes with a MulShift decay, and only with it"),
        (lambda: lif(decay=None), "a multiplier goes with a MulShift decay, and only with it"),
        (lambda: lif(state=SENSOR), "membrane format has zero_point 0, not 128"),
        (lambda: lif(theta=np.array(-32), reset_timing=ResetTiming.UNDELAYED), "threshold -1.0 with reset_timing"),
    ],
)
def test_what_a_network_refuses(build: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


def test_a_network_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        network().num_steps = 5  # type: ignore[misc]
    with pytest.raises(AttributeError):
        lif().state = SENSOR  # type: ignore[misc]


# Inputs


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (np.full((4, 3, 2), 200), 200),
        (np.full((4, 3, 2), 200, np.uint8), 200),
        (np.zeros((4, 3, 2), bool), 0),
        (np.full((4, 3, 2), 0.5), 160),
        (np.full((4, 3, 2), -2.0, np.float16), 0),
        (np.full((4, 3, 2), 127 / 64, np.float32), 255),
    ],
)
def test_integers_are_codes_and_floats_on_the_grid_become_them(values: Any, codes: int) -> None:
    encoded = network().encode(values)
    assert encoded.dtype == np.uint8
    assert encoded.shape == (4, 3, 2)
    assert (encoded == codes).all()


def test_a_static_input_has_no_time_axis() -> None:
    still = network(inputs=(Input((2,), SENSOR, "static"),))
    assert still.encode(np.zeros((5, 2))).tolist() == [[128, 128]] * 5
    with pytest.raises(InputError, match=r"shape \(4, 5, 2\); this network takes \(B, 2\)"):
        still.encode(np.zeros((4, 5, 2)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 3, 3)), r"inputs have shape \(4, 3, 3\); this network takes \(4, B, 2\), time first"),
        (np.zeros((3, 4, 2)), r"inputs have shape \(3, 4, 2\)"),
        (np.zeros((4, 2)), r"inputs have shape \(4, 2\)"),
        (np.zeros((4, 0, 2)), r"inputs have shape \(4, 0, 2\): an empty batch"),
        (np.full((4, 1, 2), 1 / 128), r"0\.0078125\)?, which is not on the grid of UQ2\.6"),
        (np.full((4, 1, 2), 2.0), r"code 256\.0, outside UQ2\.6"),
        (np.full((4, 1, 2), -1), "code -1, outside UQ2.6"),
        (np.full((4, 1, 2), np.nan), "NaN or infinite"),
        (np.full((4, 1, 2), np.inf), "NaN or infinite"),
        (np.full((4, 1, 2), "1"), "inputs have dtype <U1; pass integer codes or floats"),
        (np.full((4, 1, 2), 1j), "inputs have dtype complex128"),
    ],
)
def test_inputs_that_a_network_cannot_take(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        network().encode(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 1, 2), int), "the network declares no input format; pass floats"),
        (np.full((4, 1, 2), np.nan), "must be finite"),
        (np.zeros((4, 0, 2)), "an empty batch"),
        (np.zeros((4, 1, 3)), r"takes \(4, B, 2\)"),
    ],
)
def test_inputs_that_a_float_network_cannot_take(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        float_network().encode(values)


def test_the_contract_is_public() -> None:
    assert qleaky.IntegerNetwork is IntegerNetwork
    assert issubclass(IntegerNetwork, msgspec.Struct)


def test_tensors_and_lists_are_inputs_but_ragged_lists_are_not() -> None:
    tensor = torch.zeros(2, 1, 3, requires_grad=True)
    network = IntegerNetwork(
        inputs=(Input((3,), QFormat(8, 4)),),
        num_steps=2,
        layers=(LIF(name="lif", input="input", state=QFormat(8, 4), theta=np.array(16)),),
        readouts=(Readout("lif"),),
    )
    assert network.encode(tensor).tolist() == network.encode(tensor.tolist()).tolist() == [[[0, 0, 0]]] * 2
    with pytest.raises(InputError, match="inputs cannot be read as an array"):
        network.encode([[1.0], [1.0, 2.0]])

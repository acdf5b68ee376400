"""The ONNX file: what it holds, and that it computes the contract."""

import getpass
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

import qleaky
from qleaky import IntegerNetwork, QFormat, Runner, export_onnx, lower, run
from qleaky.dynamics import MulShift
from qleaky.export import onnx_bytes
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.models import FeedForward, LIFSettings
from qleaky.verification.golden import synthetic_inputs

SENSOR = QFormat(8, 6, signed=False, zero_point=128)
READOUTS = ["spikes", "spike_count", "membrane_mean", "last_membrane"]


def contract(
    fmt: QFormat = SENSOR, time: Any = "sequence", readout: str = "spikes", steps: int = 6, **lif: Any
) -> IntegerNetwork:
    """3-5-4, weights of 8 bits, membranes of 8 bits."""
    rng, layers = np.random.default_rng(0), list[Any]()
    for i, (into, size) in enumerate(((3, 5), (5, 4)), start=1):
        arrays = {"weight": rng.integers(-127, 128, (size, into), dtype=np.int8)}
        arrays["bias"] = rng.integers(-99, 99, size, dtype=np.int8)
        source = f"lif{i - 1}" if i > 1 else "input"
        layers.append(Linear(name=f"fc{i}", input=source, weight_frac_bits=6, **arrays))
        dynamics = {"state": QFormat(8, 5), "theta": np.array(20), "decay": MulShift(n=8), "multiplier": np.array(230)} | lif
        layers.append(LIF(name=f"lif{i}", input=f"fc{i}", **dynamics))
    kind, _, argmax = readout.partition(":")
    what = Readout("lif2", kind, bool(argmax))  # type: ignore[arg-type]
    return IntegerNetwork(inputs=(Input((3,), fmt, time),), num_steps=steps, layers=tuple(layers), readouts=(what,))


def parsed(network: Any) -> onnx.ModelProto:
    return onnx.load_model_from_string(onnx_bytes(network))


def described(value: onnx.ValueInfoProto) -> tuple[str, str, list[Any]]:
    """(name, dtype, shape) of an input or output."""
    tensor = value.type.tensor_type
    shape = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return value.name, TensorProto.DataType.Name(tensor.elem_type), shape


def float_network(**arguments: Any) -> Any:
    torch.manual_seed(0)
    net = FeedForward((3, 5, 4), weight_bits=None, lif=LIFSettings(threshold=0.1))
    return lower(net, torch.rand(6, 2, 3), **arguments)


# What the file holds


@pytest.mark.parametrize("network", [contract(), contract(time="static"), float_network()], ids=["sequence", "static", "float"])
def test_the_file_is_valid_onnx_of_opset_21_with_standard_operators_only(network: Any) -> None:
    model = parsed(network)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 21)]
    assert {node.domain for node in model.graph.node} == {""}
    assert len(model.functions) == 0
    known = {info.name for info in (*inferred.graph.value_info, *inferred.graph.output)}
    assert all(output in known for node in model.graph.node for output in node.output)


SPIKES = ("spikes", "UINT8", [6, "batch", 4])


@pytest.mark.parametrize(
    ("readout", "outputs"),
    [
        ("spikes", [SPIKES]),
        ("spike_count", [("spike_count", "INT32", ["batch", 4])]),
        ("membrane_mean", [("membrane_sum", "INT32", ["batch", 4])]),
        ("last_membrane", [("last_membrane", "INT32", ["batch", 4])]),
        ("spike_count:argmax", [("spike_count", "INT32", ["batch", 4]), ("class", "INT64", ["batch"])]),
        ("membrane_mean:argmax", [("membrane_sum", "INT32", ["batch", 4]), ("class", "INT64", ["batch"])]),
        ("last_membrane:argmax", [("last_membrane", "INT32", ["batch", 4]), ("class", "INT64", ["batch"])]),
    ],
)
def test_outputs_are_named_typed_and_end_with_the_final_membranes(readout: str, outputs: Any) -> None:
    final = [("lif1.final_mem", "INT32", ["batch", 5]), ("lif2.final_mem", "INT32", ["batch", 4])]
    assert [described(value) for value in parsed(contract(readout=readout)).graph.output] == outputs + final


@pytest.mark.parametrize(
    ("fmt", "dtype"),
    [
        (QFormat(1, 0, signed=False), "UINT8"),
        (SENSOR, "UINT8"),
        (QFormat(8, 4), "INT8"),
        (QFormat(4, 1), "INT8"),
        (QFormat(12, 6), "INT16"),
        (QFormat(12, 6, signed=False), "UINT16"),
        (QFormat(20, 6), "INT32"),
    ],
)
def test_the_input_has_the_smallest_type_of_its_format(fmt: QFormat, dtype: str) -> None:
    assert [described(value) for value in parsed(contract(fmt)).graph.input] == [("input", dtype, [6, "batch", 3])]
    assert [described(value) for value in parsed(contract(fmt, "static")).graph.input] == [("input", dtype, ["batch", 3])]


def test_a_float_network_takes_and_gives_float32() -> None:
    model = parsed(float_network(readout="membrane_mean:argmax"))
    assert [described(value) for value in model.graph.input] == [("input", "FLOAT", [6, "batch", 3])]
    assert [described(value)[:2] for value in model.graph.output] == [
        *(("membrane_sum", "FLOAT"), ("class", "INT64"), ("lif1.final_mem", "FLOAT"), ("lif2.final_mem", "FLOAT")),
    ]


def test_metadata_hold_digest_and_formats_only() -> None:
    network = contract(readout="spike_count")
    model = parsed(network)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "qleaky.version": qleaky.__version__,
        "qleaky.contract": "integer",
        "qleaky.digest": network.digest,
        "qleaky.form": "unrolled",
        "qleaky.carrier": "integer",
        "qleaky.placement": "hoisted",
        "qleaky.probe": "false",
        "qleaky.num_steps": "6",
        "qleaky.inputs": '{"input":["UQ2.6(zero_point=128)","sequence"]}',
        "qleaky.sequences": "[]",
        "qleaky.states": '{"lif1":"Q2.5","lif2":"Q2.5"}',
        "qleaky.carried": '{"fc1":"int32","lif1":"int32","fc2":"int32","lif2":"int32"}',
        "qleaky.offsets": '{"lif1":-128,"lif2":-128}',
    }
    assert (model.producer_name, model.producer_version, model.doc_string, model.graph.doc_string) == ("qleaky", "", "", "")
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_the_bytes_name_no_path_user_or_host(tmp_path: Path) -> None:
    network = contract()
    export_onnx(network, tmp_path / "net.onnx")
    network.save(tmp_path / "net.qleaky")
    for file in ("net.onnx", "net.qleaky"):
        data = (tmp_path / file).read_bytes()
        for word in (
            str(tmp_path),
            str(Path.cwd()),
            str(Path(qleaky.__file__).parent),
            socket.gethostname(),
            getpass.getuser(),
        ):
            assert len(word) < 4 or word.encode() not in data


def test_the_bytes_are_the_same_in_every_process(tmp_path: Path) -> None:
    network = contract(readout="membrane_mean:argmax")
    assert onnx_bytes(network) == onnx_bytes(contract(readout="membrane_mean:argmax"))
    network.save(tmp_path / "net.qleaky")
    code = (
        "import hashlib, sys; from qleaky.integer import load_network; from qleaky.export import onnx_bytes; "
        "print(hashlib.sha256(onnx_bytes(load_network(sys.argv[1]))).hexdigest(), 'torch' in sys.modules)"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path / "net.qleaky")]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": seed})
        assert ran.stdout.split() == [hashlib.sha256(onnx_bytes(network)).hexdigest(), "False"]


def test_weights_of_8_bits_are_stored_as_int8() -> None:
    stored = {tensor.name: tensor for tensor in parsed(contract()).graph.initializer}
    for layer in (layer for layer in contract().layers if isinstance(layer, Linear)):
        tensor = stored[f"{layer.name}.weight"]
        assert tensor.data_type == TensorProto.INT8
        assert np.array_equal(onnx.numpy_helper.to_array(tensor), layer.weight.T)


# What it computes


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("fmt", [SENSOR, QFormat(1, 0, signed=False), QFormat(12, 6, signed=False, zero_point=7)], ids=repr)
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("time", ["sequence", "static"])
@pytest.mark.parametrize("readout", [*READOUTS, *(f"{kind}:argmax" for kind in READOUTS[1:])])
def test_every_readout_equals_the_reference(readout: str, time: str, steps: int, fmt: QFormat, optimize: bool) -> None:
    network = contract(fmt, time, readout, steps)
    runner, inputs = Runner(onnx_bytes(network), optimize=optimize), synthetic_inputs(network, samples=17)
    recording, found = run(network, inputs), runner.run(inputs)
    assert steps == 1 or recording.spikes["lif2"].any()
    final = {f"{name}.final_mem": membranes[-1] for name, membranes in recording.membranes.items()}
    expected = recording.outputs | final
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    single = runner.run(inputs[:, :1] if time == "sequence" else inputs[:1])
    assert np.array_equal(single["lif2.final_mem"], final["lif2.final_mem"][:1])


def test_the_lowest_index_wins_among_equals() -> None:
    silent = contract(QFormat(1, 0, signed=False), readout="spike_count:argmax", theta=np.array(127))
    found = Runner(onnx_bytes(silent)).run(np.zeros((6, 3, 3), np.uint8))
    assert not found["spike_count"].any()
    assert found["class"].tolist() == [0, 0, 0]


def test_a_sum_of_membranes_that_32_bits_cannot_hold_is_int64() -> None:
    wide = contract(readout="membrane_mean", steps=600, state=QFormat(24, 5), decay=None, multiplier=None)
    assert described(parsed(wide).graph.output[0]) == ("membrane_sum", "INT64", ["batch", 4])


@pytest.mark.parametrize("weight", [[[1, 0, 0], [0, 0, 1]], [[1, 1, 0], [0, 0, 1]], [[-1, 0, 1], [0, 1, 0]]])
def test_linear_layers_in_a_row(weight: Any) -> None:
    """Also one that only picks inputs, whose sums are 0 or 1 as spikes are, but of another type."""
    first = Linear(name="pick", input="input", weight=np.array(weight, np.int8), weight_frac_bits=0)
    second = Linear(name="fc", input="pick", weight=np.array([[3, -2], [5, 7]], np.int8), weight_frac_bits=0)
    lif = LIF(name="lif", input="fc", state=QFormat(8, 0), theta=np.array(4))
    parts = {"inputs": (Input((3,), QFormat(1, 0, signed=False)),), "num_steps": 4, "readouts": (Readout("lif"),)}
    network = IntegerNetwork(layers=(first, second, lif), **parts)  # type: ignore[arg-type]
    inputs = synthetic_inputs(network)
    assert np.array_equal(Runner(onnx_bytes(network)).run(inputs)["spikes"], run(network, inputs).spikes["lif"])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_beyond_32_bits_is_still_exact(sign: int) -> None:
    weight = np.full((1, 140_000), sign * 127, np.int8)
    lif = LIF(name="lif", input="fc", state=QFormat(8, -25), theta=np.array(10))
    layers = (Linear(name="fc", input="input", weight=weight, weight_frac_bits=0), lif)
    network = IntegerNetwork(inputs=(Input((140_000,), QFormat(8, 0)),), num_steps=1, layers=layers, readouts=(Readout("lif"),))
    inputs = np.stack([np.full((1, 140_000), code, np.int8) for code in (-128, 127, 1)], axis=1)
    assert np.array_equal(Runner(onnx_bytes(network)).run(inputs)["lif.final_mem"], run(network, inputs).membranes["lif"][-1])

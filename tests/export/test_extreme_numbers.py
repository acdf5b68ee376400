"""Graphs at the ends of what their types hold, names that clash, and bytes that no hash seed changes."""

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_contracts import assert_equal, expected

from qleaky import IntegerNetwork, QFormat, Runner
from qleaky.errors import InputError
from qleaky.export import onnx_bytes
from qleaky.export.graph import Graph
from qleaky.export.integer_carriers import Int32
from qleaky.export.numbers import taken_range
from qleaky.export.wires import Wire, integers
from qleaky.integer import LIF, Affine, Input, Linear, Readout, Signal

FORMS = ["unrolled", "scan", "step"]
UINT8 = QFormat(8, 0, signed=False)


def lif(name: str, source: str, **settings: Any) -> LIF:
    fields: dict[str, Any] = {"name": name, "input": source, "state": QFormat(16, 0), "theta": np.array(99)}
    return LIF(**fields | settings)


def network(*layers: Any, fmt: QFormat = UINT8, shape: tuple[int, ...] = (1,), **parts: Any) -> IntegerNetwork:
    lifs = [layer.name for layer in layers if isinstance(layer, LIF)]
    fields: dict[str, Any] = {"num_steps": 3, "readouts": tuple(Readout(name, "membrane_mean") for name in lifs)}
    return IntegerNetwork(inputs=(Input(shape, fmt),), layers=layers, **fields | parts)


def constants(graph: Graph) -> list[Any]:
    kinds = {1: np.float32, 6: np.int32, 7: np.int64}
    return [np.frombuffer(tensor.raw_data, kinds[tensor.data_type]).tolist() for tensor in graph.proto.initializer]


@pytest.mark.parametrize("carrier", ["integer", "float"])
@pytest.mark.parametrize("form", FORMS)
def test_a_constant_that_float32_lacks_is_added_in_integers(form: str, carrier: str) -> None:
    """Before and after the bias of 2**24 + 5 all numbers are in float32's reach, the bias is not."""
    bias = (1 << 24) + 5
    layers = (
        Affine(name="high", input="input", bias=np.array(10)),
        Linear(name="fc", input="high", weight=np.array([[-1]], np.int8), bias=np.array([bias]), weight_frac_bits=0),
        Affine(name="low", input="fc", scale=np.array(-1), bias=np.array(1 << 24)),
        lif("lif", "low"),
    )
    net, codes = network(*layers), np.array([0, 3, 255], np.uint8).reshape(1, 3, 1).repeat(3, 0)
    assert_equal(Runner(onnx_bytes(net, form, carrier)).run(codes), expected(net, codes))


def test_what_is_pending_must_itself_be_held() -> None:
    signal = Signal((1,), 0, np.array((1 << 24) - 10), np.array(1 << 24))
    integers(graph := Graph(), Wire("x", np.dtype(np.int32), signal, np.array((1 << 24) + 5)), np.float32)
    assert constants(graph) == [[(1 << 24) + 5]]


@pytest.mark.parametrize("clip", [(-(1 << 40), 1000), (-1000, 1 << 40), (-(1 << 80), 1 << 80)])
def test_the_ends_of_a_clip_do_not_wrap(clip: tuple[int, int]) -> None:
    signal = Signal((1,), 0, np.array(-(1 << 31)), np.array((1 << 31) - 1))
    Int32(graph := Graph())._plain(Wire("x", np.dtype(np.int32), signal), clip)
    assert [code for (code,) in constants(graph)] == list(taken_range(signal, 0, 0, clip))


@pytest.mark.parametrize("name", ["a.final_mem", "a.mem", "a/mem/0", "a/spk", "a/mem", "fc.weight", "fc.weight.int8", "class"])
@pytest.mark.parametrize("form", FORMS)
def test_a_name_that_clashes_is_refused_or_harmless(form: str, name: str) -> None:
    layers = Linear(name="fc", input=name, weight=np.array([[3]]), weight_frac_bits=0), lif("a", "fc")
    net = IntegerNetwork(inputs=(Input((1,), UINT8, name=name),), num_steps=2, layers=layers, readouts=(Readout("a"),))
    codes = np.full((2, 1, 1), 90, np.uint8)
    with contextlib.suppress(InputError):
        assert_equal(Runner(onnx_bytes(net, form)).run({name: codes}), expected(net, {name: codes}))


def test_a_graph_names_no_two_values_alike() -> None:
    graph = Graph()
    graph.input("x", np.int8, (1,))
    with pytest.raises(InputError, match="Two values of the graph would be called 'x'; give an input or a layer another name"):
        graph.op("Neg", "x", name="x")


def test_unrolled_graphs_with_several_records_have_the_same_bytes_for_every_hash_seed(tmp_path: Path) -> None:
    chain = [lif(f"lif{i}", f"lif{i - 1}" if i else "input", theta=np.array(1)) for i in range(6)]
    network(*chain).save(tmp_path / "net.qleaky")
    code = (
        "import hashlib, sys; from qleaky.integer import load_network; from qleaky.export import onnx_bytes; "
        "net, ways = load_network(sys.argv[1]), [(f, h) for f in ('unrolled', 'scan') for h in (1, 10**7)]; "
        "print([hashlib.sha256(onnx_bytes(net, f, batch_hint=h)).hexdigest() for f, h in ways])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "net.qleaky")]
    seeds = [os.environ | {"PYTHONHASHSEED": str(seed)} for seed in range(4)]
    ran = {subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout for env in seeds}
    assert len(ran) == 1
    assert hashlib.sha256(onnx_bytes(network(*chain), "unrolled", batch_hint=1)).hexdigest() in ran.pop()

"""Which form a network takes, what a graph is called and looks like from outside, and what is refused."""

from typing import Any

import numpy as np
import onnx
import pytest
from layer_contracts import LAYERS, lif, network

import qleaky
from qleaky import QFormat
from qleaky.errors import InputError, LoweringError
from qleaky.export import onnx_bytes
from qleaky.integer import (
    Input,
    Readout,
)


def test_a_scan_is_the_same_at_every_length_and_an_unrolled_graph_grows() -> None:
    sizes = {
        form: [len(onnx_bytes(network(*LAYERS["linear"].layers, num_steps=steps), form)) for steps in (10, 200)]
        for form in ("scan", "step", "unrolled")
    }
    assert sizes["scan"][1] - sizes["scan"][0] < 10
    assert sizes["step"][1] - sizes["step"][0] < 10
    assert sizes["unrolled"][1] > 10 * sizes["unrolled"][0]


def metadata(data: bytes) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load_model_from_string(data).metadata_props}


@pytest.mark.parametrize(
    ("steps", "width", "hint", "form", "placement"),
    [
        (25, 256, None, "unrolled", "hoisted"),
        (25, 256, 8, "unrolled", "hoisted"),
        (200, 10, None, "scan", "hoisted"),
        (25, 257, None, "scan", "hoisted"),
        (25, 2000, 64, "scan", "inside"),
        (25, 10, 10_000, "scan", "inside"),
    ],
)
def test_the_form_is_chosen_by_measured_rules(steps: int, width: int, hint: int | None, form: str, placement: str) -> None:
    wide = network(lif("lif", "input"), shape=(width,), num_steps=steps)
    found = metadata(onnx_bytes(wide, batch_hint=hint))
    assert (found["qleaky.form"], found["qleaky.placement"]) == (form, placement)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "rolled"}, "form='rolled' is unknown. Choose one of auto, unrolled, scan, step"),
        ({"carrier": "bfloat16"}, "carrier='bfloat16' is unknown. Choose one of integer, float"),
        ({"batch_hint": 0}, "batch_hint=0; it is the number of samples that will run together, at least 1"),
        ({"batch_hint": 2.5}, "batch_hint=2.5; it is the number of samples"),
        ({"batch_hint": True}, "batch_hint=True; it is the number of samples"),
    ],
)
def test_unknown_forms_carriers_and_batches(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        onnx_bytes(LAYERS["linear"], **arguments)


def test_an_input_with_the_name_of_an_output() -> None:
    given = (Input((5,), QFormat(4, 1), "sequence", "spikes"),)
    with pytest.raises(InputError, match=r"input 'spikes' has the name of an output.*Give the input another name"):
        onnx_bytes(network(lif("lif", "spikes"), inputs=given))


def test_endless_unrolled_graphs_are_refused() -> None:
    endless = network(lif("lif", "input"), num_steps=1_000_000)
    with pytest.raises(LoweringError, match=r"1,000,000 unrolled steps of 1 layers are about 6,000,000 nodes.*Use form='scan'"):
        onnx_bytes(endless, "unrolled")
    assert len(onnx_bytes(endless)) < 10_000


def described(values: Any) -> list[tuple[str, str, list[Any]]]:
    kinds = onnx.TensorProto.DataType.Name
    found = [(v.name, v.type.tensor_type) for v in values]
    return [(name, kinds(t.elem_type), [d.dim_param or d.dim_value for d in t.shape.dim]) for name, t in found]


def test_the_interface_of_a_scan() -> None:
    graph = onnx.load_model_from_string(onnx_bytes(LAYERS["recurrence"], "scan", probe=True)).graph
    assert described(graph.input) == [("input", "INT8", ["time", "batch", 5])]
    assert described(graph.output) == [
        ("spikes", "UINT8", ["time", "batch", 5]),
        ("class", "INT64", ["time", "batch"]),
        ("lif.final_mem", "INT32", ["batch", 5]),
        ("lif.spk", "UINT8", ["time", "batch", 5]),
        ("lif.mem", "INT32", ["time", "batch", 5]),
    ]


def test_the_interface_of_a_step() -> None:
    parts = LAYERS["recurrence"]
    layers = (*parts.layers[:3], lif("lif", "sum", synapse=qleaky.integer.Synapse(state=QFormat(12, 4))))
    counted = network(*layers, readouts=(Readout("lif", "spike_count", True),))
    graph = onnx.load_model_from_string(onnx_bytes(counted, "step", probe=True)).graph
    assert described(graph.input) == [
        ("input", "INT8", ["batch", 5]),
        ("back.state", "UINT8", ["batch", 5]),
        ("lif.mem", "INT32", ["batch", 5]),
        ("lif.syn", "INT32", ["batch", 5]),
        ("spike_count.state", "INT32", ["batch", 5]),
    ]
    assert described(graph.output) == [
        ("spike_count", "INT32", ["batch", 5]),
        ("class", "INT64", ["batch"]),
        ("back.state.next", "UINT8", ["batch", 5]),
        ("lif.mem.next", "INT32", ["batch", 5]),
        ("lif.syn.next", "INT32", ["batch", 5]),
        ("spike_count.state.next", "INT32", ["batch", 5]),
        ("lif.spk", "UINT8", ["batch", 5]),
    ]


def test_graded_spikes_leave_as_int32() -> None:
    graded = network(lif("lif", "input", graded=np.array(-3)))
    for form in ("unrolled", "scan", "step"):
        assert described(onnx.load_model_from_string(onnx_bytes(graded, form)).graph.output)[0][:2] == ("spikes", "INT32")
    counted = network(lif("lif", "input", max_spikes=200, theta=np.array(1)))
    assert described(onnx.load_model_from_string(onnx_bytes(counted)).graph.output)[0][:2] == ("spikes", "UINT8")

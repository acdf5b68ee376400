"""The probe twin is the shipped graph plus outputs, and nothing else."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from qleaky import QFormat, export_onnx, lower
from qleaky.errors import ArtefactError
from qleaky.export import onnx_bytes, twin
from qleaky.export.artefact import CARRIERS
from qleaky.models import FeedForward

T = 3


def network() -> Any:
    torch.manual_seed(0)
    return lower(FeedForward((3, 5, 4)), torch.zeros(T, 1, 3), input_format=QFormat(8, 6))


def parsed(data: bytes) -> onnx.ModelProto:
    return onnx.load_model_from_string(data)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    export_onnx(network(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


KINDS = {"lif1": ("mem", "spk"), "lif2": ("mem", "spk")}


def probed(model: onnx.ModelProto, form: str = "unrolled") -> tuple[onnx.ModelProto, twin.Probes]:
    data, probes = twin.with_probes(model, KINDS, form, T)
    return onnx.load_model_from_string(data), probes


def test_the_twin_is_the_shipped_graph_with_more_outputs(artefact: Path) -> None:
    model = onnx.load(artefact)
    more, probes = probed(model)
    assert [o.name for o in more.graph.output[:3]] == ["spikes", "lif1.final_mem", "lif2.final_mem"]
    assert [o.name for o in more.graph.output[3:]] == [name for names in probes.values() for name in names]
    assert probes["lif1", "mem"] == [f"lif1/mem/{t}" for t in range(T)]
    del more.graph.output[3:]
    assert more.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def body(model: onnx.ModelProto, place: int) -> onnx.GraphProto:
    scan = [node for node in model.graph.node if node.op_type == "Scan"][place]
    return next(attribute.g for attribute in scan.attribute if attribute.name == "body")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_twin_of_a_scan_adds_outputs_to_bodies_scans_and_the_graph(carrier: str) -> None:
    model = parsed(onnx_bytes(network(), "scan", carrier))
    more, probes = probed(model, "scan")
    assert all(len(names) == 1 for names in probes.values())
    assert len(more.graph.output) == 3 + 4
    for place in (0, 1):
        added = len(body(more, place).output) - len(body(model, place).output)
        assert 0 <= added <= 2
    assert [node.op_type for node in more.graph.node] == [node.op_type for node in model.graph.node]
    onnx.checker.check_model(more, full_check=True)
    twin.assert_twin(model, more)


def test_the_twin_of_a_step_adds_outputs() -> None:
    model = parsed(onnx_bytes(network(), "step"))
    more, probes = probed(model, "step")
    assert [o.name for o in more.graph.output[len(model.graph.output) :]] == ["lif1/mem", "lif1/spk", "lif2/mem", "lif2/spk"]
    assert probes["lif2", "spk"] == ["lif2/spk"]


@pytest.mark.parametrize(
    "change",
    [
        lambda graph: setattr(graph.node[0], "op_type", "Sub"),
        lambda graph: graph.node.pop(),
        lambda graph: graph.input.pop(),
        lambda graph: graph.output.pop(0),
        lambda graph: graph.output.pop(),
        lambda graph: setattr(graph.output[0], "name", "other"),
    ],
)
def test_a_twin_with_anything_else_changed_in_a_body_is_refused(change: Any) -> None:
    model = parsed(onnx_bytes(network(), "scan"))
    changed, _ = probed(model, "scan")
    change(body(changed, 0))
    with pytest.raises(ArtefactError, match="differs from the shipped graph by more than added outputs"):
        twin.assert_twin(model, changed)


@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
def test_a_graph_without_the_layers_is_refused(form: str) -> None:
    model = parsed(onnx_bytes(network(), form))
    with pytest.raises(ArtefactError, match=r"holds no value 'lif3/mem.*it was not exported from this network"):
        twin.with_probes(model, {"lif3": ("mem", "spk")}, form, T)


def test_numbers_in_other_files_are_refused() -> None:
    model = parsed(onnx_bytes(network(), "scan"))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    with pytest.raises(ArtefactError, match=r"net\.onnx keeps the numbers of '.*' in another file"):
        twin.parse(model.SerializeToString(), "net.onnx")


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.graph.node[5], "op_type", "Sub"),
        lambda model: model.graph.initializer.pop(),
        lambda model: model.graph.node.pop(),
        lambda model: model.graph.output.pop(0),
        lambda model: model.metadata_props.pop(),
        lambda model: setattr(model.graph.output[0], "name", "other"),
        lambda model: model.graph.ClearField("output"),
    ],
)
def test_a_twin_with_anything_else_changed_is_refused(change: Any, artefact: Path) -> None:
    model = onnx.load(artefact)
    changed, _ = probed(model)
    twin.assert_twin(model, changed)
    change(changed)
    with pytest.raises(ArtefactError, match="differs from the shipped graph by more than added outputs"):
        twin.assert_twin(model, changed)

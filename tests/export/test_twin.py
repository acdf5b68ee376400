"""The probe twin is the shipped graph plus outputs, and nothing else."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from qleaky import QFormat, export_onnx
from qleaky.errors import ArtefactError
from qleaky.export import twin
from qleaky.models import FeedForward

T = 3


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    export_onnx(FeedForward((3, 5, 4)), tmp_path / "net.onnx", sample_input=torch.zeros(T, 1, 3), input_format=QFormat(8, 6))
    return tmp_path / "net.onnx"


def test_the_twin_is_the_shipped_graph_with_more_outputs(artefact: Path) -> None:
    model = onnx.load(artefact)
    more = onnx.load_model_from_string(twin.with_probes(model, ("lif1", "lif2"), T))
    assert [o.name for o in more.graph.output[:3]] == ["spikes", "lif1.final_mem", "lif2.final_mem"]
    assert len(more.graph.output) == 3 + 2 * 2 * T
    del more.graph.output[3:]
    assert more.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


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
    changed = onnx.load_model_from_string(twin.with_probes(model, ("lif1", "lif2"), T))
    twin.assert_twin(model, changed)
    change(changed)
    with pytest.raises(ArtefactError, match="differs from the shipped graph by more than added outputs"):
        twin.assert_twin(model, changed)

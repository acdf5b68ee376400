"""The runner: ONNX Runtime behind a small face, its errors in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qleaky import QFormat, Runner, export_onnx
from qleaky.errors import ArtefactError, InputError
from qleaky.models import FeedForward
from qleaky.verification.runners import versions

T = 3


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    export_onnx(FeedForward((3, 5, 4)), tmp_path / "net.onnx", sample_input=torch.zeros(T, 1, 3), input_format=QFormat(8, 6))
    return tmp_path / "net.onnx"


INPUTS = np.zeros((T, 20, 3), np.int8)


def test_a_runner_takes_a_path_or_bytes(artefact: Path) -> None:
    for source in (artefact, str(artefact), artefact.read_bytes()):
        assert Runner(source).run(INPUTS)["spikes"].shape == (T, 20, 4)
    assert Runner(artefact).outputs == ["spikes", "lif1.final_mem", "lif2.final_mem"]


@pytest.mark.parametrize("inputs", [INPUTS.astype(np.uint8), INPUTS / 2, INPUTS[0], INPUTS[:2], INPUTS[..., :2], None, "x"])
def test_a_runner_refuses_inputs_of_another_type_or_shape(inputs: Any, artefact: Path) -> None:
    with pytest.raises(
        InputError, match=r"ONNX Runtime refused inputs of shape .*; the graph takes tensor\(int8\) \[3, 'batch', 3\]"
    ):
        Runner(artefact).run(inputs)


def test_a_runner_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="Cannot read ONNX file"):
        Runner(tmp_path / "net.onnx")


def test_the_runtime_names_its_version() -> None:
    assert set(versions()) == {"onnxruntime"}

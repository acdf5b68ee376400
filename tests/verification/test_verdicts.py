"""A verdict speaks of what was compared, and of nothing else."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, QuantLinear, export_onnx, lower, run, verify
from qleaky.errors import InputError
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import LIF, Input, Linear, Readout

SPIKES = QFormat(1, 0, signed=False)
SAMPLE = torch.zeros(4, 1, 12)


class Net(nn.Module):
    def __init__(self, beta: float = 230 / 256, threshold: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = QuantLinear(12, 9), Leaky(beta, threshold, state_quant=FixedPoint(8, 5))

    def forward(self, x: torch.Tensor) -> Any:
        return self.lif.sequence(self.fc(x))


def lowered(net: nn.Module) -> Any:
    return lower(net, SAMPLE, input_format="spikes")


def raise_clip(model: onnx.ModelProto) -> None:
    clip = next(node for node in model.graph.node if node.op_type == "Clip")
    top = next(tensor for tensor in model.graph.initializer if tensor.name == clip.input[2])
    top.CopyFrom(numpy_helper.from_array(np.array(100, np.int32), top.name))


def change_a_weight(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "fc.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[5, 3] += 7
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@pytest.mark.parametrize("change", [raise_clip, change_a_weight])
def test_a_changed_graph_is_not_proved_by_inputs_that_do_not_reach_the_change(change: Any, tmp_path: Path) -> None:
    network = export_onnx(Net(), tmp_path / "net.onnx", sample_input=SAMPLE, input_format="spikes")
    model = onnx.load(tmp_path / "net.onnx")
    change(model)
    onnx.save(model, tmp_path / "net.onnx")
    report = verify(tmp_path / "net.onnx", network, np.zeros((4, 2, 12), np.uint8))
    assert report.verdict in ("measured", "differs")
    assert any("is not the one that this version of qleaky emits" in reason for reason in report.reasons)


@pytest.mark.parametrize("other", [Net(beta=0.3), Net(threshold=0.5)])
def test_another_module_is_not_proved_by_inputs_on_which_it_agrees(other: nn.Module, tmp_path: Path) -> None:
    network = export_onnx(Net(), tmp_path / "net.onnx", sample_input=SAMPLE, input_format="spikes")
    other.fc.load_state_dict(Net().fc.state_dict())  # type: ignore[operator, union-attr]
    report = verify(tmp_path / "net.onnx", network, np.zeros((4, 2, 12), np.uint8), module=other)
    assert report.artefact_verdict == "proved"
    assert report.torch_verdict in ("measured", "differs")
    assert report.verdict != "proved"
    assert any("does not lower to this contract" in reason for reason in report.reasons)


def test_without_a_module_nothing_is_said_of_torch(tmp_path: Path) -> None:
    network = export_onnx(Net(), tmp_path / "net.onnx", sample_input=SAMPLE, input_format="spikes")
    report = verify(tmp_path / "net.onnx", network)
    assert (report.verdict, report.artefact_verdict, report.torch_verdict) == ("proved", "proved", None)
    report = verify(tmp_path / "net.onnx", network, module=Net())
    assert (report.verdict, report.artefact_verdict, report.torch_verdict) == ("proved", "proved", "proved")
    assert report.certificate().torch_verdict == "proved"


def test_a_float_network_is_never_proved(tmp_path: Path) -> None:
    network = lowered(Net(beta=0.9))
    network = msgspec.structs.replace(network, reasons=())
    export_onnx(network, tmp_path / "net.onnx")
    assert verify(tmp_path / "net.onnx", network).verdict == "measured"


def contract(weight: Any, fmt: QFormat = SPIKES) -> IntegerNetwork:
    return IntegerNetwork(
        inputs=(Input((len(weight[0]),), fmt),),
        num_steps=2,
        layers=(
            Linear(name="fc", input="input", weight=np.array(weight), weight_frac_bits=0),
            LIF(name="lif", input="fc", state=QFormat(8, 0), theta=np.array(5), overflow=Overflow.SATURATE),
        ),
        readouts=(Readout("lif"),),
    )


def test_bounds_do_not_overflow_with_the_weights() -> None:
    network = contract([[2**62] * 4])
    assert network.proof.layers[0].accumulate == 2**64
    assert not network.proof.artefact_exact


def test_an_input_wider_than_float32_is_no_theorem_about_torch() -> None:
    layers = (LIF(name="lif", input="input", state=QFormat(16, 0), theta=np.array(9), rounding=Rounding.HALF_UP),)
    network = IntegerNetwork(inputs=(Input((3,), QFormat(28, 12)),), num_steps=2, layers=layers, readouts=(Readout("lif"),))
    assert network.proof.artefact_exact
    assert any("more than the float32 in which torch passes it" in reason for reason in network.proof.training_reasons)


def test_a_network_is_a_contract(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="network is a Net; pass the contract"):
        verify(tmp_path / "net.onnx", Net())  # type: ignore[arg-type]


def test_wide_weights_run_as_in_the_specification() -> None:
    network = contract([[2**40, -(2**40), 3, 0]])
    assert run(network, np.array([[[1, 1, 1, 0]], [[0, 0, 1, 0]]], np.uint8)).membranes["lif"].tolist() == [[[3]], [[6]]]

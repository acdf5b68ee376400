"""``qleaky-export onnx`` as a user meets it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from test_cli import assert_refused, call

import qleaky
from qleaky import IntegerNetwork, QFormat
from qleaky.cli._onnx import CARRIERS, FORMS
from qleaky.export import artefact
from qleaky.integer import LIF, Add, Input, Readout

CODE = """
import torch
from torch import nn
from qleaky import FixedPoint, Leaky, QuantLinear

def net(quantized=True):
    torch.manual_seed(0)
    state = FixedPoint(8, 5) if quantized else False
    def lif():
        return Leaky(230 / 256, init_hidden=True, state_quant=state)
    linear = QuantLinear if quantized else nn.Linear
    return nn.Sequential(linear(6, 5), lif(), linear(5, 3), lif())

def floats():
    return net(quantized=False)

def unsupported():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), Leaky(0.5, init_hidden=True))
"""
COMMON = ("--num-steps", 7, "--input-format", "spikes")


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "user.py").write_text(CODE)
    return str(tmp_path / "user.py")


def export(file: str, name: str, *arguments: Any) -> Any:
    return call("onnx", f"{file}:{name}", "-o", Path(file).parent / "model.onnx", *COMMON, *arguments)


@pytest.mark.parametrize(("form", "carrier"), list(zip(FORMS, [*CARRIERS, CARRIERS[-1]], strict=True)))
def test_a_graph_and_its_contract_are_written_and_verify(file: str, form: str, carrier: str) -> None:
    ran = export(file, "net", "--form", form, "--carrier", carrier, "--readout", "spike_count:argmax")
    assert ran.returncode == 0, ran.stderr
    folder = Path(file).parent
    network = IntegerNetwork.load(folder / "model.qleaky")
    assert (network.num_steps, network.readout.kind, network.readout.argmax) == (7, "spike_count", True)
    assert call("verify", folder / "model.onnx", "--network", folder / "model.qleaky").returncode == 0
    for word in ("layer", "Q2.5", "accumulator", "8-bit weights", "nodes", "bytes", "proof", network.digest, "model.onnx"):
        assert word in ran.stdout
    assert f"{(folder / 'model.onnx').stat().st_size:,}" in ran.stdout


def test_the_same_command_writes_the_same_bytes_without_paths(file: str) -> None:
    model, contract = (Path(file).with_name(name) for name in ("model.onnx", "model.qleaky"))
    export(file, "net")
    first = model.read_bytes(), contract.read_bytes()
    export(file, "net")
    assert (model.read_bytes(), contract.read_bytes()) == first
    for data in first:
        assert str(Path(file).parent).encode() not in data
        assert b"root" not in data
        assert b"user" not in data


def test_a_float_network_says_its_reasons(file: str) -> None:
    ran = export(file, "floats")
    assert ran.returncode == 0, ran.stderr
    assert "none: the artefact will be measured" in ran.stdout
    assert "the membrane has no fixed-point quantizer" in ran.stdout.replace("\n", " ")


def test_a_saved_contract_is_exported_again(file: str) -> None:
    export(file, "net")
    folder = Path(file).parent
    ran = call("onnx", folder / "model.qleaky", "-o", folder / "again.onnx", "--form", "step", "--probe")
    assert ran.returncode == 0, ran.stderr
    assert (folder / "again.qleaky").read_bytes() == (folder / "model.qleaky").read_bytes()
    names = [output.name for output in onnx.load(folder / "again.onnx").graph.output]
    assert {"1.mem.next", "1.spk", "3.mem.next", "3.spk"} <= set(names)


def test_a_network_that_cannot_be_lowered_lists_everything_and_writes_nothing(file: str) -> None:
    ran = export(file, "unsupported")
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    for word in ("relu cannot be exported", "qleaky.fold_batch_norm", "layer '1'", "layer '2'"):
        assert word in ran.stderr
    assert [path.name for path in Path(file).parent.glob("model.*")] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--form", "folded"), ("form='folded' is unknown. Choose one of auto, unrolled, scan, step.",)),
        (("--carrier", "double"), ("carrier='double' is unknown. Choose one of integer, float, quantized.",)),
        (("--target", "abacus"), ("target='abacus' is unknown.",)),
        (("--readout", "loudest"), ("readout='loudest' is unknown",)),
        (("--input-format", "u8"), ("'u8' is no format",)),
        (("--weights", "missing.pt"), ("Cannot read weights file missing.pt",)),
    ],
)
def test_misuse_is_one_sentence(file: str, arguments: Any, words: Any) -> None:
    assert_refused(export(file, "net", *arguments), *words)
    assert [path.name for path in Path(file).parent.glob("model.*")] == []


def test_output_names_that_cannot_be(file: str) -> None:
    folder = Path(file).parent
    assert_refused(call("onnx", f"{file}:net", *COMMON, "-o", folder / "no" / "model.onnx"), "Cannot write")
    assert_refused(call("onnx", f"{file}:net", *COMMON, "-o", folder / "model.qleaky"), "the contract is written to that name")
    assert call("onnx", f"{file}:net", *COMMON, "-o", folder / "m.onnx", "--input-shape", "3,x").returncode == 2


def test_the_names_that_are_checked_early_are_those_of_the_exporter() -> None:
    assert tuple(artefact.FORMS) == FORMS
    assert tuple(artefact.CARRIERS) == CARRIERS


def test_the_classes_are_those_of_the_reference(file: str) -> None:
    export(file, "net", "--readout", "membrane_mean:argmax")
    folder = Path(file).parent
    network = IntegerNetwork.load(folder / "model.qleaky")
    codes = np.random.default_rng(0).integers(0, 2, (7, 5, 6))
    found = qleaky.Runner(folder / "model.onnx").run(codes.astype(np.uint8))
    assert np.array_equal(found["class"], qleaky.run(network, codes).outputs["class"])


def test_inputs_of_several_names_come_from_one_file(tmp_path: Path) -> None:
    layers = (
        Add(name="sum", inputs=("left", "right"), signs=(1, -1)),
        LIF(name="lif", input="sum", state=QFormat(8, 3), theta=np.array(9)),
    )
    fmt = QFormat(8, 3)
    network = IntegerNetwork(
        inputs=(Input((3,), fmt, name="left"), Input((3,), fmt, name="right")),
        num_steps=4,
        layers=layers,
        readouts=(Readout("lif"),),
    )
    network.save(tmp_path / "net.qleaky")
    qleaky.export_onnx(network, tmp_path / "net.onnx")
    codes = np.random.default_rng(0).integers(-128, 128, (2, 4, 5, 3))
    np.savez(tmp_path / "both.npz", left=codes[0], right=codes[1])
    np.savez(tmp_path / "one.npz", left=codes[0])
    command = ("verify", tmp_path / "net.onnx", "--network", tmp_path / "net.qleaky", "--inputs")
    assert call(*command, tmp_path / "both.npz").returncode == 0
    assert_refused(call(*command, tmp_path / "one.npz"), "holds left; it must hold arrays called left, right.")

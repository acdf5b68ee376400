"""Certificates, and the honesty of what is only measured."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from qleaky import FloatNetwork, Leaky, QFormat, export_onnx, run, verify
from qleaky.errors import ArtefactError, InputError, OutputError
from qleaky.models import FeedForward, LIFSettings
from qleaky.verification import Certificate, Report
from qleaky.verification.certificate import Run
from qleaky.verification.compare import Comparison, Divergence, compare_outputs, compare_states
from qleaky.verification.digests import step_digests
from qleaky.verification.vectors import vectors

T = 6
DIVERGENCE = Divergence("lif2", "spk", 3, 17, (2,), 1.0, 0.0)


def exported(folder: Path, net: nn.Module, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return export_onnx(net, folder / "net.onnx", sample_input=torch.rand(T, 4, 3), **arguments)


def report(folder: Path) -> Report:
    torch.manual_seed(0)
    net = FeedForward((3, 5, 4))
    return verify(folder / "net.onnx", exported(folder, net, input_format=QFormat(8, 6)), module=net)


# The file


def test_a_certificate_comes_back_and_has_the_same_bytes_for_the_same_check(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        report(tmp_path).certificate().save(tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    again = Certificate.load(tmp_path / "a.json")
    assert again == report(tmp_path).certificate()
    assert again.verdict == "proved"
    assert set(again.versions) == {"qleaky", "onnx", "onnxruntime"}
    assert [bounds.layer for bounds in again.bounds] == ["fc1", "lif1", "fc2", "lif2"]


def test_a_certificate_names_no_path_or_time(tmp_path: Path) -> None:
    report(tmp_path).certificate().save(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert str(tmp_path) not in text
    assert "/" not in text
    assert not any(f'"{word}' in text for word in ("date", "time", "host", "user"))


@pytest.mark.parametrize("got", [0.0, -1.5, float("nan"), float("inf")])
def test_a_certificate_of_a_difference_comes_back(got: float, tmp_path: Path) -> None:
    comparison = Comparison(spikes=9, spike_mismatches=2, first_divergence=msgspec.structs.replace(DIVERGENCE, got=got))
    whole = msgspec.structs.replace(
        report(tmp_path).certificate(),
        **{"verdict": "differs", "artefact_verdict": "differs", "torch_verdict": "differs"},
        torch=comparison,
        runs=(Run("onnxruntime", True, 1, 64, comparison),),
    )
    whole.save(tmp_path / "a.json")
    again = Certificate.load(tmp_path / "a.json")
    assert again.torch is not None
    assert str(again.torch.first_divergence) == str(comparison.first_divergence)
    again.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("{", "[", 1),
        lambda text: text.replace('"verdict": "proved"', '"verdict": "certain"'),
        lambda text: text.replace('"samples"', '"specimens"'),
        lambda text: text.replace('"spikes": ', '"spikes": "x", "y": ', 1),
        lambda text: "\udcff",
        lambda text: "[]",
    ],
)
def test_a_damaged_certificate_is_refused(change: Any, tmp_path: Path) -> None:
    report(tmp_path).certificate().save(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_bytes(change(text).encode(errors="surrogateescape"))
    with pytest.raises(ArtefactError, match="is not a certificate, or is damaged"):
        Certificate.load(tmp_path / "a.json")


def test_a_missing_certificate_and_one_of_a_later_version(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="Cannot read certificate"):
        Certificate.load(tmp_path / "a.json")
    report(tmp_path).certificate().save(tmp_path / "a.json")
    later = json.loads((tmp_path / "a.json").read_text()) | {"version": 3, "colour": "red"}
    (tmp_path / "a.json").write_text(json.dumps(later))
    with pytest.raises(ArtefactError, match=r"has version 3; this qleaky reads version 2\. Update qleaky"):
        Certificate.load(tmp_path / "a.json")


def test_the_old_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"verdict": "proved", "artefact_sha256": "0", "version": 1}')
    with pytest.raises(ArtefactError, match=r"has version 1; this qleaky reads version 2\. Check the artefact again, or read"):
        Certificate.load(tmp_path / "a.json")


NOTHING = {"spikes": 0, "membranes": 0, "outputs": 0}
PLACE = {
    "layer": "a",
    "kind": "spk",
    "step": 0,
    "sample": 0,
    "element": [0],
    "expected": 1,
    "got": 0,
    "history": [],
    "terms": [],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (NOTHING, "it has no run, or one in which nothing was compared"),
        ({"first_divergence": PLACE | {"terms_left": 0}}, "it has a first divergence where nothing differs"),
        ({"spike_mismatches": 5, "output_mismatches": -5}, "Expected `int` >= 0"),
    ],
)
def test_a_certificate_whose_runs_cannot_have_been_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    report(tmp_path).certificate().save(tmp_path / "a.json")
    said = json.loads((tmp_path / "a.json").read_text())
    said["runs"][0]["comparison"] |= change
    (tmp_path / "a.json").write_text(json.dumps(said))
    with pytest.raises(ArtefactError, match=message):
        Certificate.load(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": []}, "it has no run, or one in which nothing was compared"),
        ({"verdict": "measured"}, "its verdict 'measured' is not the weaker of its two"),
        ({"artefact_verdict": "differs", "verdict": "differs"}, "its runs do not bear out the artefact's verdict 'differs'"),
        ({"torch_verdict": "differs", "verdict": "differs"}, "its comparison does not bear out torch's verdict 'differs'"),
        ({"torch": None}, "a verdict on torch goes with a comparison"),
        ({"reasons": ["none"]}, "it is proved, but gives reasons why it is not"),
        ({"artefacts": []}, "it names no artefact"),
        ({"samples": 63}, "its vectors do not add up to 63 samples"),
        ({"vectors": []}, "its vectors do not add up to 64 samples"),
        ({"num_steps": 7}, "its digests are not those of 7 steps"),
    ],
)
def test_a_certificate_that_contradicts_itself_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    report(tmp_path).certificate().save(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps(json.loads((tmp_path / "a.json").read_text()) | change))
    with pytest.raises(ArtefactError, match=message):
        Certificate.load(tmp_path / "a.json")


def test_a_certificate_says_what_ran_and_what_came_of_it(tmp_path: Path) -> None:
    found = report(tmp_path).certificate()
    torch.manual_seed(0)
    network = exported(tmp_path, FeedForward((3, 5, 4)), input_format=QFormat(8, 6))
    made, data = vectors(network), (tmp_path / "net.onnx").read_bytes()
    assert [(g.name, g.first, g.count) for g in found.vectors] == [(g.name, g.first, g.count) for g in made.groups]
    first, codes = found.vectors[0], made.codes["input"]
    line = f"qleaky-vectors-1 input {T},{first.count},3\n".encode()
    assert first.sha256 == hashlib.sha256(line + codes[:, : first.count].astype("<i4").tobytes()).hexdigest()
    assert [(file.form, file.carrier, file.sha256, file.bytes) for file in found.artefacts] == [
        ("unrolled", "integer", hashlib.sha256(data).hexdigest(), len(data))
    ]
    assert {(d.layer, d.kind): list(d.steps) for d in found.digests} == step_digests(run(network, codes))
    assert (found.target, found.num_steps, found.samples) == (None, T, 64)
    assert [c.layer for c in found.coverage] == ["lif1", "lif2"]


def test_a_certificate_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Cannot write"):
        report(tmp_path).certificate().save(tmp_path / "missing" / "a.json")


# Comparisons


def test_comparisons_add_up_and_keep_the_first_divergence() -> None:
    first, second = Comparison(spikes=3), Comparison(spikes=4, outputs=2, output_mismatches=1, first_divergence=DIVERGENCE)
    both = first + second + Comparison(membranes=5, first_divergence=msgspec.structs.replace(DIVERGENCE, step=0))
    assert (both.spikes, both.membranes, both.outputs, both.compared, both.mismatches) == (7, 5, 2, 14, 1)
    assert both.first_divergence == DIVERGENCE
    assert str(DIVERGENCE) == "layer 'lif2', step 3, sample 17, element [2]: spike 1 expected, 0 found"


def test_an_array_of_another_shape_or_a_missing_one_is_wrong_as_a_whole() -> None:
    zeros = {"lif": np.zeros((2, 3, 4))}
    for got in ({"lif": np.zeros((2, 3, 5))}, {"lif": np.zeros((2, 3, 1))}, {}):
        found = compare_states(zeros, zeros, zeros, got)
        assert (found.spike_mismatches, found.membrane_mismatches) == (0, 24)
        assert found.first_divergence is not None
        assert found.first_divergence.kind == "mem"


@pytest.mark.parametrize("value", [2**53 + 1, -(2**62) - 1])
def test_large_integers_are_compared_exactly(value: int) -> None:
    expected, got = ({"lif": np.array([[[v]]])} for v in (value, value + 1))
    assert compare_states(expected, expected, got, expected).spike_mismatches == 1


# Measured


FLOAT = {"weight_bits": None, "lif": LIFSettings(threshold=0.25)}


def test_a_float_network_is_measured_and_never_called_exact(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = FeedForward((3, 5, 4), **FLOAT)  # type: ignore[arg-type]
    network = exported(tmp_path, net)
    assert isinstance(network, FloatNetwork)
    for module in (None, net):
        found = verify(tmp_path / "net.onnx", network, module=module)
        assert found.verdict in ("measured", "differs")
        assert not found.exact
        assert found.reasons == network.reasons != ()
        assert found.compared > 0
        found.certificate().save(tmp_path / "a.json")
        text = (tmp_path / "a.json").read_text() + str(found)
        assert not any(word in text.lower() for word in ("bit-exact", "bit-for-bit", "proved", "exact: true"))


def test_a_float_network_without_differences_is_measured(tmp_path: Path) -> None:
    network = exported(tmp_path, Single())
    assert network.golden.spikes["lif"].any()
    found = verify(tmp_path / "net.onnx", network)
    assert (found.verdict, found.mismatches, found.bounds) == ("measured", 0, ())
    assert verify(tmp_path / "net.onnx", network, module=Single()).verdict == "measured"


class Single(nn.Module):
    """One Leaky on its own: no sums, so float32 computes the same everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = Leaky(0.9, 0.5)

    def forward(self, x: Any) -> Any:
        return self.lif.sequence(x)


def test_a_float_network_that_differs_says_where(tmp_path: Path) -> None:
    network = exported(tmp_path, Single())
    model = onnx.load(tmp_path / "net.onnx")
    for node in model.graph.node:
        node.op_type = "Less" if node.op_type == "Greater" else node.op_type
    onnx.save(model, tmp_path / "net.onnx")
    found = verify(tmp_path / "net.onnx", network)
    assert found.verdict == "differs"
    assert found.first_divergence is not None
    assert (found.first_divergence.layer, found.first_divergence.step) == ("lif", 0)


def test_a_float_network_has_no_reference_for_other_inputs_without_its_module(tmp_path: Path) -> None:
    network = exported(tmp_path, Single())
    other = np.zeros((T, 2, 3), np.float32)
    with pytest.raises(InputError, match=r"no reference of its own for other inputs than its golden ones; pass module=net"):
        verify(tmp_path / "net.onnx", network, other)
    assert verify(tmp_path / "net.onnx", network, other, module=Single()).verdict == "measured"
    assert verify(tmp_path / "net.onnx", network, network.golden.inputs).verdict == "measured"


def test_a_difference_in_an_output_alone_is_located() -> None:
    expected = {"class": np.array([3, 1]), "spikes": np.zeros((2, 2, 3), np.uint8)}
    spikes = expected["spikes"].copy()
    spikes[1, 0, 2] = 1
    found = compare_outputs(expected, {"class": np.array([3, 2]), "spikes": expected["spikes"]}, 5).first_divergence
    assert str(found) == "layer 'class', step 0, sample 6, element []: output 1 expected, 2 found"
    found = compare_outputs(expected, {"class": expected["class"], "spikes": spikes}, 5).first_divergence
    assert str(found) == "layer 'spikes', step 1, sample 5, element [2]: output 0 expected, 1 found"

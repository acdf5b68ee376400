"""The operation by which a runtime differs is found where one was made to compute wrongly, and where real ones do."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx.reference.op_run import OpRun
from small_contracts import FORMS, INPUTS, SAMPLES, artefact, contract, model
from wrong_runtimes import AwayFromZero, Wrong

from qleaky import verify
from qleaky.errors import ArtefactError
from qleaky.reference import run
from qleaky.verification import Certificate
from qleaky.verification.operation import Operation
from qleaky.verification.runtimes.exposing import exposed, values
from qleaky.verification.runtimes.finding import differing_operation
from qleaky.verification.runtimes.onnx_reference import OnnxReference
from qleaky.verification.runtimes.protocol import Setting

ONE = {"input": INPUTS[:, :1]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("carrier", ["integer", "float", "quantized"])
def test_a_clip_that_is_off_by_one_is_named_with_what_went_in(form: str, carrier: str) -> None:
    found = differing_operation(model(form, carrier), {"input": INPUTS}, Wrong())
    assert found is not None
    assert (found.op_type, found.alone, found.runtime, found.trusted) == ("Clip", True, "wrong", "onnxruntime")
    value, low, high = (float(text.partition(" = ")[2]) for text in found.inputs)
    assert found.expected == min(max(value, low), high) == high
    assert found.got == high - 1


def test_the_membrane_that_it_names_in_a_step_graph_is_the_first_that_the_reference_saturates() -> None:
    """In the step form every Clip makes a membrane: the first to reach 127 comes out one lower."""
    mems = run(contract(), INPUTS).membranes
    first = min((int(np.argwhere(mem == 127)[0][0]), layer) for layer, mem in mems.items() if (mem == 127).any())
    found = differing_operation(model("step"), {"input": INPUTS}, Wrong())
    assert found is not None
    assert (found.step, found.output, found.expected, found.got) == (first[0], f"{first[1]}/mem", 127, 126)
    assert mems[first[1]][first[0]][found.element] == 127


@pytest.mark.parametrize("form", FORMS)
def test_an_operation_that_is_wrong_only_together_with_those_before_it(form: str) -> None:
    found = differing_operation(model(form), {"input": INPUTS}, Wrong(hidden=form != "scan"))
    assert found is not None
    assert found.op_type == "Clip"
    assert found.alone is (form == "scan")
    assert ("computed together with operations before it" in str(found)) is (form != "scan")


def test_runtimes_that_agree_have_no_such_operation() -> None:
    for form in FORMS:
        assert differing_operation(model(form), ONE, OnnxReference()) is None
        assert differing_operation(model(form), ONE, Wrong("Round", AwayFromZero)) is None  # there is no Round in it


def test_another_runtime_may_be_the_trusted_one() -> None:
    found = differing_operation(model("scan"), {"input": INPUTS}, Wrong(), trusted=OnnxReference())
    assert found is not None
    assert (found.op_type, found.trusted) == ("Clip", "onnx-reference")


@pytest.mark.parametrize("form", FORMS)
def test_a_report_names_runtime_operation_and_numbers(form: str, tmp_path: Path) -> None:
    report = verify(artefact(tmp_path, form), contract(), INPUTS, runtime=Wrong())
    assert report.verdict == "differs"
    (operation,) = report.operations
    assert operation.op_type == "Clip"
    assert str(operation).startswith("Clip (output '")
    assert f"{operation.got:.9g} found, {operation.expected:.9g} expected as onnxruntime computes it" in str(operation)
    assert report.certificate().operations == report.operations


def test_where_the_graph_itself_is_wrong_no_operation_of_the_runtime_is_named(tmp_path: Path) -> None:
    path = artefact(tmp_path)
    changed = model("unrolled")
    weight = next(tensor for tensor in changed.graph.initializer if tensor.name == "fc1.weight")
    numbers = bytearray(weight.raw_data)
    numbers[0] ^= 1
    weight.raw_data = bytes(numbers)
    path.write_bytes(changed.SerializeToString())
    report = verify(path, contract(), INPUTS)
    assert report.verdict == "differs"
    assert report.operations == ()
    assert verify(path, contract(), INPUTS, runtime="onnx-reference").operations == ()


class Broken(OpRun):
    op_domain = ""

    def _run(self, data: np.ndarray, *_: np.ndarray) -> tuple[np.ndarray]:
        raise RuntimeError("out of order")


class FailsWhenLookedInto(Wrong):
    """Wrong, and unable to load a graph with more outputs than the twin's."""

    def load(self, data: bytes, setting: Setting) -> object:
        self.loads = getattr(self, "loads", 0) + 1
        return super().load(data, setting) if self.loads <= 2 else Wrong("Clip", Broken).load(data, setting)


def test_a_runtime_that_fails_while_looked_into_keeps_its_verdict(tmp_path: Path) -> None:
    report = verify(artefact(tmp_path), contract(), INPUTS, runtime=FailsWhenLookedInto())
    assert report.verdict == "differs"
    assert report.operations == ()


@pytest.mark.parametrize("form", FORMS)
def test_every_value_of_known_type_can_be_looked_at_and_the_rest_of_the_graph_stays(form: str) -> None:
    original = model(form)
    changed, shown = exposed(original)
    names = {node_output for node in _all_nodes(original.graph) for node_output in node.output}
    states = {output for output in names if output.startswith("next")} if form == "scan" else set()
    assert {value.name for value in shown} == {value.name for value in values(original)} == names - states
    kept = OnnxReference().load(original.SerializeToString(), Setting())
    more = OnnxReference().load(changed.SerializeToString(), Setting())
    if form != "step":
        before, after = kept.run(ONE), more.run(ONE)
        assert all(np.array_equal(before[name], after[name]) for name in before)


def _all_nodes(graph):  # type: ignore[no-untyped-def]
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.name == "body":
                yield from _all_nodes(attribute.g)


def test_openvino_computes_quantize_linear_of_16_bits_otherwise(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    report = verify(artefact(tmp_path, carrier="quantized", bits=16), contract(16), INPUTS, runtime="openvino")
    assert report.verdict == "differs"
    (operation,) = report.operations
    assert (operation.op_type, operation.runtime, operation.alone) == ("QuantizeLinear", "openvino", True)
    value, scale, zero = (float(text.partition(" = ")[2]) for text in operation.inputs)
    assert operation.expected == np.clip(np.rint(value / scale) + zero, -(1 << 15), (1 << 15) - 1)
    assert operation.got != operation.expected


def test_numbers_that_json_lacks_are_words() -> None:
    operation = Operation(
        runtime="a", trusted="b", op_type="Add", node="", output="c", step=None, element=(0,), inputs=(), expected=float("nan"),
        got=1.0, alone=True,
    )  # fmt: skip
    assert str(operation) == "Add (output 'c', element [0]) of nothing: 1 found, nan expected as b computes it"


def test_a_sample_beyond_the_first_batch_is_looked_into(tmp_path: Path) -> None:
    """Only the last sample ever reaches the highest membrane."""
    quiet = np.zeros_like(INPUTS)
    quiet[:, -1] = 127
    clipped = run(contract(), quiet).membranes["lif1"]
    assert (clipped[:, -1] == 127).any()
    assert not (clipped[:, :-1] == 127).any()
    report = verify(artefact(tmp_path, "step"), contract(), quiet, runtime=Wrong())
    assert report.first_divergence is not None
    assert report.first_divergence.sample == SAMPLES - 1
    assert report.operations[0].op_type == "Clip"


def test_a_network_too_large_to_be_looked_into_keeps_its_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qleaky.verification.differing.MOST_BYTES", 1_000)
    report = verify(artefact(tmp_path), contract(), INPUTS, runtime=Wrong())
    assert report.verdict == "differs"
    assert report.operations == ()


def test_the_story_of_a_divergence_is_that_of_the_runtime_that_differs(tmp_path: Path) -> None:
    report = verify(artefact(tmp_path, "step"), contract(), INPUTS, runtime=Wrong())
    found = report.first_divergence
    assert found is not None
    assert (found.kind, found.expected, found.got) == ("mem", 127, 126)
    last = found.history[-1]
    assert (last.step, last.membrane_expected, last.membrane_found) == (found.step, 127, 126)


def test_a_certificate_names_no_operation_of_a_runtime_that_does_not_differ(tmp_path: Path) -> None:
    differing = verify(artefact(tmp_path), contract(), INPUTS, runtime=Wrong()).certificate()
    held = json.loads(differing.encode())
    assert Certificate.decode(json.dumps(held).encode()) == differing
    held["operations"][0]["runtime"] = "onnxruntime"
    with pytest.raises(ArtefactError, match="it names an operation of a runtime that does not differ"):
        Certificate.decode(json.dumps(held).encode())

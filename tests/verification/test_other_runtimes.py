"""Every installed runtime runs every form and carrier as the reference does, or says in one sentence why it has no verdict."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_contracts import CARRIERS, FORMS, INPUTS, SAMPLES, T, artefact, contract
from wrong_runtimes import Wrong

from qleaky import FloatNetwork, Leaky, QleakyError, QuantLinear, lower, verify
from qleaky.errors import ArtefactError, MissingDependencyError
from qleaky.export import onnx_bytes
from qleaky.fixed import QFormat
from qleaky.integer import LIF, Add, Input, IntegerNetwork, Linear, Readout, Synapse
from qleaky.verification import Certificate
from qleaky.verification.running import count_runs
from qleaky.verification.runtimes import Runtime, Setting, openvino_cpu, tract_cpu
from qleaky.verification.runtimes.registry import runtime

OTHERS = ("onnx-reference", "openvino", "tract", "onnxruntime-web")
TRACT_RUNS = {("unrolled", "float"), ("step", "integer"), ("step", "float"), ("step", "quantized")}


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest) -> Runtime:
    try:
        return runtime(request.param)
    except MissingDependencyError as error:
        pytest.skip(str(error))


def numbers_of(network: IntegerNetwork, samples: int) -> int:
    """Spikes, states, final states twice (shipped and twin), and readouts twice, of so many samples."""
    states = sum(int(np.prod(network.signals[lif.name].shape)) for lif in network.lif_layers)
    outputs = sum(int(np.prod(network.signals[r.layer].shape)) + r.argmax for r in network.readouts)
    return samples * (2 * network.num_steps * states + 2 * states + 2 * outputs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_every_number_is_the_references(other: Runtime, form: str, carrier: str, tmp_path: Path) -> None:
    network, path = contract(), artefact(tmp_path, form, carrier)
    if other.name == "tract" and (form, carrier) not in TRACT_RUNS:
        with pytest.raises(
            ArtefactError, match=r"no verdict in runtime 'tract': Failed analyse for node .*: Impossible to unify"
        ):
            verify(path, network, INPUTS, runtime=other)
        return
    report = verify(path, network, INPUTS, runtime=other)
    assert report.mismatches == 0
    assert report.verdict == ("proved" if other.exact else "measured")
    assert report.compared == len(other.settings) * numbers_of(network, SAMPLES + 64)
    assert report.not_run == report.operations == ()
    assert set(report.by_runtime) == {other.name}
    assert [(run.optimized, run.threads) for run in report.runs] == [
        (s.optimize, s.threads) for s in other.settings for _ in "12"
    ]


@pytest.mark.parametrize("form", FORMS)
def test_static_inputs_and_synaptic_currents(other: Runtime, form: str, tmp_path: Path) -> None:
    inputs = (Input((3,), QFormat(8, 4), "static", "light"), Input((2,), QFormat(4, 1), "sequence", "sound"))
    rng = np.random.default_rng(3)
    layers: Any = (
        Linear(name="fc", input="sound", weight=rng.integers(-8, 8, (3, 2), dtype=np.int8), weight_frac_bits=3),
        Add(name="sum", inputs=("fc", "light"), signs=(1, 1)),
        LIF(name="lif", input="sum", state=QFormat(12, 4), theta=np.array(9), synapse=Synapse(state=QFormat(12, 4))),
    )
    readouts = (Readout("lif", "membrane_mean"), Readout("lif", "spikes"))
    network = IntegerNetwork(inputs=inputs, num_steps=4, layers=layers, readouts=readouts)
    codes = {"light": rng.integers(-128, 128, (5, 3), dtype=np.int8), "sound": rng.integers(-8, 8, (4, 5, 2), dtype=np.int8)}
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_bytes(network, form=form, carrier="float"))
    if other.name == "tract":
        try:
            report = verify(path, network, codes, runtime=other)
        except ArtefactError as error:
            assert "has no verdict in runtime 'tract'" in str(error)  # noqa: PT017 - which graphs it loads is its own affair
            return
    report = verify(path, network, codes, runtime=other)
    assert report.mismatches == 0


def test_several_runtimes_are_one_verdict_and_each_has_its_own_runs(tmp_path: Path) -> None:
    several = ("onnxruntime", "onnx-reference", Wrong())
    report = verify(artefact(tmp_path), contract(), INPUTS, runtime=several)
    assert report.verdict == "differs"
    counts = {name: found.mismatches for name, found in report.by_runtime.items()}
    assert counts["onnxruntime"] == counts["onnx-reference"] == 0
    assert counts["wrong"] == report.mismatches > 0
    assert [operation.runtime for operation in report.operations] == ["wrong"]
    assert len(report.runs) == count_runs([runtime(each) if isinstance(each, str) else each for each in several]) == 12
    report.certificate().save(tmp_path / "certificate.json")
    assert Certificate.load(tmp_path / "certificate.json") == report.certificate()
    assert {"qleaky", "onnx", "onnxruntime", "wrong"} == set(report.certificate().versions)


class Refusing(Wrong):
    name = "refusing"

    def load(self, data: bytes, setting: Setting) -> Any:
        raise ValueError("no such operator\nand a stack\x1b[31m")


def test_a_runtime_that_refuses_is_an_error_alone_and_named_among_others(tmp_path: Path) -> None:
    path = artefact(tmp_path)
    with pytest.raises(ArtefactError, match=r"net.onnx has no verdict in runtime 'refusing': no such operator\. Choose"):
        verify(path, contract(), INPUTS, runtime=Refusing())
    report = verify(path, contract(), INPUTS, runtime=[Refusing(), "onnxruntime"])
    assert report.verdict == "proved"
    assert [(each.runtime, each.reason) for each in report.not_run] == [("refusing", "no such operator.")]
    assert report.certificate().not_run == report.not_run
    with pytest.raises(ArtefactError, match=r"runs in none of 2 runtimes\. refusing: no such operator\. wrong: wrong as well"):
        verify(path, contract(), INPUTS, runtime=[Refusing(), WrongAsWell()])


class WrongAsWell(Wrong):
    def load(self, data: bytes, setting: Setting) -> Any:
        raise RuntimeError("wrong as well\x1b[0m")


class Odd(Wrong):
    """Gives the outputs that ``change`` leaves."""

    name = "odd"

    def __init__(self, change: Any) -> None:
        super().__init__("Round")
        self._change = change

    def load(self, data: bytes, setting: Setting) -> Any:
        inner, change = super().load(data, setting), self._change

        class Changed:
            def run(self, arrays: Any) -> Any:
                return change(dict(inner.run(arrays)))

        return Changed()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: {name: array for name, array in found.items() if name != "class"}, "it gives no output 'class'"),
        (lambda found: found | {"class": found["class"].astype(np.int32)}, "it gives 'class' as int32, and the graph as int64"),
        (lambda found: None, "NoneType"),
        (lambda found: found | {"class": "three"}, "it gives 'class' as <U5"),
    ],
)
def test_outputs_that_are_not_the_graphs(change: Any, message: str, form: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=f"no verdict in runtime 'odd': .*{message}"):
        verify(artefact(tmp_path, form), contract(), INPUTS, runtime=Odd(change))


@pytest.mark.parametrize("form", FORMS)
def test_outputs_of_another_shape_all_count_as_wrong(form: str, tmp_path: Path) -> None:
    report = verify(artefact(tmp_path, form), contract(), INPUTS, runtime=Odd(lambda f: f | {"class": f["class"][:, None]}))
    assert report.verdict == "differs"
    assert report.first_divergence is not None
    assert (report.first_divergence.layer, report.first_divergence.got) == ("class", "nan")


def test_errors_are_of_qleaky(tmp_path: Path) -> None:
    with pytest.raises(QleakyError):
        verify(artefact(tmp_path), contract(), INPUTS, runtime=WrongAsWell())


def test_long_errors_are_cut_to_what_is_wrong() -> None:
    ours = "Exception from core.cpp:105:\nCheck 'false' failed\n-- Scan-21 with a message:\nToo few inputs\n\nSummary:\n-- 21"
    assert openvino_cpu.shortened(ours) == "Too few inputs"
    assert openvino_cpu.shortened("\n") == "it says nothing."
    rust = 'Failed analyse for node #3 "a" Div\n\nCaused by:\n    0: So\n    1: No such type\n\nStack backtrace:\n   0: <x>'
    assert tract_cpu.shortened(rust) == 'Failed analyse for node #3 "a" Div: No such type'
    assert tract_cpu.shortened("short") == "short"


@pytest.mark.parametrize("form", FORMS)
def test_a_float_network_is_measured_in_other_runtimes_too(form: str, tmp_path: Path) -> None:
    """On a grid every sum is exact, so that even floats agree; a decay of 0.9 is what makes it a float network."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(QuantLinear(3, 4), Leaky(0.9, init_hidden=True))
    network = lower(net, torch.zeros(2, 3), num_steps=T, input_format=QFormat(8, 5))
    assert isinstance(network, FloatNetwork)
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_bytes(network, form=form))
    report = verify(path, network, runtime=("onnxruntime", "onnx-reference"))
    assert set(report.by_runtime) == {"onnxruntime", "onnx-reference"}
    assert report.by_runtime["onnxruntime"].mismatches == 0
    assert report.verdict == "measured"

"""A device's report is judged by what the reference computes, never by what it says of itself."""

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from bundle_helpers import Change, bundle, changed_manifest, members, network, resigned, unpacked, validated, zipped
from onnx import numpy_helper

import qleaky
from qleaky.errors import ArtefactError, InputError
from qleaky.export.bundle_arrays import npy_array, npy_bytes
from qleaky.reference import run
from qleaky.verification.device.bundles import Bundle
from qleaky.verification.device.report_file import DeviceFile
from qleaky.verification.device.report_judge import DeviceReport, check_report
from qleaky.verification.device.schemas import FILES, schema_text

KEPT = Path(__file__).resolve().parents[2] / "export" / "schema"
NONCE = "word of the host"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What validate.py reports of the good bundle."""
    code, report = validated(unpacked(tmp_path_factory.mktemp("honest")), "--nonce", NONCE)
    assert code == 0
    return report


def judged(folder: Path, report: Any, nonce: str | None = NONCE, *, data: bytes | None = None, of: Any = None) -> DeviceReport:
    (folder / "a.zip").write_bytes(bundle() if data is None else data)
    (folder / "report.json").write_text(json.dumps(report))
    return check_report(folder / "report.json", Bundle.open(folder / "a.zip"), of or network(), nonce)


def lie(report: dict[str, Any], change: Change) -> dict[str, Any]:
    told = copy.deepcopy(report)
    change(told)
    return told


def refused(folder: Path, report: Any, message: str, nonce: str | None = NONCE, **options: Any) -> None:
    with pytest.raises(ArtefactError, match=message) as caught:
        judged(folder, report, nonce, **options)
    assert str(caught.value).isprintable()


def test_an_honest_run_of_a_proved_network_is_proved(honest: Any, tmp_path: Path) -> None:
    found = judged(tmp_path, honest)
    assert (found.verdict, found.reasons, found.notes, found.nonce, found.exact) == ("proved", (), (), NONCE, True)
    assert [(r.form, r.verdict, r.first_divergence) for r in found.runs] == [
        (form, "equal", None) for form in ("unrolled", "scan", "step")
    ]
    assert found.compared == sum(run["numbers_compared"] for run in honest["runs"])


def test_a_provider_that_is_not_known_to_be_exact_is_measured(honest: Any, tmp_path: Path) -> None:
    def elsewhere(report: Any) -> None:
        report["runs"][1]["assigned"] = {"CPUExecutionProvider": 3, "CUDAExecutionProvider": 40, "CoreMLExecutionProvider": 0}

    found = judged(tmp_path, lie(honest, elsewhere))
    assert found.verdict == "measured"
    assert found.reasons == ("that CUDAExecutionProvider computes every operator as ONNX defines it is measured, not known.",)


def test_what_was_found_is_written_as_json(honest: Any, tmp_path: Path) -> None:
    judged(tmp_path, honest).save(tmp_path / "found.json")
    held = json.loads((tmp_path / "found.json").read_bytes())
    assert (held["verdict"], held["nonce"], len(held["runs"])) == ("proved", NONCE, 3)


def test_without_a_nonce_a_note_says_what_that_means(honest: Any, tmp_path: Path) -> None:
    def forget(report: Any) -> None:
        report["nonce"] = None
        for each in report["runs"]:
            each["nonce"] = None

    found = judged(tmp_path, lie(honest, forget), None)
    assert found.verdict == "proved"
    assert found.notes == (
        "there was no nonce: whoever has the bundle could have written these answers without running anything.",
    )
    assert "is the report's own: pass the one you gave out" in judged(tmp_path, honest, None).notes[0]


def test_copied_answers_do_not_answer_another_nonce(honest: Any, tmp_path: Path) -> None:
    refused(tmp_path, honest, "answers the nonce 'word of the host', not 'new'.*validate.py --nonce new", "new")
    renamed = lie(honest, lambda report: report.update(nonce="new"))
    found = judged(tmp_path, renamed, "new")
    assert found.verdict == "differs"
    assert "on the vectors of the nonce the " in found.runs[0].reason


def test_a_report_without_answers_to_the_nonce_is_refused(honest: Any, tmp_path: Path) -> None:
    without = lie(honest, lambda report: report.update(nonce=None))
    refused(tmp_path, without, "was made without a nonce, so its answers may be copies")
    refused(tmp_path, lie(honest, lambda r: r["runs"][1].update(nonce=None)), "a run without the answers to its 8 vectors")
    fewer = lie(honest, lambda r: r["runs"][1]["nonce"].update(samples=1))
    refused(tmp_path, fewer, "a run without the answers to its 8 vectors")


def test_a_nonce_that_is_none_is_refused(honest: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a nonce is 1 to 200 printable ASCII characters"):
        judged(tmp_path, honest, "\n")


def flip(digest: str) -> str:
    return ("1" if digest[0] == "0" else "0") + digest[1:]


def wrong_step(report: Any) -> None:
    steps = report["runs"][2]["step_digests"][1]["steps"]
    steps[3] = flip(steps[3])


def wrong_output(report: Any) -> None:
    outputs = report["runs"][0]["output_digests"]
    outputs["hidden.spikes"] = flip(outputs["hidden.spikes"])


DISHONEST = "the report says equal, but its digests are not those of the contract: it is no honest run"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            wrong_step,
            rf"{DISHONEST} \(step \(integer\) on CPUExecutionProvider, the synaptic current of layer 'hidden', step 3\)",
        ),
        (wrong_output, rf"{DISHONEST} \(unrolled \(integer\) on CPUExecutionProvider, the output 'hidden.spikes'\)"),
        (lambda r: r["runs"][0]["step_digests"].pop(), f"{DISHONEST}.*'out', step 0"),
        (lambda r: r["runs"][0]["step_digests"][0]["steps"].pop(), f"{DISHONEST}.*'hidden', step 4"),
        (lambda r: r["runs"][0]["step_digests"][0]["steps"].append("0" * 64), f"{DISHONEST}.*'hidden', step 5"),
        (lambda r: r["runs"][0]["step_digests"][0].update(layer="ghost"), DISHONEST),
        (lambda r: r["runs"][0]["output_digests"].clear(), f"{DISHONEST}.*the output 'out.spike_count'"),
        (lambda r: r["runs"][0]["output_digests"].update(ghost="0" * 64), f"{DISHONEST}.*the output 'ghost'"),
        (lambda r: r["runs"][0].update(samples=63), DISHONEST),
        (lambda r: r["runs"][0].update(tensors_differing=1), DISHONEST),
        (lambda r: r["runs"][0].update(assigned={}), "says equal, but no node of the graph ran there"),
        (lambda r: r["runs"][0].update(assigned={"CPUExecutionProvider": 0}), "says equal, but no node of the graph ran there"),
    ],
)
def test_what_says_equal_with_other_digests_is_no_honest_run(change: Change, message: str, honest: Any, tmp_path: Path) -> None:
    refused(tmp_path, lie(honest, change), message)


def wrong_answer(report: Any) -> None:
    answers = report["runs"][1]["nonce"]["step_digests"][4]["steps"]
    answers[2] = flip(answers[2])


def test_a_wrong_answer_to_the_nonce_differs_although_the_device_could_not_know(honest: Any, tmp_path: Path) -> None:
    found = judged(tmp_path, lie(honest, wrong_answer))
    assert found.verdict == "differs"
    assert [r.verdict for r in found.runs] == ["equal", "differs", "equal"]
    assert found.runs[1].reason == "on the vectors of the nonce the spikes of layer 'out', step 2 is not the contract's"


def one_bit(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name.startswith("fc1.weight"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] ^= 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a device that computes another weight reports, as if it had run the good bundle."""
    changed = {}
    for form in ("unrolled", "scan", "step"):
        for kind in ("", ".probe"):
            model = onnx.load_model_from_string(members(bundle())[f"models/{form}{kind}.onnx"])
            one_bit(model)
            changed[f"models__{form}{kind}.onnx"] = model.SerializeToString()
    folder = unpacked(tmp_path_factory.mktemp("broken"), zipped(resigned(members(bundle()), **changed)))
    code, report = validated(folder, "--nonce", NONCE)
    assert code == 1
    good = Bundle.open(write(folder / "good.zip", bundle()))
    report["manifest_sha256"] = good.manifest_sha256
    files = good.manifest.files
    for each in report["runs"]:
        each["model_sha256"] = files[f"models/{each['form']}.onnx"].sha256
        each["probe_sha256"] = files[f"models/{each['form']}.probe.onnx"].sha256
    return report


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_device_that_computes_something_else_differs_down_to_the_element(broken: Any, tmp_path: Path) -> None:
    found = judged(tmp_path, broken)
    assert found.verdict == "differs"
    place = found.first_divergence
    assert place is not None
    inputs = Bundle.open(tmp_path / "a.zip").inputs()
    states = run(network(), inputs).synapses["hidden"]
    assert (place.layer, place.kind, place.element) == ("hidden", "syn", (0,))
    assert place.expected == states[place.step, place.sample, 0]
    assert abs(float(place.got) - float(place.expected)) == 1  # one bit of a weight, times a spike
    # It is the very first: the neuron's weight meets a spike at that step, and at none before in that sample.
    assert inputs["events"][: place.step + 1, place.sample, 0].tolist() == [0] * place.step + [1]
    assert place.history[-1].step == place.step


def test_a_divergence_that_is_none_is_no_honest_run(broken: Any, tmp_path: Path) -> None:
    def mend(report: Any) -> None:
        first = report["runs"][0]["first_divergence"]
        inputs = Bundle.open(write(tmp_path / "b.zip", bundle())).inputs()
        first["got"] = run(network(), inputs).synapses["hidden"][first["step"], first["sample"]].tolist()

    refused(tmp_path, lie(broken, mend), "but the codes it shows are the contract's: it is no honest run")


@pytest.mark.parametrize(
    "changes",
    [{"layer": "ghost"}, {"step": 5}, {"sample": 64}, {"got": [1]}, {"truncated": True}, {"kind": "spk", "layer": "fc1"}],
)
def test_a_divergence_in_a_tensor_that_the_network_has_not_is_refused(changes: Any, broken: Any, tmp_path: Path) -> None:
    changed = lie(broken, lambda r: r["runs"][0]["first_divergence"].update(changes))
    refused(tmp_path, changed, "the network has no such tensor")


def test_a_run_without_verdict_is_noted_and_its_graph_is_not_proved(honest: Any, tmp_path: Path) -> None:
    def fail(report: Any) -> None:
        report["runs"][0].update(verdict="no verdict", reason="it is\x1b[2J broken", latency_ms=None, nonce=None)

    found = judged(tmp_path, lie(honest, fail))
    assert found.verdict == "measured"
    assert found.reasons == ("the report has no run in which models/unrolled.onnx was equal.",)
    assert found.notes == ("unrolled (integer) on CPUExecutionProvider: no verdict: it is\\x1b[2J broken",)


def test_a_report_with_no_verdict_at_all_proves_nothing(honest: Any, tmp_path: Path) -> None:
    def fail(report: Any) -> None:
        for each in report["runs"]:
            each.update(verdict="no verdict", reason="broken", nonce=None)

    assert judged(tmp_path, lie(honest, fail)).verdict == "no verdict"


def test_a_graph_that_the_report_leaves_out_is_not_proved(honest: Any, tmp_path: Path) -> None:
    found = judged(tmp_path, lie(honest, lambda r: r["runs"].pop(1)))
    assert (found.verdict, found.reasons) == ("measured", ("the report has no run in which models/scan.onnx was equal.",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: r.update(manifest_sha256="0" * 64),
            "is the report of another bundle: of manifest 000000000000, this one's is",
        ),
        (lambda r: r.update(contract_digest="0" * 64), "is of contract 000000000000, the network is"),
        (lambda r: r["runs"][0].update(model_sha256="0" * 64), "with graphs that are not in the bundle"),
        (lambda r: r["runs"][0].update(form="step"), "with graphs that are not in the bundle"),
        (lambda r: r["runs"][0].update(samples=65), "has a run of 65 samples; the bundle has 64"),
        (lambda r: r.update(version=2), "has version 2; this qleaky reads version 1"),
        (lambda r: r.update(kind="qleaky-bundle"), "is no qleaky-report"),
        (lambda r: r.update(colour="red"), "is damaged.*colour"),
        (lambda r: r.update({"a\x1b[2Jb": 1}), "is damaged"),
        (lambda r: r.pop("device"), "is damaged.*device"),
        (lambda r: r.update(runs=[]), "is damaged"),
        (lambda r: r["runs"][0].update(verdict="proved"), "is damaged"),
        (lambda r: r["runs"][0]["step_digests"][0]["steps"].append("x"), "is damaged"),
        (lambda r: r.update(nonce="\x1b"), "is damaged"),
        (lambda r: r["runs"][0]["latency_ms"]["inference"].update(median=-1), "is damaged"),
    ],
)
def test_a_report_of_something_else_or_a_damaged_one_is_refused(
    change: Change, message: str, honest: Any, tmp_path: Path
) -> None:
    refused(tmp_path, lie(honest, change), message, None)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 10**6, b'{"kind": "qleaky-report", "kind": 1}', b"\xff", b"NaN"])
def test_text_that_is_no_report_is_refused(text: bytes) -> None:
    with pytest.raises(ArtefactError, match=r"The report is damaged|is no qleaky-report"):
        DeviceFile.decode(text)


def test_the_network_must_be_the_bundles(honest: Any, tmp_path: Path) -> None:
    refused(tmp_path, honest, "is of contract .*, the network is", of=network(theta=10))
    other = network(theta=10)
    changed = lie(honest, lambda r: r.update(contract_digest=other.digest))
    refused(tmp_path, changed, "was made from another network: it names contract", of=other)


def rebundled(report: Any, data: bytes, folder: Path) -> Any:
    """The report, as of another bundle."""
    files = Bundle.open(write(folder / "b.zip", data)).manifest.files
    sha = Bundle.open(folder / "b.zip").manifest_sha256

    def change(told: Any) -> None:
        told["manifest_sha256"] = sha
        for each in told["runs"]:
            each["model_sha256"] = files[f"models/{each['form']}.onnx"].sha256
            each["probe_sha256"] = files[f"models/{each['form']}.probe.onnx"].sha256

    return lie(report, change)


def with_model(name: str, change: Any) -> bytes:
    model = onnx.load_model_from_string(members(bundle())[name])
    change(model)
    return zipped(resigned(members(bundle()), **{name.replace("/", "__"): model.SerializeToString()}))


def test_a_bundle_whose_graph_is_not_the_contracts_is_measured_at_best(honest: Any, tmp_path: Path) -> None:
    def say(model: onnx.ModelProto) -> None:
        model.producer_name = "another"

    changed = {
        f"models__scan{kind}.onnx": changed_bytes(members(bundle())[f"models/scan{kind}.onnx"], say) for kind in ("", ".probe")
    }
    data = zipped(resigned(members(bundle()), **changed))
    found = judged(tmp_path, rebundled(honest, data, tmp_path), data=data)
    assert found.verdict == "measured"
    assert "is not the one that this version of qleaky emits for the contract" in found.reasons[0]


def changed_bytes(data: bytes, change: Any) -> bytes:
    model = onnx.load_model_from_string(data)
    change(model)
    found: bytes = model.SerializeToString()
    return found


@pytest.mark.parametrize("kind", ["", ".probe"])
def test_a_twin_that_is_not_the_graphs_is_refused(kind: str, honest: Any, tmp_path: Path) -> None:
    data = with_model(f"models/step{kind}.onnx", one_bit)
    refused(tmp_path, rebundled(honest, data, tmp_path), "its probe twin, or what the manifest says of them, is not", data=data)


def test_what_the_manifest_says_of_a_graph_must_be_so(honest: Any, tmp_path: Path) -> None:
    data = zipped(changed_manifest(members(bundle()), lambda m: m["artefacts"][0]["probes"][0].update(offset=1)))
    refused(tmp_path, rebundled(honest, data, tmp_path), "its probe twin, or what the manifest says of them, is not", data=data)


@pytest.mark.parametrize(
    ("name", "dtype", "shape"), [("golden/digests/0.npy", "uint8", (5, 64, 32)), ("golden/outputs/0.npy", "uint8", None)]
)
def test_golden_vectors_that_are_not_the_contracts_are_refused(
    name: str, dtype: str, shape: Any, honest: Any, tmp_path: Path
) -> None:
    held = members(bundle())
    entry = next(e for e in json.loads(held["manifest.json"])["outputs"] if e["golden"] == "golden/outputs/0.npy")
    array = npy_array(
        held[name], dtype, shape or ((5, 64) if entry["over_time"] else (64,)) + tuple(entry["shape"]), name
    ).copy()
    array.flat[7] ^= 1
    data = zipped(resigned(held, **{name.replace("/", "__"): npy_bytes(array)}))
    refused(
        tmp_path, rebundled(honest, data, tmp_path), "its golden outputs or digests are not those of the contract", data=data
    )


def test_a_float_network_is_measured_or_differs_and_has_no_nonce(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), qleaky.Leaky(0.5, init_hidden=True))
    contract = qleaky.export_bundle(net, tmp_path / "a.zip", sample_input=torch.rand(2, 3), num_steps=4)
    _, report = validated(unpacked(tmp_path / "u", (tmp_path / "a.zip").read_bytes()))
    found = judged(tmp_path, report, None, data=(tmp_path / "a.zip").read_bytes(), of=contract)
    assert found.verdict in ("measured", "differs")
    with pytest.raises(InputError, match="A FloatNetwork has no reference for the vectors of a nonce"):
        judged(tmp_path, report, "n", data=(tmp_path / "a.zip").read_bytes(), of=contract)


def test_the_first_divergence_of_a_float_network_is_in_its_numbers(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), qleaky.Leaky(0.5, init_hidden=True))
    contract = qleaky.export_bundle(net, tmp_path / "a.zip", sample_input=torch.rand(2, 3), num_steps=4)
    data = (tmp_path / "a.zip").read_bytes()
    _, report = validated(unpacked(tmp_path / "u", data))
    (name, membranes), *_ = contract.golden.membranes.items()  # type: ignore[union-attr]
    right = (membranes[1, 0].astype(np.float32) + np.float32(0)).view(np.int32).tolist()
    place = {
        "layer": name,
        "kind": "mem",
        "step": 1,
        "sample": 0,
        "got": [right[0], right[1] ^ 1, *right[2:]],
        "truncated": False,
    }
    told = lie(report, lambda r: r["runs"][0].update(verdict="differs", first_divergence=place, tensors_differing=1))
    found = judged(tmp_path, told, None, data=data, of=contract).runs[0].first_divergence
    assert found is not None
    assert (found.element, found.expected) == ((1,), float(membranes[1, 0, 1]))
    assert 0 < abs(float(found.got) - float(found.expected)) < 1e-6


@pytest.mark.parametrize("name", FILES)
def test_the_kept_schemas_are_those_of_the_code(name: str) -> None:
    advice = "run: python -m qleaky.verification.device.schemas export/schema"
    assert (KEPT / name).read_text() == schema_text(FILES[name]), advice


def test_a_report_has_the_fields_of_its_schema(honest: Any) -> None:
    assert set(honest) == set(DeviceFile.__struct_fields__)
    assert msgspec.json.decode(msgspec.json.encode(DeviceFile.decode(json.dumps(honest).encode()))) == honest


# Reports that contradict themselves


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numbers_compared": 0}, r"says equal after 0 numbers, but 64 samples have 7,296: it is no honest run"),
        ({"numbers_compared": 7295}, "says equal after 7,295 numbers"),
        ({"verdict": "no verdict", "tensors_differing": 1}, "has no verdict, but says what differs: it is no honest run"),
    ],
)
def test_a_run_whose_numbers_do_not_bear_out_its_verdict_is_refused(
    change: Any, message: str, honest: Any, tmp_path: Path
) -> None:
    states, outputs = 5 * (3 * 4 + 2 * 3), 3 + 1 + 5 * 4
    assert 64 * (states + outputs) == 7296
    refused(tmp_path, lie(honest, lambda r: r["runs"][0].update(change)), message)


@pytest.mark.parametrize("place", [0, -1])
def test_digests_that_stand_twice_are_refused_whichever_is_right(place: int, honest: Any, tmp_path: Path) -> None:
    def twice(report: Any) -> None:
        digests = report["runs"][0]["step_digests"]
        digests.insert(place % (len(digests) + 1), copy.deepcopy(digests[0]) | {"steps": ["0" * 64] * 5})

    refused(tmp_path, lie(honest, twice), DISHONEST)


def test_a_run_of_fewer_samples_is_noted(tmp_path: Path) -> None:
    _, report = validated(unpacked(tmp_path / "device"), "--nonce", NONCE, "--samples", "1")
    found = judged(tmp_path, report)
    assert found.notes[0] == "unrolled (integer) on CPUExecutionProvider: the device ran 1 of the bundle's 64 samples."
    assert len(found.notes) == 3

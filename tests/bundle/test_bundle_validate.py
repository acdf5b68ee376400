"""validate.py on a device: its verdicts, what it refuses, and that it runs nothing of the bundle but itself."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bundle_helpers import (
    VALIDATE,
    Change,
    bundle,
    changed_manifest,
    device,
    members,
    network,
    resigned,
    unpacked,
    validated,
    zipped,
)
from onnx import helper, numpy_helper
from test_bundle_reading import MANIFESTS, set_to

import qleaky
from qleaky.bundling import bundle_of
from qleaky.export.bundle_arrays import npy_array, npy_bytes
from qleaky.verification.device.nonce import nonce_inputs

CPU = "CPUExecutionProvider"
FORMS = ["unrolled", "scan", "step"]


def files() -> dict[str, bytes]:
    return members(bundle())


def test_a_good_bundle_is_equal_in_every_form_and_the_report_says_what_ran(tmp_path: Path, capsys: Any) -> None:
    code, report = validated(unpacked(tmp_path))
    assert code == 0
    assert [(run["form"], run["verdict"], run["tensors_differing"]) for run in report["runs"]] == [
        (form, "equal", 0) for form in FORMS
    ]
    assert all(run["assigned"][CPU] >= 10 for run in report["runs"])
    assert report["peak_memory_bytes"] > 10 << 20
    assert report["contract_digest"] == network().digest
    assert report["device"]["runtime"] == f"onnxruntime {onnxruntime.__version__}"
    assert capsys.readouterr().out.count("equal: ") == 3


def test_the_numbers_compared_are_those_of_states_final_states_and_outputs(tmp_path: Path) -> None:
    _, report = validated(unpacked(tmp_path))
    states = 5 * (3 * 4 + 2 * 3)
    finals, outputs = 2 * 4 + 3, 2 * (3 + 1 + 5 * 4)
    assert {run["numbers_compared"] for run in report["runs"]} == {(64 + 1) * (states + finals + outputs)}


def test_latency_is_of_inferences_and_of_the_step_form_of_steps(tmp_path: Path) -> None:
    _, report = validated(unpacked(tmp_path))
    for run in report["runs"]:
        latency = run["latency_ms"]
        assert 0 < latency["inference"]["median"] <= latency["inference"]["p99"]
        assert (latency["step"] is None) == (run["form"] != "step")
    steps = report["runs"][2]["latency_ms"]
    assert steps["step"]["runs"] == 5 * steps["inference"]["runs"]
    assert steps["step"]["median"] < steps["inference"]["median"]


@pytest.mark.parametrize(
    ("seconds", "median", "p99"),
    [([0.003], 3.0, 3.0), ([0.001, 0.002], 1.0, 2.0), ([n / 1000 for n in range(200, 0, -1)], 100.0, 198.0)],
)
def test_median_and_p99_are_values_that_were_measured(seconds: list[float], median: float, p99: float) -> None:
    assert device().timing(seconds) == {"median": median, "p99": p99, "runs": len(seconds)}


def changed_model(name: str, change: Any) -> bytes:
    model = onnx.load_model_from_string(files()[name])
    change(model)
    data: bytes = model.SerializeToString()
    return data


def one_bit(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name.startswith("fc1.weight"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] ^= 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@pytest.mark.parametrize("form", FORMS)
def test_one_bit_of_a_weight_differs_and_is_located(form: str, tmp_path: Path) -> None:
    both = {f"models__{form}{kind}.onnx": changed_model(f"models/{form}{kind}.onnx", one_bit) for kind in ("", ".probe")}
    code, report = validated(unpacked(tmp_path, zipped(resigned(files(), **both))))
    run = next(run for run in report["runs"] if run["form"] == form)
    assert code == 1
    assert {other["verdict"] for other in report["runs"] if other is not run} == {"equal"}
    assert run["verdict"] == "differs"
    first = run["first_divergence"]
    assert (first["layer"], first["kind"], first["truncated"]) == ("hidden", "syn", False)
    _, inputs, expected = golden()
    states = expected.synapses["hidden"][first["step"], first["sample"]]
    assert [i for i, code in enumerate(first["got"]) if code != states[i]] == [0]
    assert inputs["events"][first["step"], first["sample"], 0] == 1


def golden() -> Any:
    held = files()
    manifest = json.loads(held["manifest.json"])
    inputs = {
        e["name"]: npy_array(
            held[e["golden"]], e["dtype"], ((5, 64) if e["time"] == "sequence" else (64,)) + tuple(e["shape"]), ""
        )
        for e in manifest["inputs"]
    }
    return manifest, inputs, qleaky.run(network(), inputs)


@pytest.mark.parametrize("form", FORMS)
def test_a_shipped_graph_that_its_twin_does_not_have_is_seen_in_its_outputs(form: str, tmp_path: Path) -> None:
    changed = {f"models__{form}.onnx": changed_model(f"models/{form}.onnx", one_bit)}
    code, report = validated(unpacked(tmp_path, zipped(resigned(files(), **changed))), "--nonce", "n")
    run = next(run for run in report["runs"] if run["form"] == form)
    assert (code, run["verdict"]) == (1, "differs")
    assert run["reason"] == "the graph and its twin part on the vectors of the nonce"


def test_an_output_that_is_not_the_golden_one_is_located(tmp_path: Path) -> None:
    held, manifest = files(), golden()[0]
    entry = next(e for e in manifest["outputs"] if e["name"] == "hidden.spikes")
    spikes = npy_array(held[entry["golden"]], "uint8", (5, 64, 4), "").copy()
    spikes[3, 9, 2] ^= 1
    code, report = validated(
        unpacked(tmp_path, zipped(resigned(held, **{entry["golden"].replace("/", "__"): npy_bytes(spikes)})))
    )
    first = report["runs"][0]["first_divergence"]
    assert code == 1
    assert (first["layer"], first["kind"], first["step"], first["sample"]) == ("hidden.spikes", "out", 3, 9)


def test_a_changed_digest_is_found_at_its_layer_step_and_sample(tmp_path: Path) -> None:
    held, manifest = files(), golden()[0]
    entry = next(s for s in manifest["states"] if (s["layer"], s["kind"]) == ("out", "spk"))
    digests = npy_array(held[entry["digests"]], "uint8", (5, 64, 32), "").copy()
    digests[2, 40, 5] ^= 4
    code, report = validated(
        unpacked(tmp_path, zipped(resigned(held, **{entry["digests"].replace("/", "__"): npy_bytes(digests)})))
    )
    first = report["runs"][0]["first_divergence"]
    assert (code, first["layer"], first["kind"], first["step"], first["sample"]) == (1, "out", "spk", 2, 40)
    assert report["runs"][0]["tensors_differing"] == 1


def test_the_answers_to_a_nonce_are_the_references(tmp_path: Path) -> None:
    _, report = validated(unpacked(tmp_path), "--nonce", "word of the host")
    recording = qleaky.run(network(), nonce_inputs(network(), "word of the host"))
    answers = report["runs"][1]["nonce"]
    assert answers["samples"] == 8
    from qleaky.verification.digests import step_digests

    found = {(each["layer"], each["kind"]): each["steps"] for each in answers["step_digests"]}
    assert found == step_digests(recording)


def test_fewer_samples_are_the_first_ones(tmp_path: Path) -> None:
    code, report = validated(unpacked(tmp_path), "--samples", "3")
    assert code == 0
    assert {run["samples"] for run in report["runs"]} == {3}


@pytest.mark.parametrize("size", [1, 10_000])
def test_large_recordings_run_in_pieces_with_the_same_digests(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = validated(unpacked(tmp_path))
    monkeypatch.setattr(device(), "BATCH_BYTES", size)
    code, pieces = validated(tmp_path)
    assert code == 0
    for key in ("step_digests", "output_digests"):
        assert [run[key] for run in pieces["runs"]] == [run[key] for run in whole["runs"]]


def test_what_differs_is_not_forgotten_where_a_later_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise device().NoVerdict("the device went away")

    monkeypatch.setattr(device().Check, "_latency", fail)
    code, report = validated(unpacked(tmp_path))
    assert (code, report["runs"][0]["verdict"], report["runs"][0]["reason"]) == (3, "no verdict", "the device went away")
    both = {f"models__scan{kind}.onnx": changed_model(f"models/scan{kind}.onnx", one_bit) for kind in ("", ".probe")}
    code, report = validated(unpacked(tmp_path / "b", zipped(resigned(files(), **both))))
    assert (code, report["runs"][1]["verdict"], report["runs"][1]["reason"]) == (1, "differs", "the device went away")


def test_a_graph_that_gives_another_number_of_codes_gives_no_verdict(tmp_path: Path) -> None:
    def swap(manifest: Any) -> None:
        for artefact in manifest["artefacts"]:
            first, *_, last = artefact["probes"]
            first["outputs"], last["outputs"] = last["outputs"], first["outputs"]

    code, report = validated(unpacked(tmp_path, zipped(changed_manifest(files(), swap))))
    assert code == 3
    assert {run["reason"] for run in report["runs"]} >= {"the graph gives layer 'hidden' the shape (5, 64, 3), not (5, 64, 4)"}


def test_a_provider_without_nodes_gives_no_verdict_and_one_that_is_missing_neither(tmp_path: Path) -> None:
    code, report = validated(unpacked(tmp_path), "--provider", "TensorrtExecutionProvider")
    assert code == 3
    assert {run["verdict"] for run in report["runs"]} == {"no verdict"}
    assert (
        f"has no TensorrtExecutionProvider; it has {', '.join(onnxruntime.get_available_providers())}"
        in report["runs"][0]["reason"]
    )


@pytest.mark.skipif("AzureExecutionProvider" not in onnxruntime.get_available_providers(), reason="no provider without nodes")
def test_every_provider_gets_a_verdict_of_its_own(tmp_path: Path) -> None:
    code, report = validated(unpacked(tmp_path), "--all-providers")
    assert code == 0
    azure = [run for run in report["runs"] if run["provider"] == "AzureExecutionProvider"]
    assert [run["verdict"] for run in azure] == ["no verdict"] * 3
    assert azure[0]["reason"].startswith("ONNX Runtime ran no node of the graph on AzureExecutionProvider")
    assert validated(tmp_path, "--provider", "AzureExecutionProvider")[0] == 3


def refused(folder: Path, capsys: Any, message: str, *arguments: str) -> None:
    """Exit code 2, one printable sentence on stderr, and no report."""
    code, report = validated(folder, *arguments)
    captured = capsys.readouterr()
    assert (code, report, captured.out) == (2, {}, "")
    *_, sentence = captured.err.splitlines()
    assert sentence.startswith("validate.py: ")
    assert sentence.isprintable()
    assert message in sentence


ELSEWHERE = {"has groups of vectors that do not follow one another": "has groups of vectors that are not its samples"}


@pytest.mark.parametrize("change", [change for change, _ in MANIFESTS])
def test_what_the_host_refuses_in_a_manifest_the_device_refuses_too(change: Change, tmp_path: Path, capsys: Any) -> None:
    refused(unpacked(tmp_path, zipped(changed_manifest(files(), change))), capsys, "manifest.json ")


def held(name: str, data: bytes) -> bytes:
    return zipped(resigned(files(), **{name.replace("/", "__"): data}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            zipped(files() | {"golden/inputs/0.npy": b"other"}),
            "golden/inputs/0.npy is not the file that the manifest describes",
        ),
        (zipped({n: d for n, d in files().items() if n != "README.txt"}), "README.txt cannot be read: No such file"),
        (zipped({"other": b""}), "manifest.json cannot be read: No such file or directory. Unpack the zip"),
        (zipped(files() | {"manifest.json": b"[" * 200_000}), "manifest.json is damaged"),
        (zipped(files() | {"manifest.json": b'{"a": 1, "a": 2}'}), "manifest.json is damaged: a key stands twice"),
        (zipped(files() | {"manifest.json": b'{"a": ' + b"9" * 99 + b"}"}), "manifest.json is damaged: a number has too many"),
        (zipped(files() | {"manifest.json": b'{"a": "\\ud800"}'}), "manifest.json is damaged: 'utf-8' codec can't encode"),
        (zipped(files() | {"manifest.json": b'{"a": 1.5}'}), "it holds 1.5, which is no whole number"),
        (zipped(files() | {"manifest.json": b'{"a": Infinity}'}), "it holds Infinity, which is no whole number"),
        (zipped(changed_manifest(files(), set_to("version", value=7))), "has version 7, this validate.py reads 1"),
        (held("golden/inputs/0.npy", files()["golden/inputs/0.npy"][:-1]), "golden/inputs/0.npy is cut short, or too long"),
        (held("golden/inputs/0.npy", npy_bytes(np.zeros((5, 64, 6), object))), "golden/inputs/0.npy is no .npy file of uint8"),
        (held("golden/digests/0.npy", b""), "golden/digests/0.npy is no .npy file of uint8"),
        (held("models/scan.onnx", b""), "models/scan.onnx is no graph that a bundle holds: it has no nodes"),
        (held("models/scan.onnx", b"\xff" * 99), "models/scan.onnx is no graph that a bundle holds: it is cut short"),
        (
            held("models/scan.onnx", files()["models/scan.onnx"][:-3]),
            "models/scan.onnx is no graph that a bundle holds: it is cut",
        ),
        (
            held("models/scan.onnx", files()["models/step.onnx"]),
            "models/scan.onnx has other inputs or outputs than the manifest says",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_damage_is_one_sentence(data: bytes, message: str, tmp_path: Path, capsys: Any) -> None:
    refused(unpacked(tmp_path, data), capsys, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nonce", "ü"), "--nonce is 1 to 200 printable ASCII characters"),
        (("--nonce", ""), "--nonce is 1 to 200 printable ASCII characters"),
        (("--samples", "0"), "--threads is at least 0, and --samples at least 1"),
        (("--threads", "-1"), "--threads is at least 0, and --samples at least 1"),
    ],
)
def test_misuse_is_one_sentence(arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: Any) -> None:
    refused(unpacked(tmp_path), capsys, message, *arguments)


def test_a_report_that_cannot_be_written_is_said_to_be(tmp_path: Path, capsys: Any) -> None:
    folder = unpacked(tmp_path / "a")
    refused(folder, capsys, "cannot be written: No such file or directory", "--report", str(tmp_path / "none" / "report.json"))


def external(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name.startswith("fc1.weight"))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def inner_external(model: onnx.ModelProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["unused"])
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(3, np.int8))))
    node.attribute[0].t.external_data.add(key="location", value="/etc/passwd")


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.vendor"


def loop(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Loop"


def function(model: onnx.ModelProto) -> None:
    model.functions.add(name="Clip", domain="")


def training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "a"


def deep(model: onnx.ModelProto) -> None:
    graph = model.graph
    for _ in range(30):
        node = graph.node.add(op_type="If", output=["x"])
        node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        graph = node.attribute[0].g


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "it keeps numbers in another file"),
        (inner_external, "it keeps numbers in another file"),
        (foreign, "it uses operators that are not standard ONNX"),
        (loop, "it has a loop of unknown length"),
        (function, "it holds more than a graph"),
        (training, "it holds more than a graph"),
        (deep, "it is nested too deeply"),
    ],
)
@pytest.mark.parametrize("kind", ["", ".probe"])
def test_graphs_that_reach_outside_are_refused(kind: str, change: Any, message: str, tmp_path: Path, capsys: Any) -> None:
    name = f"models/scan{kind}.onnx"
    folder = unpacked(tmp_path, held(name, changed_model(name, change)))
    (folder / "weights.bin").write_bytes(bytes(1000))
    refused(folder, capsys, message)


def test_without_that_check_onnx_runtime_would_read_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it is there: a model given as bytes still names files, which are looked for in the current folder."""
    (tmp_path / "weights.bin").write_bytes(bytes(range(24)))
    monkeypatch.chdir(tmp_path)
    tensor = helper.make_tensor("w", onnx.TensorProto.INT8, [24], bytes(24), raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    output = helper.make_tensor_value_info("y", onnx.TensorProto.INT8, [24])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [output], [tensor])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    try:
        (found,) = onnxruntime.InferenceSession(data, providers=[CPU]).run(None, {})
    except Exception as error:
        pytest.skip(f"this ONNX Runtime does not: {str(error)[:100]}")
    assert found.tolist() == list(range(24))
    with pytest.raises(device().BadInput, match="it keeps numbers in another file"):
        device().check_model(data, "a.onnx")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["manifest.json", "models/scan.onnx", "models", "golden/inputs/0.npy"])
def test_a_link_in_the_place_of_a_file_or_folder_is_refused(name: str, tmp_path: Path, capsys: Any) -> None:
    folder = unpacked(tmp_path / "a")
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    refused(folder, capsys, "is a link, or lies behind one")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path, capsys: Any) -> None:
    (unpacked(tmp_path) / "README.txt").unlink()
    os.mkfifo(tmp_path / "README.txt")
    refused(tmp_path, capsys, "README.txt is no file")


def test_hostile_names_are_escaped(tmp_path: Path, capsys: Any) -> None:
    def rename(manifest: Any) -> None:
        manifest["states"][0]["layer"] = "\x1b[2J\u202e<script>"
        for artefact in manifest["artefacts"]:
            artefact["probes"][0]["layer"] = manifest["states"][0]["layer"]
            artefact["final_states"] = []

    code, _ = validated(unpacked(tmp_path, zipped(changed_manifest(files(), rename))))
    captured = capsys.readouterr()
    assert code == 1
    assert "first: '\\x1b[2J\\u202e<script>' mem, step 0, sample 0" in captured.out
    assert (captured.out + captured.err).replace("\n", "").isprintable()


def test_a_graph_that_cannot_run_gives_no_verdict(tmp_path: Path) -> None:
    def clash(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"

    changed = {f"models__scan{kind}.onnx": changed_model(f"models/scan{kind}.onnx", clash) for kind in ("", ".probe")}
    code, report = validated(unpacked(tmp_path, zipped(resigned(files(), **changed))))
    assert code == 3
    run = report["runs"][1]
    assert (run["form"], run["verdict"]) == ("scan", "no verdict")
    assert run["reason"].startswith("ONNX Runtime cannot load the graph: ")


def test_a_graph_that_only_optimisation_breaks_runs_without_it_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = onnxruntime.InferenceSession

    def open_session(data: bytes, options: Any, **settings: Any) -> Any:
        if options.graph_optimization_level != onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL:
            raise RuntimeError("two nodes with same node name\nand more")
        return session(data, options, **settings)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    code, report = validated(unpacked(tmp_path))
    assert code == 0
    why = "without graph optimisation, with which ONNX Runtime cannot load the graph: two nodes with same node name"
    assert {(run["verdict"], run["reason"]) for run in report["runs"]} == {("equal", why)}


def test_floats_that_are_no_integers_equal_no_code() -> None:
    codes = device().codes_of(np.array([1.0, 1.5, np.nan, np.inf, -0.0, 2.0**60], np.float32), False, 3)
    nothing = -(1 << 63)
    assert codes.tolist() == [4, nothing, nothing, nothing, 3, nothing]
    assert device().payload(codes[:1]) == b"\x04\x00\x00\x00"
    assert len(device().payload(codes)) == 8 * 6


def test_bits_of_float32_numbers_are_their_codes() -> None:
    values = np.array([0.0, -0.0, 1.0, np.nan, -np.nan], np.float32)
    assert device().codes_of(values, True).tolist() == [0, 0, 0x3F800000, 0x7FC00000, 0x7FC00000]


def test_a_float_network_is_compared_bit_for_bit_and_takes_no_nonce(tmp_path: Path, capsys: Any) -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), qleaky.Leaky(0.5, init_hidden=True))
    contract = qleaky.lower(net, torch.rand(2, 3), num_steps=4)
    folder = unpacked(tmp_path, bundle_of(contract))
    code, report = validated(folder)
    assert code in (0, 1)  # sums may be in another order than torch's
    (folder / "report.json").unlink()
    capsys.readouterr()
    refused(folder, capsys, "--nonce is for networks of integers", "--nonce", "a")
    assert all(run["verdict"] in ("equal", "differs") for run in report["runs"])


def script(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "validate.py"), "--quick", *arguments]
    variables = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=variables, cwd=folder)


def test_modules_that_lie_in_the_bundle_are_not_imported(tmp_path: Path) -> None:
    folder = unpacked(tmp_path)
    for name in ("numpy", "onnxruntime", "json", "argparse", "hashlib", "tempfile", "platform", "qleaky", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w').write('owned')\n")
    for path in ("", ".", str(folder)):
        ran = script(folder, **({"PYTHONPATH": path} if path else {}), PYTHONSAFEPATH="", PYTHONNOUSERSITE="1")
        if path:
            continue  # sitecustomize runs before any script where PYTHONPATH names its folder, which is its owner's wish
        assert (ran.returncode, ran.stderr.count("Traceback")) == (0, 0)
        assert not (tmp_path / "owned").exists()


def test_it_is_python_3_8(tmp_path: Path) -> None:
    ast.parse(VALIDATE.read_text(), feature_version=(3, 8))


def test_it_imports_nothing_but_the_standard_library_numpy_and_onnxruntime() -> None:
    names = set()
    for node in ast.walk(ast.parse(VALIDATE.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert names - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def test_it_never_evaluates_or_unpickles() -> None:
    tree = ast.parse(VALIDATE.read_text())
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert called.isdisjoint({"eval", "exec", "compile", "__import__", "import_module", "literal_eval", "system", "Popen"})
    assert {
        node.func.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("load", "loads")
        and isinstance(node.func.value, ast.Name)
    } == {"json"}


# What only looks like a code


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (np.array([3.0, 3.7, -0.0, np.nan, np.inf], np.float32), [3, None, 0, None, None]),
        (np.array([2**64 - 1, 7], np.uint64), [None, 7]),
        (np.array([True, False]), [1, 0]),
        (np.array([3 + 4j]), [None]),
        (np.array(["3"], object), [None]),
    ],
)
def test_what_is_no_integer_is_no_code(values: Any, codes: Any) -> None:
    found = device().codes_of(values, False)
    assert [None if code == device().NOT_A_CODE else code for code in found.tolist()] == codes


def test_what_is_no_float32_is_no_code_of_a_float_network() -> None:
    values = np.array([1.0, 0.1, 1e300, np.nan, -0.0])
    found = device().codes_of(values, True).tolist()
    assert found == [0x3F800000, device().NOT_A_CODE, device().NOT_A_CODE, 0x7FC00000, 0]
    assert device().codes_of(np.array(["1.0"], object), True).tolist() == [device().NOT_A_CODE]


@pytest.mark.parametrize("name", ["manifest.json", "validate.py", "models/scan.onnx", "models/../models/scan.onnx"])
def test_a_report_never_replaces_a_file_of_the_bundle(name: str, tmp_path: Path, capsys: Any) -> None:
    folder = unpacked(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert device().main(["--bundle", str(folder), "--quick", "--report", str(folder / name)]) == 2
    assert "is a file of the bundle, which a report would replace" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

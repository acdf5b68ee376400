"""The check of a bundle under node, against the reference and ONNX Runtime."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from web_bundles import (
    change_a_weight,
    check_under_node,
    corrupt,
    edit_manifest,
    manifest_of,
    nonce_codes,
    output_digests,
    packed,
    reference_digests,
    replace,
    said_digests,
    write_bundle,
)

import qleaky
from qleaky.verification.compare import Divergence, compare_recordings
from qleaky.verification.device.bundles import Bundle
from qleaky.verification.device.report_file import DeviceFile
from qleaky.verification.device.report_judge import check_report
from qleaky.verification.probing import ProbedRunner

FORMS = ("unrolled", "scan", "step")


def golden(network: qleaky.IntegerNetwork, bundle: Path) -> tuple[dict[str, Any], Any]:
    """The bundle's inputs, and what the reference makes of them."""
    codes = {entry["name"]: np.load(bundle / entry["golden"]) for entry in manifest_of(bundle)["inputs"]}
    return codes, qleaky.run(network, codes)


def report_of(bundle: Path) -> Any:
    data = (bundle / "report.json").read_bytes()
    DeviceFile.decode(data)
    return json.loads(data)


def first_divergence(network: qleaky.IntegerNetwork, bundle: Path, form: str) -> Divergence:
    """Where a changed graph first parts from the reference, as ONNX Runtime runs it."""
    codes, recording = golden(network, bundle)
    model = onnx.load(bundle / "models" / f"{form}.onnx")
    found = compare_recordings(recording, ProbedRunner(model, network).record(codes)[0]).first_divergence
    assert found is not None
    return found


@pytest.fixture(scope="module")
def checked(node: str, good_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good bundle that was checked with a nonce."""
    bundle = Path(shutil.copytree(good_bundle, tmp_path_factory.mktemp("checked") / "bundle"))
    ran = check_under_node(node, bundle, "--nonce", "tea at 5")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1].startswith("equal: ")
    return bundle


def test_a_trained_model_is_equal_in_every_form(checked: Path) -> None:
    runs = report_of(checked)["runs"]
    assert [(run["form"], run["verdict"], run["tensors_differing"], run["first_divergence"]) for run in runs] == [
        (form, "equal", 0, None) for form in FORMS
    ]
    assert all(run["reason"] == "" and run["provider"] == "wasm" for run in runs)


def test_its_report_carries_the_digests_of_the_reference(checked: Path, network: qleaky.IntegerNetwork) -> None:
    _, recording = golden(network, checked)
    for run in report_of(checked)["runs"]:
        assert said_digests(run) == reference_digests(recording)
        assert run["output_digests"] == output_digests(recording)


def test_the_digests_of_its_nonce_are_those_of_the_reference(checked: Path, network: qleaky.IntegerNetwork) -> None:
    recording = qleaky.run(network, nonce_codes(network, "tea at 5"))
    report = report_of(checked)
    assert report["nonce"] == "tea at 5"
    for run in report["runs"]:
        assert run["nonce"]["samples"] == 8
        assert said_digests(run["nonce"]) == reference_digests(recording)
        assert run["nonce"]["output_digests"] == output_digests(recording)


def test_the_host_finds_every_digest_right_and_measures_as_webassembly_is_not_known_to_be_exact(
    checked: Path, network: qleaky.IntegerNetwork
) -> None:
    found = check_report(checked / "report.json", Bundle.open(packed(checked)), network, "tea at 5")
    reason = "that wasm computes every operator as ONNX defines it is measured, not known."
    assert (found.verdict, found.nonce, found.reasons) == ("measured", "tea at 5", (reason,))
    assert {run.verdict for run in found.runs} == {"equal"}


def test_its_report_counts_nodes_and_clocks_inferences_and_steps(checked: Path) -> None:
    report = report_of(checked)
    assert report["device"]["runtime"].startswith("onnxruntime-web 1.")
    assert report["peak_memory_bytes"] > 1 << 20
    for run in report["runs"]:
        model = onnx.load(checked / "models" / f"{run['form']}.onnx")
        assert run["assigned"] == {"wasm": len(model.graph.node)}
        inference, step = run["latency_ms"]["inference"], run["latency_ms"]["step"]
        assert 0 < inference["median"] <= inference["p99"]
        assert (step is None) == (run["form"] != "step")
        assert step is None or (0 < step["median"] <= step["p99"] and step["runs"] == inference["runs"] * 29)


def test_every_number_of_every_form_is_compared(checked: Path, network: qleaky.IntegerNetwork) -> None:
    """States of the twin; outputs of both files, and of 16 samples also alone; final membranes of the shipped one."""
    _, recording = golden(network, checked)
    (_, samples, _) = next(iter(recording.membranes.values())).shape
    states = sum(array.size for arrays in (recording.membranes, recording.spikes) for array in arrays.values())
    finals = sum(array[-1].size for array in recording.membranes.values())
    outputs = sum(array.size for array in recording.outputs.values())
    golden_numbers = states + finals + outputs * 2 + outputs * 16 // samples
    nonce_numbers = (states + finals + outputs * 2) * 8 // samples
    assert {run["numbers_compared"] for run in report_of(checked)["runs"]} == {golden_numbers + nonce_numbers}


@pytest.mark.parametrize("form", FORMS)
def test_a_changed_weight_differs_where_onnx_runtime_says(
    node: str, bundle: Path, network: qleaky.IntegerNetwork, form: str
) -> None:
    corrupt(bundle, form)
    ran = check_under_node(node, bundle, "--quick")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    runs = {run["form"]: run for run in report_of(bundle)["runs"]}
    assert {name for name, run in runs.items() if run["verdict"] == "differs"} == {form}
    found, wanted = runs[form]["first_divergence"], first_divergence(network, bundle, form)
    assert (found["layer"], found["kind"], found["step"]) == (wanted.layer, wanted.kind, wanted.step)
    assert f"layer {wanted.layer}, step {wanted.step}, sample {found['sample']}: membranes differ" in ran.stdout
    assert found["sample"] == wanted.sample
    element = np.ravel_multi_index(wanted.element, network.signals[wanted.layer].shape)
    assert found["got"][element] == wanted.got != wanted.expected
    judged = check_report(bundle / "report.json", Bundle.open(packed(bundle)), network)
    assert judged.verdict == "differs"
    assert judged.first_divergence is not None
    for name in ("layer", "kind", "step", "sample", "element", "expected", "got"):
        assert getattr(judged.first_divergence, name) == getattr(wanted, name)


def test_a_weight_changed_in_the_shipped_file_alone_differs_in_its_outputs(node: str, bundle: Path) -> None:
    corrupt(bundle, "scan", ("onnx",))
    ran = check_under_node(node, bundle, "--quick", "--nonce", "n")
    assert ran.returncode == 1
    run = report_of(bundle)["runs"][1]
    assert (run["verdict"], run["first_divergence"]["kind"]) == ("differs", "out")
    assert "expected" in run["reason"]
    assert "found" in run["reason"]


def test_files_of_other_bytes_are_refused_before_anything_runs(node: str, bundle: Path) -> None:
    path = bundle / "models" / "scan.onnx"
    path.write_bytes(change_a_weight(path.read_bytes()))
    refused(node, bundle, "models/scan.onnx is not the file that the manifest lists: its SHA-256 differs.")


Change = Callable[[Any], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=2), "This bundle has version 2, made by a later qleaky; its validator reads up to 1"),
        (lambda m: m["files"].update({"../a": {"sha256": "0" * 64, "bytes": 1}}), 'files lists "../a", which is no name'),
        (lambda m: m["files"].update({"/etc/passwd": {"sha256": "0" * 64, "bytes": 1}}), 'files lists "/etc/passwd", which is'),
        (lambda m: m["files"].update({"a\x1b[2J": {"sha256": "0" * 64, "bytes": 1}}), 'files lists "a\\u001b[2J", which is'),
        (lambda m: m["files"].update({"a/b": {"sha256": "0" * 64, "bytes": 1}}), "a/b is missing from the bundle."),
        (lambda m: m["files"]["models/scan.onnx"].update(bytes=5), " bytes, more than the 5 it may have."),
        (
            lambda m: m["states"][0].update(shape=[2**26]),
            "manifest.json declares 1946160072 numbers a sample, more than the 134217728",
        ),
        (lambda m: m["states"][0].update(shape=[65]), "the graph gives"),
        (
            lambda m: m["inputs"][0].update(shape=[13]),
            "golden/inputs/0.npy holds uint8 (29, 64, 12); the manifest asks uint8 (29, 64, 13).",
        ),
        (lambda m: m.update(samples=65), "golden/inputs/0.npy holds uint8 (29, 64, 12); the manifest asks uint8 (29, 65, 12)."),
        (lambda m: m.update(samples=63), "vectors[7].count is no integer from 0 to"),
        (lambda m: m["network"].update(num_steps=10**9), "network.num_steps is no integer from 1 to"),
        (lambda m: m["artefacts"][0].update(model="models/x.onnx"), 'names "models/x.onnx", which is not among files'),
        (lambda m: m["artefacts"][1].update(m["artefacts"][0]), 'manifest.json uses "models/unrolled.onnx" twice.'),
        (lambda m: m["outputs"][1].update(golden="golden/outputs/0.npy"), 'manifest.json uses "golden/outputs/0.npy" twice.'),
        (lambda m: m.update(artefacts=m["artefacts"] * 6), "artefacts lists more than 16."),
        (lambda m: [f.update(bytes=2**31 - 1) for f in m["files"].values()], "bytes, more than 4294967296."),
        (lambda m: m["inputs"][0].update(zero=300), "does not have low <= zero <= high"),
    ],
)
def test_a_hostile_manifest_is_refused_in_one_sentence(node: str, bundle: Path, change: Change, message: str) -> None:
    edit_manifest(bundle, change)
    if "the graph gives" in message:  # only running it shows
        ran = check_under_node(node, bundle, "--quick")
        assert ran.returncode == 3
        assert message in ran.stdout
        return
    refused(node, bundle, message)


def test_a_golden_file_cut_short_is_refused(node: str, bundle: Path) -> None:
    data = (bundle / "golden" / "digests" / "1.npy").read_bytes()
    replace(bundle, "golden/digests/1.npy", data[:-32])
    refused(node, bundle, "golden/digests/1.npy declares 59392 bytes of numbers and holds 59360.")


def test_a_link_is_refused(node: str, bundle: Path, tmp_path: Path) -> None:
    moved = (bundle / "models").rename(tmp_path / "elsewhere")
    (bundle / "models").symlink_to(moved)
    refused(node, bundle, "models/scan.onnx is no plain file of the bundle.")


def test_a_graph_that_does_not_load_has_no_verdict(node: str, bundle: Path) -> None:
    replace(bundle, "models/scan.onnx", b"\x08\x07not a graph \x1b[2J")
    ran = check_under_node(node, bundle, "--quick")
    assert ran.returncode == 3
    assert ran.stdout.splitlines()[-1].startswith("no verdict: ")
    assert "\x1b" not in ran.stdout
    run = report_of(bundle)["runs"][1]
    assert (run["verdict"], run["latency_ms"], run["step_digests"]) == ("no verdict", None, [])
    assert "could not run it" in run["reason"]


def test_what_differed_before_a_graph_failed_is_not_forgotten(node: str, bundle: Path) -> None:
    corrupt(bundle, "step", ("probe.onnx",))
    model = onnx.load(bundle / "models" / "step.onnx")
    del model.graph.output[0]
    replace(bundle, "models/step.onnx", model.SerializeToString())
    ran = check_under_node(node, bundle, "--quick")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1].startswith("differs: ")
    run = next(run for run in report_of(bundle)["runs"] if run["form"] == "step")
    assert (run["verdict"], run["latency_ms"], run["step_digests"]) == ("differs", None, [])
    assert run["tensors_differing"] > 0
    assert run["first_divergence"]["layer"]


@pytest.mark.parametrize("name", ["manifest.json", "models/scan.onnx", "web/../web/node.mjs"])
def test_a_report_never_replaces_a_file_of_the_bundle(name: str, node: str, bundle: Path) -> None:
    before = (bundle / name).read_bytes()
    ran = check_under_node(node, bundle, "--quick", "--report", str(bundle / name))
    assert ran.returncode == 2
    assert "is a file of the bundle, which a report would replace; choose another." in ran.stderr
    assert (bundle / name).read_bytes() == before


def test_a_float_network_is_compared_by_the_bits_of_its_numbers(node: str, package: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(12, 9), qleaky.Leaky(beta=0.9, init_hidden=True))
    network = qleaky.lower(net, torch.rand(16, 4, 12), num_steps=16, time="sequence", readout="membrane_mean:argmax")
    assert isinstance(network, qleaky.FloatNetwork)
    bundle = write_bundle(network, tmp_path / "floats", ("scan", "step"), package)
    refused(node, bundle, "This network is of floats, whose nonce vectors the host could not recompute", "--nonce", "n")
    ran = check_under_node(node, bundle, "--quick")
    runs = report_of(bundle)["runs"]
    for run in runs:
        differing = run["tensors_differing"]
        assert run["verdict"] == ("differs" if differing else "equal")
        assert len(said_digests(run)["1", "mem"]) == 16
        assert all(len(digest) == 64 and not math.isnan(int(digest, 16)) for digest in run["output_digests"].values())
    assert ran.returncode == (1 if any(run["tensors_differing"] for run in runs) else 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nonce", ""), "A nonce is 1 to 200 printable ASCII characters."),
        (("--nonce", "é"), "A nonce is 1 to 200 printable ASCII characters."),
        (("--nonce", "x" * 201), "A nonce is 1 to 200 printable ASCII characters."),
        (("--fast",), "Unknown option '--fast'"),
        (("more",), "Unexpected argument 'more'"),
        (("--report", "no/such/folder.json"), 'Cannot write "no/such/folder.json": ENOENT'),
    ],
)
def test_misuse_is_refused(node: str, bundle: Path, arguments: tuple[str, ...], message: str) -> None:
    refused(node, bundle, message, *arguments)


def test_help_says_how_it_is_called_and_what_it_returns(node: str, bundle: Path) -> None:
    ran = check_under_node(node, bundle, "--help")
    assert ran.returncode == 0
    assert "Usage: node web/node.mjs [--nonce N] [--report FILE]" in ran.stdout
    assert "0 equal, 1 differs, 2 bad input, 3 no verdict" in ran.stdout


def refused(node: str, bundle: Path, message: str, *arguments: str) -> None:
    """Exit code 2, one line that says why, and no report."""
    ran = check_under_node(node, bundle, *arguments)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not list(bundle.rglob("*report*"))

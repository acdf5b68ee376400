"""``qleaky-export bundle``, and ``verify`` of a bundle, as users meet them."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_helpers import bundle, members, network, resigned, unpacked, validated, zipped

from qleaky import IntegerNetwork
from qleaky.verification import Certificate

SCRIPT = Path(sys.executable).with_name("qleaky-export")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def call(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT)


def refused(ran: subprocess.CompletedProcess[str], message: str) -> None:
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("qleaky-export: ")
    assert ran.stderr.count("\n") == 1
    assert message in ran.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle, its contract, and an honest report with a nonce."""
    (tmp_path / "net.zip").write_bytes(bundle())
    network().save(tmp_path / "net.qleaky")
    code, _ = validated(unpacked(tmp_path / "device"), "--nonce", "n1")
    assert code == 0
    return tmp_path


def test_a_network_that_ships_becomes_a_bundle_with_its_contract_beside_it(tmp_path: Path) -> None:
    given = np.zeros((2, 64), np.uint8)
    np.savez(tmp_path / "given.npz", inputs=given)
    ran = call("bundle", "digits", "-o", tmp_path / "d.zip", "--form", "scan", "--inputs", tmp_path / "given.npz")
    assert ran.returncode == 0, ran.stderr
    contract = IntegerNetwork.load(tmp_path / "d.qleaky")
    with zipfile.ZipFile(tmp_path / "d.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert "validate.py" in archive.namelist()
    assert manifest["network"]["digest"] == contract.digest
    assert [artefact["form"] for artefact in manifest["artefacts"]] == ["scan"]
    assert manifest["vectors"][-1] == {"name": "given", "first": 64, "count": 2}
    assert "The zip is for the device; the contract stays with you." in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--form", "rolled"), "form='rolled' is unknown"),
        (("--carrier", "int4"), "carrier='int4' is unknown"),
        (("--inputs", "none.npz"), "Cannot read inputs from none.npz"),
        (("--weights", "w.pt"), "--weights: "),
    ],
)
def test_misuse_of_bundle_writes_nothing(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    network().save(tmp_path / "net.qleaky")
    refused(call("bundle", tmp_path / "net.qleaky", "-o", tmp_path / "d.zip", *arguments), message)
    assert [path.name for path in tmp_path.iterdir()] == ["net.qleaky"]


@pytest.mark.parametrize("command", ["bundle", "onnx"])
def test_where_a_file_cannot_be_written_its_contract_is_not_either(command: str, tmp_path: Path) -> None:
    network().save(tmp_path / "net.qleaky")
    (tmp_path / "out").mkdir()
    refused(call(command, tmp_path / "net.qleaky", "-o", tmp_path / "out"), "Is a directory")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.qleaky", "out"]


def test_a_page_without_its_runtime_is_refused_before_the_model_is_read(tmp_path: Path) -> None:
    ran = call("bundle", tmp_path / "none.qleaky", "-o", tmp_path / "d.zip", "--web", "--onnxruntime-web", tmp_path)
    refused(ran, "is no npm package")


def test_the_contract_is_not_written_over_the_bundle(tmp_path: Path) -> None:
    network().save(tmp_path / "net.qleaky")
    refused(call("bundle", tmp_path / "net.qleaky", "-o", tmp_path / "d.qleaky"), "the contract is written to that name")
    assert [path.name for path in tmp_path.iterdir()] == ["net.qleaky"]


def test_a_report_with_its_nonce_is_proved(folder: Path) -> None:
    arguments = ("--report", folder / "device" / "report.json", "--nonce", "n1", "--json", folder / "found.json")
    ran = call("verify", folder / "net.zip", *arguments)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("proved: the bundle's graphs are bit-exact to the contract for all inputs")
    assert "the answers to the nonce 'n1' too" in ran.stdout
    assert ran.stdout.count("equal: ") == 3
    assert "ms per step" in ran.stdout
    assert json.loads((folder / "found.json").read_bytes())["verdict"] == "proved"


def test_a_replayed_report_is_refused(folder: Path) -> None:
    ran = call("verify", folder / "net.zip", "--report", folder / "device" / "report.json", "--nonce", "n2")
    refused(ran, "answers the nonce 'n1', not 'n2': it was made for another check")


def test_a_device_that_differs_is_told_where(folder: Path) -> None:
    path = folder / "device" / "report.json"
    report = json.loads(path.read_bytes())
    run = report["runs"][0]
    codes = [77] * 3
    run.update(verdict="differs", reason="1 tensors differ", tensors_differing=1)
    run["first_divergence"] = {"layer": "out", "kind": "mem", "step": 4, "sample": 0, "got": codes, "truncated": False}
    path.write_text(json.dumps(report))
    ran = call("verify", folder / "net.zip", "--report", path, "--nonce", "n1")
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith("differs: ")
    assert "first divergence: layer 'out', step 4, sample 0, element [" in ran.stdout
    assert "membrane expected" in ran.stdout


def test_without_a_report_the_graphs_run_here(folder: Path) -> None:
    ran = call("verify", folder / "net.zip", "--json", folder / "c.json")
    assert ran.returncode == 0, ran.stderr
    for form in ("unrolled", "scan", "step"):
        assert f"models/{form}.onnx:\nproved: " in ran.stdout
        assert Certificate.load(folder / f"c.{form}.json").verdict == "proved"


def test_the_host_runs_no_script_of_a_bundle(folder: Path) -> None:
    """A script that would leave a file behind is in the bundle, and everything that the host can do with it is done."""
    script = f"open({str(folder / 'owned')!r}, 'w').write('x')\n".encode()
    (folder / "net.zip").write_bytes(zipped(resigned(members(bundle()), **{"validate.py": script})))
    assert call("verify", folder / "net.zip").returncode == 0
    ran = call("verify", folder / "net.zip", "--report", folder / "device" / "report.json")
    refused(ran, "is the report of another bundle")
    assert not (folder / "owned").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.zip", "--nonce", "n1"), "--nonce n1: pass the device's answer too, --report report.json"),
        (("net.zip", "--report", "r.json", "--sample", "1"), "--sample: with --report nothing runs here but the reference"),
        (("net.zip", "--report", "r.json", "--runtime", "tract"), "--runtime: with --report nothing runs here"),
        (("net.zip", "--report", "r.json", "--html", "a.html"), "--html: with --report nothing runs here"),
        (("net.zip", "--report", "none.json"), "Cannot read report"),
        (("none.zip",), "there is no none.qleaky beside it"),
        (("net.zip", "--network", "none.qleaky"), "Cannot read .qleaky file"),
        (
            ("net.onnx", "--network", "net.qleaky", "--report", "r.json"),
            "net.onnx is no bundle; pass the zip that the device ran",
        ),
    ],
)
def test_misuse_of_verify_is_one_sentence(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    named = [folder / word if word.endswith((".zip", ".json", ".qleaky", ".onnx")) else word for word in arguments]
    refused(call("verify", *named), message)


def test_a_bundles_graphs_take_the_options_of_a_file(folder: Path) -> None:
    options = ("--sample", "1", "--runtime", "onnx-reference", "--html", folder / "page.html", "--json", folder / "c.json")
    ran = call("verify", folder / "net.zip", *options)
    assert ran.returncode == 0, ran.stderr
    forms = ("unrolled", "scan", "step")
    assert [line for line in ran.stdout.splitlines() if line.startswith("models/")] == [f"models/{f}.onnx:" for f in forms]
    assert all((folder / f"page.{form}.html").exists() and (folder / f"c.{form}.json").exists() for form in forms)


def test_a_damaged_bundle_is_one_sentence(folder: Path) -> None:
    (folder / "net.zip").write_bytes(bundle()[:5000])
    refused(call("verify", folder / "net.zip"), "does not end as the zip files of qleaky do")

"""``qleaky-export verify --runtime``: what it prints of each runtime, and its exit codes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_contracts import artefact, contract
from test_runtime_names import TOY

from qleaky.verification import Certificate

SCRIPT = Path(sys.executable).with_name("qleaky-export")


def check(folder: Path, *arguments: Any, form: str = "unrolled", **options: Any) -> subprocess.CompletedProcess[str]:
    path = artefact(folder, form)
    contract().save(folder / "net.qleaky")
    command = [str(SCRIPT), "verify", str(path), "--network", str(folder / "net.qleaky"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_one_runtime_is_a_verdict(tmp_path: Path) -> None:
    ran = check(tmp_path, "--runtime", "onnx-reference")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("proved: ")
    assert "onnx-reference:" not in ran.stdout


def test_each_of_several_has_a_line_and_the_certificate_names_them(tmp_path: Path) -> None:
    saved = tmp_path / "certificate.json"
    ran = check(tmp_path, "--runtime", "onnxruntime", "--runtime", "onnx-reference", "--json", saved)
    assert ran.returncode == 0, ran.stderr
    for name in ("onnxruntime", "onnx-reference"):
        assert f"  {name}: " in ran.stdout
    assert {run.runtime for run in Certificate.load(saved).runs} == {"onnxruntime", "onnx-reference"}


def test_an_unknown_runtime_is_misuse(tmp_path: Path) -> None:
    ran = check(tmp_path, "--runtime", "onnx-runtime")
    assert ran.returncode == 2
    assert "runtime='onnx-runtime' is unknown. Choose one of onnxruntime" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, str]:
    """An environment in which the runtime "toy" is installed, which runs no Scan."""
    import os

    info = tmp_path / "site" / "toy-1.2.3.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "toy_runtime.py").write_text(TOY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.2.3\n")
    (info / "entry_points.txt").write_text("[qleaky.runtimes]\ntoy = toy_runtime:Toy\noff-by-one = toy_runtime:OffByOne\n")
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "QLEAKY_ONNXRUNTIME_WEB": str(tmp_path)}


def test_a_runtime_that_was_asked_for_and_did_not_run_is_no_success(tmp_path: Path, toy: dict[str, str]) -> None:
    ran = check(tmp_path, "--runtime", "onnxruntime", "--runtime", "toy", form="scan", env=toy)
    assert ran.returncode == 2, ran.stderr
    assert "  toy: no verdict: it runs the forms unrolled, step, and this is scan." in ran.stdout
    assert check(tmp_path, "--runtime", "toy", "--runtime", "onnxruntime", env=toy).returncode == 3  # measured


def test_of_all_that_are_installed_those_that_did_not_run_are_named(tmp_path: Path, toy: dict[str, str]) -> None:
    ran = check(tmp_path, "--runtime", "all", form="scan", env=toy)
    assert ran.returncode in (0, 3), ran.stderr
    assert "  toy: no verdict: " in ran.stdout
    assert "  onnxruntime: " in ran.stdout


def test_one_that_differs_is_named_with_where_and_how_to_see_it_again(tmp_path: Path, toy: dict[str, str]) -> None:
    ran = check(tmp_path, "--runtime", "onnxruntime", "--runtime", "off-by-one", env=toy)
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith("differs: ")
    lines = {line.split(":")[0].strip(): line for line in ran.stdout.splitlines()}
    assert lines["onnxruntime"].endswith(" numbers compared, 0 differ")
    assert "differ; first layer 'class', step 0, sample 0, element []: output" in lines["off-by-one"]
    assert lines["replay it"].endswith(" --sample 0 --runtime onnxruntime --runtime off-by-one")

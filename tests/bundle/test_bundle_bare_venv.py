"""A bundle of a trained network validates where there is only Python, numpy and onnxruntime, at the tested versions."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from qleaky import export_bundle, lower
from qleaky.models import load
from qleaky.verification.device.bundles import Bundle
from qleaky.verification.device.report_judge import check_report

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
VARIABLES = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with numpy and onnxruntime alone; it skips where pip cannot reach any."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [str(found), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), "numpy", "onnxruntime"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=VARIABLES)
    if ran.returncode:
        assert not os.environ.get("CI"), ran.stderr
        pytest.skip(f"pip cannot install numpy and onnxruntime here: {ran.stderr.strip().splitlines()[-1][:200]}")
    return found


def on_device(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), str(folder / "validate.py"), "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=VARIABLES, cwd=folder)


def bundled(name: str, folder: Path) -> Any:
    trained = load(name)
    sample, options = trained.sample_input, {"input_format": trained.input_format, "readout": trained.readout}
    network = lower(trained.network, sample, **options)
    export_bundle(network, folder / "net.zip")
    with zipfile.ZipFile(folder / "net.zip") as archive:
        archive.extractall(folder / "device")
    return network


@pytest.mark.parametrize("name", ["digits", "fsdd"])
def test_a_trained_network_is_equal_there_and_proved_here(name: str, python: Path, tmp_path: Path) -> None:
    network = bundled(name, tmp_path)
    ran = on_device(python, tmp_path / "device", "--nonce", f"{name} 1", "--all-providers")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "device" / "report.json").read_bytes())
    cpu = [run for run in report["runs"] if run["provider"] == "CPUExecutionProvider"]
    assert [(run["verdict"], run["tensors_differing"]) for run in cpu] == [("equal", 0)] * 2
    found = check_report(tmp_path / "device" / "report.json", Bundle.open(tmp_path / "net.zip"), network, f"{name} 1")
    assert found.verdict == "proved"


def test_it_has_neither_torch_nor_qleaky_nor_onnx(python: Path, tmp_path: Path) -> None:
    for module in ("torch", "qleaky", "onnx"):
        command = [str(python), "-c", f"import {module}"]
        ran = subprocess.run(command, capture_output=True, check=False, env=VARIABLES, cwd=tmp_path)
        assert b"ModuleNotFoundError" in ran.stderr


def test_damage_is_one_sentence_there_too(python: Path, tmp_path: Path) -> None:
    bundled("digits", tmp_path)
    model = tmp_path / "device" / "models" / "step.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    ran = on_device(python, tmp_path / "device")
    assert (ran.returncode, ran.stdout) == (2, "")
    problem = "models/step.onnx is not the file that the manifest describes: its SHA-256 is another"
    assert ran.stderr == f"validate.py: {problem}. Get the bundle again.\n"


def test_without_numpy_it_says_what_it_needs(tmp_path: Path) -> None:
    bundled("digits", tmp_path)
    command = [sys.executable, "-S", "-E", str(tmp_path / "device" / "validate.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("validate.py needs numpy and onnxruntime (")
    assert ran.stderr.count("\n") == 1

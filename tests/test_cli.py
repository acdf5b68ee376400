"""``qleaky-export`` as a user meets it: its speed, its exit codes, one sentence for an error, nothing left half-written."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import qleaky
from qleaky import export_onnx
from qleaky.demo import FILES
from qleaky.models import FeedForward, LIFSettings
from qleaky.verification import Certificate

SCRIPT = Path(sys.executable).with_name("qleaky-export")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def call(*arguments: Any, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT | changes)


def assert_refused(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, and one sentence on stderr that holds the words."""
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.startswith("qleaky-export: ")
    assert ran.stderr.count("\n") == 1
    for word in words:
        assert word in ran.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("cli") / "new" / "demo"
    return folder, call("demo", "--epochs", 2, "-o", folder)


@pytest.fixture
def copied(demo: tuple[Path, Any], tmp_path: Path) -> Path:
    """A folder with the demo's files, to be damaged."""
    for name in FILES:
        (tmp_path / name).write_bytes((demo[0] / name).read_bytes())
    return tmp_path


def check(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    return call("verify", folder / "model.onnx", "--network", folder / "model.qleaky", *arguments)


# Quick answers


def test_help_is_there_in_a_second() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        ran = call("--help")
        times.append(time.perf_counter() - start)
    assert ran.returncode == 0
    assert "demo" in ran.stdout
    assert "Exit codes: 0 done and proved" in ran.stdout
    assert min(times) < 1


def test_the_command_line_loads_no_torch() -> None:
    heavy = ("torch", "brevitas", "onnx", "onnxruntime", "numpy", "matplotlib", "rich")
    code = f"import sys, qleaky.cli; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_checking_loads_no_torch(demo: tuple[Path, Any]) -> None:
    code = (
        "import sys; from qleaky.cli import cli; "
        f"cli.main(['verify', {str(demo[0] / 'model.onnx')!r}, '--network', {str(demo[0] / 'model.qleaky')!r}], "
        "standalone_mode=False); print('torch' in sys.modules or 'brevitas' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "False"


def test_the_version() -> None:
    assert call("--version").stdout.strip() == f"qleaky-export, version {qleaky.__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deploy"], "No such command 'deploy'"),
        (["verify", "model.onnx"], "there is no model.qleaky beside it; pass its contract, --network FILE.qleaky"),
        (["verify"], "Missing argument 'ARTEFACT'"),
        (["verify", "model.onnx", "--network", "model.qleaky", "--sample", "-1"], "-1 is not in the range x>=0"),
        (["demo", "--epochs", "0"], "0 is not in the range x>=1"),
        (["demo", "--seed", "one"], "'one' is not a valid integer"),
    ],
)
def test_misuse(arguments: list[str], message: str) -> None:
    ran = call(*arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


# The demo


def test_the_demo_trains_exports_and_proves(demo: tuple[Path, Any]) -> None:
    folder, ran = demo
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for row in ("accuracy, float training", "accuracy, quantized, torch", "accuracy, quantized, ONNX Runtime"):
        assert row in ran.stdout
    assert "proved: artefact and torch network are bit-exact to the contract" in ran.stdout
    assert "0 differ." in ran.stdout
    assert all(str(folder / name) in ran.stdout for name in FILES)
    certificate = Certificate.load(folder / "certificate.json")
    assert (certificate.verdict, certificate.samples) == ("proved", 370)
    assert certificate.torch is not None
    assert certificate.torch.spikes == 370 * 29 * (64 + 9)
    assert (folder / "utterance.png").read_bytes().startswith(b"\x89PNG")
    onnx.checker.check_model(onnx.load(folder / "model.onnx"), full_check=True)


def test_the_same_seed_gives_the_same_bytes(demo: tuple[Path, Any], tmp_path: Path) -> None:
    call("demo", "--epochs", 2, "-o", tmp_path / "again", "--seed", 0, PYTHONHASHSEED="7")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (demo[0] / name).read_bytes()


def test_a_folder_that_cannot_be_written_is_said_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "demo"):
        start = time.perf_counter()
        ran = call("demo", "-o", folder)
        assert time.perf_counter() - start < 20
        assert_refused(ran, f"Cannot write to folder {folder}", "Choose another folder")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [0.2, 1.5])
def test_an_interrupted_demo_leaves_nothing_half_written(number: int, after: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [str(SCRIPT), "demo", "-o", str(tmp_path / "demo")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # not inherited from a background job
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "demo").is_dir() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(after)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 130
    assert "Interrupted; nothing half-written was left behind." in stderr
    assert "Traceback" not in stderr
    assert list((tmp_path / "demo").iterdir()) == []


# Checking


def test_an_artefact_of_the_demo_is_proved(demo: tuple[Path, Any], tmp_path: Path) -> None:
    inputs = qleaky.datasets.japanese_vowels().test_codes[:, :70]
    np.savez(tmp_path / "inputs.npz", inputs=inputs)
    ran = check(demo[0], "--inputs", tmp_path / "inputs.npz", "--json", tmp_path / "certificate.json")
    assert ran.returncode == 0
    assert ran.stdout.startswith("proved: the artefact is bit-exact to the contract for all inputs in the declared range; ")
    assert "on 134 samples, 0 differ;" in ran.stdout  # 70 given ones, then 64 adversarial vectors
    assert re.search(r"  coverage: of 73 neurons \d+ spiked, \d+ were exactly at the threshold, \d+ saturated", ran.stdout)
    certificate = Certificate.load(tmp_path / "certificate.json")
    assert (certificate.samples, certificate.vectors[0].name, certificate.vectors[0].count) == (134, "given", 70)
    assert check(demo[0]).returncode == 0


def test_the_contract_beside_an_artefact_is_taken_without_a_word(demo: tuple[Path, Any]) -> None:
    ran = call("verify", demo[0] / "model.onnx")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("proved: ")


def test_a_changed_artefact_differs(copied: Path) -> None:
    model = onnx.load(copied / "model.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == "fc2.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) ^ np.int8(16), tensor.name))
    onnx.save(model, copied / "model.onnx")
    ran = check(copied, "--json", copied / "differs.json")
    assert ran.returncode == 1
    assert ran.stdout.startswith("differs: ")
    assert re.search(r"differ \([\d,]+ spikes, [1-9][\d,]* membranes, [1-9][\d,]* outputs\)", ran.stdout)
    assert "first divergence: layer 'lif2', step " in ran.stdout
    assert "bit-exact" not in ran.stdout
    assert Certificate.load(copied / "differs.json").verdict == "differs"
    assert re.search(r"\n    step +input +membrane expected +membrane found +spike expected +spike found\n", ran.stdout)
    replay = re.search(r"\n  replay it: qleaky-export (verify .*)\n", ran.stdout)
    assert replay is not None
    again = call(*shlex.split(replay[1]))
    assert again.returncode == 1
    assert " on 1 sample, " in again.stdout
    divergence = r"first divergence: (layer .*)\n"
    assert re.search(divergence, again.stdout)[1] == re.search(divergence, ran.stdout)[1]  # type: ignore[index]
    assert "replay it" not in again.stdout


def test_a_sample_that_there_is_not(demo: tuple[Path, Any]) -> None:
    assert_refused(check(demo[0], "--sample", 64), "sample=64: the check has 64 samples, numbered from 0 to 63")


def test_mutants_say_what_the_samples_would_catch(demo: tuple[Path, Any]) -> None:
    ran = check(demo[0], "--mutants", 20)
    assert ran.returncode == 0
    caught = re.search(r"^mutants: (\d+) of 20 caught by these samples\.$", ran.stdout, re.MULTILINE)
    assert caught is not None
    assert int(caught[1]) >= 15
    assert ran.stdout.count("  not caught (or no different on any input): ") == 20 - int(caught[1])
    refused = check(demo[0], "--mutants", 0)
    assert refused.returncode == 2
    assert "0 is not in the range x>=1" in refused.stderr


def test_a_float_network_is_measured_and_not_called_exact(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = FeedForward((3, 2), weight_bits=None, lif=LIFSettings(threshold=10.0))
    network = export_onnx(net, tmp_path / "model.onnx", sample_input=torch.zeros(4, 2, 3))
    network.save(tmp_path / "model.qleaky")
    ran = check(tmp_path)
    assert ran.returncode == 3
    assert ran.stdout.startswith("measured: ")
    assert "there is no proof for other inputs" in ran.stdout
    assert ran.stdout.count("no proof: ") == len(network.reasons)
    assert not any(word in ran.stdout for word in ("bit-exact", "bit-for-bit", "proved"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.onnx").unlink(), ["Cannot read ONNX file", "model.onnx", "No such file"]),
        (lambda folder: cut(folder / "model.onnx"), ["model.onnx is not a valid ONNX model, or is damaged", "Export it again"]),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), ["is not a valid ONNX model"]),
        (lambda folder: (folder / "model.qleaky").unlink(), ["Cannot read .qleaky file", "model.qleaky"]),
        (lambda folder: cut(folder / "model.qleaky"), ["model.qleaky is not a .qleaky file, or is damaged"]),
        (lambda folder: flip(folder / "model.qleaky"), ["model.qleaky is damaged", "does not match the digest"]),
        (lambda folder: (folder / "model.qleaky").write_bytes(b"\xff" * 99), ["is not a .qleaky file, or is damaged"]),
    ],
)
def test_a_damaged_file(damage: Any, words: list[str], copied: Path) -> None:
    damage(copied)
    assert_refused(check(copied), *words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("inputs.npz", None, ["Cannot read inputs from", "inputs.npz"]),
        ("inputs.npz", {"x": np.zeros(3), "y": np.zeros(3)}, ["inputs.npz holds x, y; it must hold an array called 'inputs'"]),
        ("inputs.npz", {}, ["holds nothing"]),
        ("inputs.npz", {"inputs": np.zeros((29, 4, 11))}, ["shape (29, 4, 11)", "takes (29, B, 12)"]),
        ("inputs.npz", {"inputs": np.full((29, 4, 12), 0.3)}, ["not on the grid"]),
        ("inputs.npz", {"inputs": np.full((29, 4, 12), None)}, ["Cannot read inputs from"]),
        ("inputs.npz", b"PK\x03\x04 but not a zip", ["Cannot read inputs from"]),
        ("inputs.npz", b"", ["Cannot read inputs from"]),
        ("inputs.npy", np.zeros((29, 4, 12)), ["Cannot read inputs from"]),
        ("inputs.txt", b"1 2 3", ["Cannot read inputs from"]),
    ],
)
def test_inputs_that_cannot_be_used(name: str, content: Any, words: list[str], demo: tuple[Path, Any], tmp_path: Path) -> None:
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    assert_refused(check(demo[0], "--inputs", path), *words)


def test_a_certificate_that_cannot_be_written(demo: tuple[Path, Any], tmp_path: Path) -> None:
    assert_refused(check(demo[0], "--json", tmp_path / "missing" / "a.json"), "Cannot write", "a.json", "Nothing was changed")
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    ran = call("--debug", "verify", tmp_path / "a.onnx", "--network", tmp_path / "a.qleaky")
    assert ran.returncode == 2
    assert "Traceback (most recent call last)" in ran.stderr
    assert "read_file" in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("qleaky-export: Cannot read .qleaky file")


def test_the_page_of_a_check_is_written(copied: Path) -> None:
    ran = check(copied, "--html", copied / "page.html", "--json", copied / "check.json")
    assert ran.returncode == 0, ran.stderr
    page = (copied / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert Certificate.load(copied / "check.json").artefact_sha256 in page
    assert "ONNX Runtime" in page


def test_a_page_that_cannot_be_written_is_refused_in_words(copied: Path) -> None:
    ran = check(copied, "--html", copied / "none" / "page.html")
    assert_refused(ran, "Cannot write", "page.html")


def test_the_demo_draws_torch_over_the_artefact(demo: tuple[Path, Any]) -> None:
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    assert "reference, ONNX Runtime and torch" in page

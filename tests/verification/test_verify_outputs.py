"""``qleaky-export verify`` replaces nothing that it reads, and says nothing that a terminal takes for a command."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from small_contracts import FORMS, artefact, contract

SCRIPT = Path(sys.executable).with_name("qleaky-export")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    artefact(tmp_path, "scan")
    contract().save(tmp_path / "net.qleaky")
    (tmp_path / "link.qleaky").symlink_to("net.qleaky")
    return tmp_path


def check(folder: Path, *options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), "verify", "net.onnx", "--network", "net.qleaky", *map(str, options)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--json", "a", "--html", "a"), "--html a is the file of --json too, and would replace it; choose another name"),
        (("--json", "a", "--html", "./b/../a"), "--html ./b/../a is the file of --json too"),
        (("--html", "net.onnx"), "--html net.onnx is the file of the artefact too"),
        (("--json", "net.qleaky"), "--json net.qleaky is the file of --network too"),
        (("--json", "link.qleaky"), "--json link.qleaky is the file of --network too"),
        (("--json", "in.npz", "--inputs", "in.npz"), "--json in.npz is the file of --inputs too"),
        (("--json", "r.json", "--report", "r.json"), "--json r.json is the file of --report too"),
        (("--json", ""), "--json '' is no name of a file; pass one, such as check.json"),
        (("--html", ".."), "--html '..' is no name of a file; pass one, such as check.html"),
        (("--html", "folder/"), "--html 'folder/' is no name of a file"),
    ],
)
def test_an_output_that_would_replace_what_is_read_is_refused(options: Any, message: str, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ran = check(folder, *options)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"qleaky-export: {message}")
    assert ran.stderr.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_device_may_take_both(folder: Path) -> None:
    assert check(folder, "--json", "/dev/null", "--html", "/dev/null").returncode == 0


@pytest.mark.parametrize("form", FORMS)
def test_names_in_a_file_do_not_speak_to_the_terminal(form: str, folder: Path) -> None:
    model = onnx.load(artefact(folder, form))
    model.graph.node[0].op_type = "Ev\x1b]0;il\x07"
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    ran = check(folder)
    assert ran.returncode == 2
    assert "No Op registered for Ev\\x1b]0;il\\x07" in ran.stderr
    assert ran.stderr.removesuffix("\n").isprintable()


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bundle", "digits", "-o", "in.npz", "--inputs", "in.npz"), "--output in.npz is the file of --inputs too"),
        (("bundle", "model.py:make", "-o", "model.py"), "--output model.py is the file of MODEL too"),
        (("onnx", "model.py:make", "-o", "model.py"), "--output model.py is the file of MODEL too"),
        (("onnx", "digits", "-o", ""), "--output '' is no name of a file; pass one, such as model.onnx"),
    ],
)
def test_a_model_or_recordings_are_not_replaced_by_what_is_made_of_them(words: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise SystemExit(9)")
    (tmp_path / "in.npz").write_bytes(b"recordings")
    ran = call(tmp_path, *words)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert (tmp_path / "model.py").read_text() == "raise SystemExit(9)"
    assert (tmp_path / "in.npz").read_bytes() == b"recordings"

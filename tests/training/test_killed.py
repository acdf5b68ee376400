"""kill -9 in the middle of a training loses at most one epoch, and the run that goes on ends with the same bits."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from tiny import COMMAND, ENVIRONMENT, QUANTIZED, RECIPE, rows, weights

EPOCHS = 120
LONGER_THAN_ANY_DELAY = 20_000


def text(epochs: int) -> str:
    return RECIPE.replace("epochs = 3", f"epochs = {epochs}") + QUANTIZED


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(text(EPOCHS))
    return path


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Path:
    """The folder of a training that nobody disturbed."""
    folder = recipe.parent / "whole"
    subprocess.run([*COMMAND, str(recipe), "-o", str(folder)], check=True, capture_output=True, env=ENVIRONMENT)
    return folder


def killed(recipe: Path, folder: Path, number: int, epochs: int) -> tuple[int, str]:
    """Send a signal to a training after so many epochs: how it ended, and its stderr."""
    command = [*COMMAND, str(recipe), "-o", str(folder)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # not inherited from a background job
    )
    table = folder / "metrics.csv"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and (not table.exists() or table.read_text().count("\n") < epochs + 1):
        time.sleep(0.002)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


def assert_goes_on(recipe: Path, folder: Path, whole: Path) -> None:
    finished = len(rows(folder))
    assert finished < EPOCHS
    ran = subprocess.run(
        [*COMMAND, str(recipe), "-o", str(folder)], check=True, capture_output=True, text=True, env=ENVIRONMENT
    )
    went_on = int(ran.stderr.split("Going on after epoch ")[1].split()[0])
    assert went_on in (finished, finished + 1)  # the table is written right after the checkpoint
    found, expected = weights(folder), weights(whole)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert rows(folder) == rows(whole)
    assert not list(folder.glob(".*"))


def test_a_killed_training_ends_with_the_same_bits(recipe: Path, whole: Path, tmp_path: Path) -> None:
    assert killed(recipe, tmp_path, signal.SIGKILL, 3)[0] == -signal.SIGKILL
    (tmp_path / ".qleaky.half.tmp").write_bytes(b"what was being written when the process died")
    assert_goes_on(recipe, tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_names_its_checkpoint(number: int, tmp_path: Path) -> None:
    recipe, folder = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(text(LONGER_THAN_ANY_DELAY))
    code, stderr = killed(recipe, folder, number, 2)
    assert code == 130
    message = f"Interrupted; nothing half-written was left behind. The same command goes on from {folder / 'checkpoint.pt'}."
    assert stderr.splitlines()[-1] == message

"""``qleaky-train`` as a user meets it: quick help, one sentence for an error, everything said before any training."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qleaky

COMMAND = [sys.executable, "-m", "qleaky.train_cli"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}
RECIPE = """
name = "tiny"
data = { name = "japanese-vowels" }
model = { layers = [12, 8, 9] }
training = { epochs = 1, batch_size = 64 }
"""


def call(*arguments: Any, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT, cwd=folder)


def assert_refused(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.startswith("qleaky-train: ")
    for word in words:
        assert word in ran.stderr


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_help_and_a_bad_recipe_load_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from qleaky.train_cli import cli\n"
        "for arguments in (['--help'], [sys.argv[1]]):\n"
        "    try: cli.main(arguments, standalone_mode=False)\n"
        "    except Exception as error: print(type(error).__name__)\n"
        "print([name for name in ('torch', 'brevitas', 'onnx', 'onnxruntime', 'numpy', 'rich') if name in sys.modules])\n"
    )
    (tmp_path / "bad.toml").write_text("name = 3")
    command = [sys.executable, "-c", code, str(tmp_path / "bad.toml")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert "Exit codes: 0 done" in ran.stdout
    assert ran.stdout.splitlines()[-2:] == ["InputError", "[]"]


def test_the_version() -> None:
    assert call("--version").stdout.strip() == f"qleaky-train, version {qleaky.__version__}"


def test_a_training_says_how_it_went(recipe: Path, tmp_path: Path) -> None:
    ran = call(recipe, "--seed", 3, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.startswith("float 1/1: loss ")
    first, last = ran.stdout.splitlines()
    assert first.startswith("float: validation ")
    assert last == "Written: " + ", ".join(
        str(Path("tiny") / name) for name in ("weights.safetensors", "metrics.csv", "recipe.toml", "result.json")
    )
    assert (tmp_path / "tiny" / "result.json").exists()


def test_all_errors_of_a_recipe_are_said(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("epochs = 1", "epochs = 0, epoch = 2"))
    ran = call(recipe)
    assert_refused(
        ran, "recipe.toml has 2 errors:", "training.epochs = 0: it must be", "training.epoch = 2: there is no such key"
    )


def test_bad_input_is_said_before_any_training(recipe: Path, tmp_path: Path) -> None:
    assert_refused(call(tmp_path / "absent.toml"), "Cannot read recipe")
    (tmp_path / "file").write_text("mine")
    assert_refused(call(recipe, "-o", tmp_path / "file"), "Cannot write to folder")
    recipe.write_text(RECIPE.replace("japanese-vowels", "fashion-mnist").replace("[12, 8, 9]", "[784, 10], num_steps = 2"))
    ran = call(recipe, "--data", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert_refused(ran, str(tmp_path / "nowhere"))
    assert not (tmp_path / "out" / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'RECIPE.toml'"),
        (["recipe.toml", "--seed", "-1"], "-1 is not in the range"),
        (["recipe.toml", "--device", "tpu"], "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
    ],
)
def test_misuse(arguments: list[str], message: str) -> None:
    ran = call(*arguments)
    assert ran.returncode == 2
    assert message in ran.stderr


def test_an_interruption_before_the_first_epoch(recipe: Path, tmp_path: Path) -> None:
    code = (
        "import sys, qleaky.training, qleaky.train_cli\n"
        "def stopped(*a, **k): raise KeyboardInterrupt\n"
        "qleaky.training.train = stopped\n"
        "qleaky.train_cli.main()\n"
    )
    command = [sys.executable, "-c", code, str(recipe), "-o", str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert ran.returncode == 130
    assert ran.stderr == "Interrupted; nothing half-written was left behind. No epoch was finished.\n"

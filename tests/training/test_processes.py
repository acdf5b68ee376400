"""torchrun: two gloo processes train what one trains, with equal weights, and one of them writes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import COMMAND, ENVIRONMENT, QUANTIZED, RECIPE, rows, weights

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SPY = """
import os, sys, torch
from pathlib import Path
from qleaky.recipes import load_recipe
from qleaky.training import train
recipe, folder = load_recipe(sys.argv[1]), Path(sys.argv[2])
torch.distributed.init_process_group("gloo")
result = train(recipe, folder=folder)
assert torch.distributed.is_initialized()  # a group of one's own is left open
torch.save(result.network.state_dict(), folder.parent / f"rank{os.environ['RANK']}.pt")
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """234 training samples in batches of 58: the last batch has two."""
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(RECIPE.replace("batch_size = 50", "batch_size = 58") + QUANTIZED)
    return path


@pytest.fixture(scope="module")
def one(recipe: Path) -> Path:
    folder = recipe.parent / "one"
    subprocess.run([*COMMAND, str(recipe), "-o", str(folder)], check=True, capture_output=True, env=ENVIRONMENT)
    return folder


@pytest.fixture(scope="module")
def two(recipe: Path) -> Path:
    folder = recipe.parent / "two"
    (recipe.parent / "spy.py").write_text(SPY)
    command = [*TORCHRUN, str(recipe.parent / "spy.py"), str(recipe), str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    return folder


def test_weights_are_equal_in_both_processes(two: Path) -> None:
    first, second = (torch.load(two.parent / f"rank{rank}.pt") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[name], tensor) for name, tensor in weights(two).items())


def test_metrics_are_written_once_and_are_those_of_one_process(one: Path, two: Path) -> None:
    expected, found = rows(one), rows(two)
    assert [row["epoch"] for row in found] == [row["epoch"] for row in expected] == ["1", "2", "3", "1", "2"]
    for mine, other in zip(found[:3], expected[:3], strict=True):
        assert float(mine["loss"]) == pytest.approx(float(other["loss"]), abs=1e-5)
        assert float(mine["validation_loss"]) == pytest.approx(float(other["validation_loss"]), abs=1e-5)
        assert mine["train_accuracy"] == other["train_accuracy"]


def test_the_command_runs_under_torchrun_and_goes_on(one: Path, two: Path, recipe: Path) -> None:
    command = [*TORCHRUN, "-m", "qleaky.train_cli", str(recipe), "-o", str(two)]
    ran = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("Going on after epoch 2 of phase 'quantized'") == 1
    assert ran.stdout.count("Written: ") == 1


def test_cuda_that_is_not_there_is_refused(recipe: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    command = [*COMMAND, str(recipe), "-o", str(tmp_path), "--device", "cuda"]
    ran = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert ran.returncode == 2
    assert (
        ran.stderr
        == "qleaky-train: --device cuda: torch finds no CUDA device here. Use --device cpu, or install torch with CUDA.\n"
    )

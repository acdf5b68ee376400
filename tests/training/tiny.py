"""A recipe that trains in a blink, and what a folder holds afterwards."""

import csv
import os
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from qleaky.recipes import Recipe, parse_recipe

RECIPE = """
name = "tiny"
[data]
name = "japanese-vowels"
[model]
layers = [12, 8, 9]
readout = "membrane_mean"
[training]
epochs = 3
batch_size = 50
input_noise = 0.1
"""
QUANTIZED = "[quantization]\nepochs = 2\nfrozen_epochs = 1\n"
COMMAND = [sys.executable, "-m", "qleaky.train_cli"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def tiny(old: str = "", new: str = "", **options: Any) -> Recipe:
    """The recipe, one piece of its text replaced."""
    assert old in RECIPE
    return parse_recipe(RECIPE.replace(old, new) if old else RECIPE, **options)


def weights(folder: Path, name: str = "weights.safetensors") -> dict[str, Tensor]:
    return load_file(folder / name)


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv, apart from the seconds."""
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]

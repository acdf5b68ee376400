"""Files of a trained network that were changed are refused, with what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from qleaky._share import shared_folder
from qleaky.errors import ArtefactError
from qleaky.models.shipped import KEY, RECIPE, WEIGHTS, load_folder, read_header

Header = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of recipe and weights of the smallest network."""
    for name in (RECIPE, WEIGHTS):
        shutil.copy(shared_folder("models") / "japanese-vowels" / name, tmp_path / name)
    return tmp_path


def with_header(folder: Path, change: Callable[[Header], Any]) -> None:
    header = read_header(folder / WEIGHTS)
    change(header)
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {KEY: json.dumps(header)})


def test_unchanged_files_load(folder: Path) -> None:
    with_header(folder, lambda header: None)
    assert load_folder(folder).num_steps == 29


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(num_steps=-1), "does not say what network it is of: ValueError: num_steps=-1"),
        (lambda header: header.update(num_steps="many"), "does not say what network it is of: ValueError"),
        (lambda header: header.update(time="often"), "does not say what network it is of: ValueError: time='often'"),
        (lambda header: header.update(structure=[]), "does not say what network it is of: ValueError"),
        (lambda header: header.pop("input_format"), "does not say what network it is of: KeyError: 'input_format'"),
        (
            lambda header: header.update(recipe="0" * 64),
            r"is of recipe 0{12}, recipe\.toml beside it is .*; they belong together",
        ),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(folder: Path, change: Callable[[Header], Any], message: str) -> None:
    with_header(folder, change)
    with pytest.raises(ArtefactError, match=message):
        load_folder(folder)


def test_weights_that_are_cut_short_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="weights"):
        load_folder(folder)

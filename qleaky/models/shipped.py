"""The trained networks of the folder ``models/``, from their files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from qleaky._files import read_file
from qleaky._share import shared_folder
from qleaky._weights import load_weights
from qleaky.errors import ArtefactError, InputError
from qleaky.fixed import QFormat
from qleaky.models.building import build
from qleaky.models.feedforward import FeedForward
from qleaky.models.structure import restructure
from qleaky.recipes import Recipe, load_recipe

RECIPE, WEIGHTS = "recipe.toml", "weights.safetensors"
KEY = "qleaky"


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network, and what :func:`qleaky.lower` needs to know about it.

    ``qleaky.lower(m.network, m.sample_input, input_format=m.input_format, readout=m.readout)`` gives its contract.

    Attributes:
        recipe: what trained it.
        network: the quantized torch network, in eval mode; takes values, ``input_format.decode(codes)``.
        folder: its files: recipe, weights, golden vectors, certificate and model card.
        input_format: of its input codes.
        time: "static" or "sequence".
        num_steps: T.
    """

    recipe: Recipe
    network: FeedForward
    folder: Path
    input_format: QFormat
    time: Literal["static", "sequence"]
    num_steps: int

    @property
    def readout(self) -> str:
        """What the class is read from, as ``lower`` takes it."""
        return f"{self.recipe.model.readout}:argmax"

    @property
    def sample_input(self) -> Tensor:
        """Zeros in the shape of two samples."""
        lead = (2,) if self.time == "static" else (self.num_steps, 2)
        return torch.zeros(*lead, *self.network.input_shape)


def names() -> tuple[str, ...]:
    """The networks that ship with trained weights."""
    return tuple(sorted(path.parent.name for path in shared_folder("models").glob(f"*/{WEIGHTS}")))


def load(name: str) -> Trained:
    """A trained network that ships with qleaky.

    Raises:
        InputError: there is none of this name.
        ArtefactError: its files are damaged or do not belong together.
    """
    if name not in names():
        raise InputError(f"There is no trained network {name!r}. {_known(name)}")
    return load_folder(shared_folder("models") / name)


def _known(name: str) -> str:
    recipe = shared_folder("models") / name / RECIPE
    if recipe.is_file():
        return f"Its recipe ships without weights; train it: qleaky-train {recipe}."
    return (
        f"Choose one of {', '.join(names())}."
        if names()
        else "None ships with this version; `qleaky-train` trains the recipes."
    )


def load_folder(folder: Path) -> Trained:
    """A trained network from a folder with ``recipe.toml`` and ``weights.safetensors``.

    Raises:
        ArtefactError: files that are missing, damaged, or do not belong together.
    """
    recipe, path = load_recipe(folder / RECIPE), folder / WEIGHTS
    header = read_header(path)
    try:
        fmt, time, steps = QFormat.parse(header["input_format"]), header["time"], int(header["num_steps"])
        owner, structure = header["recipe"], header["structure"]
        if time not in ("static", "sequence") or not isinstance(structure, dict):
            raise ValueError(f"time={time!r}")
        if steps < 1:
            raise ValueError(f"num_steps={steps}")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"{path} does not say what network it is of: {type(error).__name__}: {error}. Install qleaky again."
        ) from error
    if owner != recipe.digest:
        raise ArtefactError(
            f"{path} is of recipe {owner[:12]}, {RECIPE} beside it is {recipe.digest[:12]}; they belong together."
        )
    network = build(recipe.model)
    restructure(network, structure)
    load_weights(network, str(path))
    return Trained(recipe, network.eval(), folder, fmt, time, steps)


def header_of(recipe: Recipe, structure: Mapping[str, Any], fmt: QFormat, time: str, num_steps: int) -> dict[str, str]:
    """The metadata of a weights file, from which :func:`load_folder` builds the network."""
    values = {"recipe": recipe.digest, "structure": structure, "input_format": repr(fmt), "time": time, "num_steps": num_steps}
    return {KEY: json.dumps(values, sort_keys=True)}


def read_header(path: Path) -> dict[str, Any]:
    """The metadata that :func:`header_of` made.

    Raises:
        ArtefactError: the file is missing, no safetensors file, or has none.
    """
    data = read_file(path, "weights file")
    try:
        length = int.from_bytes(data[:8], "little")
        values = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
        if not isinstance(values, dict):
            raise ValueError("no table")
    except (KeyError, ValueError, TypeError) as error:
        raise ArtefactError(f"{path} is no weights file of a released network, or is damaged. Install qleaky again.") from error
    return values

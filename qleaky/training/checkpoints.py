"""Where a run stands after an epoch, in one file that is replaced whole: kill a run at any time and it goes on from there."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qleaky._files import read_file
from qleaky.errors import ArtefactError
from qleaky.recipes import Recipe
from qleaky.training.metrics import Row

NAME = "checkpoint.pt"
LAYOUT = 1
State = dict[str, Tensor]
_WAY_OUT = "Choose another folder with -o, or begin anew with --restart."
_DAMAGED = (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Best:
    """The epoch with the best validation accuracy so far, among equals the one with the smaller loss."""

    epoch: int
    accuracy: float
    loss: float
    model: State

    def beats(self, other: Best | None) -> bool:
        """Whether it is better than the best before it."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True)
class Checkpoint:
    """After ``epoch`` epochs of ``phase``.

    Random numbers and the learning rate are functions of seed, phase and epoch (:mod:`qleaky.training.randomness`), so
    neither generators nor schedules have a state to keep.
    """

    phase: str
    epoch: int
    model: State
    optimizer: dict[str, Any]
    rows: tuple[Row, ...]
    best: Best | None = None
    finished: Mapping[str, State] = field(default_factory=dict)  # what earlier phases ended with

    def encode(self, recipe: Recipe, seed: int) -> bytes:
        """The file's bytes: torch.save of tensors and plain numbers, and a manifest that says what they belong to."""
        best = None if self.best is None else dict(vars(self.best))
        parts = {"model": self.model, "optimizer": self.optimizer, "best": best, "finished": dict(self.finished)}
        manifest = {"layout": LAYOUT, "recipe": recipe.name, "digest": recipe.digest, "seed": seed}
        manifest |= {"phase": self.phase, "epoch": self.epoch, "rows": [asdict(row) for row in self.rows]}
        stream = io.BytesIO()
        torch.save({"manifest": json.dumps(manifest), **parts}, stream)
        return stream.getvalue()


def read_checkpoint(path: Path) -> bytes | None:
    """The bytes of a folder's checkpoint, if it has one."""
    return read_file(path, "checkpoint") if path.exists() else None


def decode(data: bytes, path: Path, recipe: Recipe, seed: int) -> Checkpoint:
    """The checkpoint in ``data``, which was read from ``path``.

    Raises:
        ArtefactError: it is damaged, or belongs to another recipe or seed.
    """
    try:
        parts = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        manifest = json.loads(parts.pop("manifest"))
        layout, owner = manifest["layout"], (manifest["digest"], manifest["seed"])
    except _DAMAGED as error:
        raise ArtefactError(f"{path} is no checkpoint of qleaky-train, or is damaged. {_WAY_OUT}") from error
    if layout != LAYOUT:
        raise ArtefactError(f"{path} has layout {layout}, this version reads {LAYOUT}. {_WAY_OUT}")
    if owner != (recipe.digest, seed):
        raise ArtefactError(
            f"{path} is of recipe {manifest['recipe']!r} ({owner[0][:12]}) with seed {owner[1]}; this is {recipe.name!r} "
            f"({recipe.digest[:12]}) with seed {seed}. {_WAY_OUT}"
        )
    best, rows = parts.pop("best"), tuple(Row(**row) for row in manifest["rows"])
    return Checkpoint(manifest["phase"], manifest["epoch"], **parts, rows=rows, best=best and Best(**best))


def restore(net: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a checkpoint's weights into the network that the recipe builds.

    Raises:
        ArtefactError: they are another network's, with the first difference.
    """
    mine = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name in dict.fromkeys((*mine, *theirs)):
        if mine.get(name) != theirs.get(name):
            raise ArtefactError(
                f"{path} holds the weights of another network: {name} is {_said(theirs.get(name))} there and "
                f"{_said(mine.get(name))} in the recipe's network. {_WAY_OUT}"
            )
    net.load_state_dict(dict(state))


def copied(state: Mapping[str, Tensor]) -> State:
    """A state dict of its own, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _said(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"

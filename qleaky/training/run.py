"""A whole training: data, network, phases, checkpoints, results."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from torch import nn

from qleaky._files import make_folder, write_atomically
from qleaky.datasets import DataSet
from qleaky.errors import InputError, QleakyError
from qleaky.layers import freeze_scales
from qleaky.recipes import Recipe, load_recipe
from qleaky.training import checkpoints, results
from qleaky.training.building import check_outputs, data_from_recipe, network_from_recipe
from qleaky.training.checkpoints import Best, Checkpoint, State, copied
from qleaky.training.metrics import Board, Row, write_rows
from qleaky.training.phase import Phase, PhaseSettings, evaluate
from qleaky.training.processes import Processes, processes
from qleaky.training.progress import Progress, Silent
from qleaky.training.quantizing import quantized_copy
from qleaky.training.randomness import reproducible, seed_everything
from qleaky.training.results import Accuracy, Result
from qleaky.training.samples import Splits, split

Folder = str | os.PathLike[str]
FLOAT, QUANTIZED = "float", "quantized"


def train(
    recipe: Recipe,
    data_folder: Folder | None = None,
    *,
    seed: int = 0,
    folder: Folder,
    restart: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Result:
    """Train what a recipe describes, or go on where an earlier call with the same recipe, seed and folder stopped.

    The same recipe, data and seed give the same weights bit for bit on the same machine, versions and number of threads and
    processes, interrupted or not. Nothing is chosen on test data; they are looked at once, at the end.

    Args:
        recipe: of :func:`qleaky.recipes.load_recipe`.
        data_folder: where the files of data sets are that do not ship with the package.
        seed: of the weights, the validation split, the order of samples and noise.
        folder: receives checkpoints, metrics and results; made if it is not there.
        restart: begin anew although the folder holds a checkpoint.
        device: "cpu", "cuda", or "auto": CUDA where there is one. ``torchrun``'s environment is respected.
        progress: told how it goes; None is silent.

    Raises:
        InputError, ArtefactError, OutputError: data, network, checkpoint or folder are no good; said before any training.
        TrainingError: a loss or gradient is not finite; names the layer.
    """
    with reproducible(), processes(device) as group:
        if group.first:
            make_folder(folder)
        data = data_from_recipe(recipe, data_folder)
        seed_everything(seed, "weights")
        net = network_from_recipe(recipe, data)
        splits = split(data, recipe.data.validation, seed)
        check_outputs(net, splits.train, data.classes)
        run = Run(recipe, seed, Path(folder), group, progress if progress is not None and group.first else Silent())
        run.resume(restart, net)
        try:
            return run.all(net, data, splits)
        finally:
            run.close()


class Run:
    """What all phases of a training share, and how far it is."""

    def __init__(self, recipe: Recipe, seed: int, folder: Path, group: Processes, progress: Progress) -> None:
        self.recipe, self.seed, self.folder, self.group, self.progress = recipe, seed, folder, group, progress
        self.rows: list[Row] = []
        self.finished: dict[str, State] = {}
        self.checkpoint: Checkpoint | None = None
        self.board: Board | None = None

    def resume(self, restart: bool, net: nn.Module) -> None:
        """Take up the folder's checkpoint, or claim the folder for a new run; only the first process looks into it."""
        path = self.folder / checkpoints.NAME
        data = self._claim(path, restart) if self.group.first else None
        data = self.group.from_first(data)
        if data is not None:
            held = checkpoints.decode(data, path, self.recipe, self.seed)
            first = held.finished.get(FLOAT, held.model)
            checkpoints.restore(net, first, path)
            self.checkpoint, self.rows, self.finished = held, list(held.rows), dict(held.finished)
            self.progress.say(f"Going on after epoch {held.epoch} of phase {held.phase!r}, from {path}.")
        if self.group.first:
            write_rows(self.folder / "metrics.csv", self.rows)
            self.board = Board(self.folder / "tensorboard", self.rows)

    def all(self, net: nn.Module, data: DataSet, splits: Splits) -> Result:
        """Every phase, then the files."""
        table, device = self.recipe.quantization, self.group.device
        here = Splits(*(part.to(device) for part in (splits.train, splits.validation, splits.test)))
        float_settings = PhaseSettings(FLOAT, self.recipe.training.epochs, self.recipe.training.learning_rate)
        result = Result(self.recipe, self.seed, self.folder, net, data, self.phase(net, float_settings, here))
        if table is not None:
            net = quantized_copy(net.cpu(), self.recipe, data, splits.train, self.seed)
            settings = PhaseSettings(QUANTIZED, table.epochs, table.learning_rate, table.frozen_epochs, freeze_scales)
            result = replace(result, network=net, quantized_accuracy=self.phase(net, settings, here))
        net.cpu().eval()
        return self._write(result) if self.group.first else result

    def phase(self, net: nn.Module, settings: PhaseSettings, splits: Splits) -> Accuracy:
        """Train what is left of a phase; ``net`` ends with the weights that the recipe keeps."""
        name, path = settings.name, self.folder / checkpoints.NAME
        done = self.finished.get(name)
        phase = Phase(net, self.recipe, settings, self.seed, self.group)
        if done is None:
            held = self.checkpoint if self.checkpoint is not None and self.checkpoint.phase == name else None
            if held is not None:
                checkpoints.restore(net, held.model, path)
                phase.optimizer.load_state_dict(held.optimizer)
            done = self._epochs(phase, splits, held)
            self.finished[name] = done
        net.load_state_dict(done)
        held_back = evaluate(net, splits.validation, phase, self.group).accuracy if len(splits.validation) else None
        return Accuracy(held_back, evaluate(net, splits.test, phase, self.group).accuracy)

    def _epochs(self, phase: Phase, splits: Splits, held: Checkpoint | None) -> State:
        """The epochs that are left, a checkpoint after each -> the weights that the phase ends with."""
        settings, best = phase.settings, None if held is None else held.best
        for epoch in range(1 if held is None else held.epoch + 1, settings.epochs + 1):
            row = phase.epoch(epoch, splits, lambda share, e=epoch: self._tick(settings, e, share))  # type: ignore[misc]
            self.rows.append(row)
            best = self._better(best, row, phase.net)
            if self.group.first:
                self._save(phase, epoch, best)
            self.progress.row(row, settings.epochs)
        return copied(phase.net.state_dict()) if best is None else best.model

    def _tick(self, settings: PhaseSettings, epoch: int, share: float) -> None:
        self.progress.step(settings.name, epoch, settings.epochs, share)

    def _better(self, best: Best | None, row: Row, net: nn.Module) -> Best | None:
        if self.recipe.training.keep == "last" or row.validation_accuracy is None or row.validation_loss is None:
            return None
        new = Best(row.epoch, row.validation_accuracy, row.validation_loss, copied(net.state_dict()))
        return new if new.beats(best) else best

    def _save(self, phase: Phase, epoch: int, best: Best | None) -> None:
        state = copied(phase.net.state_dict())
        held = Checkpoint(
            *(phase.settings.name, epoch, state, phase.optimizer.state_dict(), tuple(self.rows), best, self.finished)
        )
        write_atomically(self.folder / checkpoints.NAME, held.encode(self.recipe, self.seed))
        write_rows(self.folder / "metrics.csv", self.rows)
        if self.board is not None:
            self.board.add(self.rows[-1])

    def _claim(self, path: Path, restart: bool) -> bytes | None:
        """The checkpoint's bytes, or None in a folder that is free or begun anew."""
        copy = self.folder / "recipe.toml"
        if restart:
            path.unlink(missing_ok=True)
        data = checkpoints.read_checkpoint(path)
        if data is None and not restart and copy.exists() and not self._is_mine(copy):
            raise InputError(
                f"{copy} is another recipe, and would be overwritten. Choose another folder with -o, or begin anew with "
                f"--restart."
            )
        if data is not None:
            checkpoints.decode(data, path, self.recipe, self.seed)
        for leftover in self.folder.glob(".qleaky.*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink()
        write_atomically(copy, self.recipe.toml.encode())
        return data

    def _is_mine(self, copy: Path) -> bool:
        try:
            return load_recipe(copy).digest == self.recipe.digest
        except QleakyError:
            return False

    def _write(self, result: Result) -> Result:
        for name in (*results.QUANTIZED, "result.json"):
            (self.folder / name).unlink(missing_ok=True)
        results.write_weights(self.folder / "weights.safetensors", result.network.state_dict(), results.header(result))
        if result.quantized_accuracy is not None:
            results.write_weights(self.folder / "float.safetensors", self.finished[FLOAT])
            self.progress.say("Exporting, and verifying on test samples.")
            result = replace(result, report=results.deploy(result.network, self.recipe, result.data, self.folder))
        results.write_result(result)
        return result

    def close(self) -> None:
        """Close what is open."""
        self.progress.close()
        if self.board is not None:
            self.board.close()

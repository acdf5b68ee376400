"""What a user sees and keeps of every epoch: lines, bars, CSV, and TensorBoard where it is installed."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from qleaky.training.metrics import Board, Row, write_rows
from qleaky.training.progress import Bars, Lines

ROW = Row("float", 2, 0.5, 81.25, 0.75, 80.0, 1e-3, 1.5)
WITHOUT = Row("float", 2, 0.1 + 0.2, 81.25, None, None, 1e-3, 1.5)


def test_csv_holds_every_digit(tmp_path: Path) -> None:
    write_rows(tmp_path / "metrics.csv", [ROW, WITHOUT])
    header, first, second = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header == "phase,epoch,loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds"
    assert first == "float,2,0.5,81.25,0.75,80.0,0.001,1.5"
    assert second == "float,2,0.30000000000000004,81.25,,,0.001,1.5"


def test_lines_say_an_epoch_each() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    lines.step("float", 2, 3, 0.5)
    lines.row(ROW, 3)
    lines.row(WITHOUT, 3)
    lines.say("Exporting.")
    lines.close()
    assert said == [
        "float 2/3: loss 0.5000, training 81.25 %, validation 80.00 %, 1.5 s",
        "float 2/3: loss 0.3000, training 81.25 %, 1.5 s",
        "Exporting.",
    ]


def test_bars_show_the_share_of_a_phase(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars()
    bars.step("float", 1, 4, 0.5)
    assert bars.bars.tasks[0].completed == 0.5
    bars.row(ROW, 4)
    assert (bars.bars.tasks[0].completed, bars.bars.tasks[0].total) == (2, 4)
    bars.say("Exporting.")
    bars.step("quantized", 1, 2, 1.0)
    assert len(bars.bars.tasks) == 2
    bars.close()
    assert "Exporting." in capsys.readouterr().err


class Writer:
    """Stands in for TensorBoard's, which is optional."""

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, [], False  # type: ignore[var-annotated]

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_tensorboard_goes_on_where_the_checkpoint_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    board = Board(tmp_path, [ROW, ROW])
    board.add(ROW)
    board.close()
    assert (board.writer.folder, board.writer.purge_step, board.writer.closed) == (str(tmp_path), 3, True)
    assert ("float/loss", 0.5, 3) in board.writer.scalars
    assert ("float/validation_accuracy", 80.0, 3) in board.writer.scalars


def test_without_tensorboard_there_is_no_event_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    board = Board(tmp_path / "tensorboard", [])
    board.add(ROW)
    board.close()
    assert not (tmp_path / "tensorboard").exists()

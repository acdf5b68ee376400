"""One row per epoch: metrics.csv always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from qleaky._files import write_atomically


@dataclass(frozen=True)
class Row:
    """Loss and accuracies (in percent) of one epoch; ``None`` without validation samples."""

    phase: str
    epoch: int
    loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """All rows as CSV, floats with all their digits."""
    text = io.StringIO()
    table = csv.DictWriter(text, [part.name for part in fields(Row)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    write_atomically(path, text.getvalue().encode())


class Board:
    """TensorBoard's event files in ``folder``, or nothing where the package ``tensorboard`` is missing."""

    def __init__(self, folder: Path, rows: Sequence[Row]) -> None:
        self.steps = len(rows)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.writer: Any = None
        else:
            self.writer = SummaryWriter(str(folder), purge_step=self.steps + 1)

    def add(self, row: Row) -> None:
        """One epoch; epochs are counted through all phases."""
        self.steps += 1
        if self.writer is None:
            return
        for name, value in asdict(row).items():
            if isinstance(value, float):
                self.writer.add_scalar(f"{row.phase}/{name}", value, self.steps)
        self.writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()

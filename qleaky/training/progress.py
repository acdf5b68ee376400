"""What a user sees while a network trains: bars on a terminal, else a line per epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import click

from qleaky.training.metrics import Row


class Progress(Protocol):
    """Told of steps, epochs and whatever else there is to say."""

    def step(self, phase: str, epoch: int, epochs: int, done: float) -> None:
        """``done`` is the share of the epoch's steps."""

    def row(self, row: Row, epochs: int) -> None:
        """After an epoch."""

    def say(self, text: str) -> None:
        """A sentence."""

    def close(self) -> None:
        """Nothing more comes."""


class Silent:
    """Says nothing."""

    def step(self, phase: str, epoch: int, epochs: int, done: float) -> None:
        """Nothing."""

    def row(self, row: Row, epochs: int) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines(Silent):
    """A line on stderr for each epoch."""

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self.write = write or (lambda text: click.echo(text, err=True))

    def row(self, row: Row, epochs: int) -> None:
        """The epoch's numbers."""
        self.write(f"{row.phase} {row.epoch}/{epochs}: {described(row)}, {row.seconds:.1f} s")

    def say(self, text: str) -> None:
        """The sentence."""
        self.write(text)


class Bars(Silent):
    """A bar on stderr for each phase."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bars = RichProgress(*columns, console=Console(stderr=True))
        self.tasks: dict[str, Any] = {}

    def step(self, phase: str, epoch: int, epochs: int, done: float) -> None:
        """Move the phase's bar."""
        if phase not in self.tasks:
            self.bars.start()
            self.tasks[phase] = self.bars.add_task(phase, total=epochs)
        self.bars.update(self.tasks[phase], completed=epoch - 1 + done)

    def row(self, row: Row, epochs: int) -> None:
        """The epoch's numbers, beside the bar."""
        self.step(row.phase, row.epoch, epochs, 1.0)
        self.bars.update(self.tasks[row.phase], description=f"{row.phase} {row.epoch}/{epochs}: {described(row)}")

    def say(self, text: str) -> None:
        """The sentence, above the bars."""
        self.bars.console.print(text, highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.bars.stop()


def described(row: Row) -> str:
    """An epoch's numbers in words."""
    validation = "" if row.validation_accuracy is None else f", validation {row.validation_accuracy:.2f} %"
    return f"loss {row.loss:.4f}, training {row.train_accuracy:.2f} %{validation}"

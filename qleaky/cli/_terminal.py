"""What commands write to the terminal with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def stages(count: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr, whose description names the stage that runs."""
    from rich.progress import BarColumn, Progress, TimeElapsedColumn

    columns = ("[progress.description]{task.description}", BarColumn(), TimeElapsedColumn())
    terminal = console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bars:
        task = bars.add_task("", total=count)

        def advance(stage: str) -> None:
            bars.update(task, description=stage, advance=1 if bars.tasks[0].description else 0)

        yield advance


def console(**options: Any) -> Any:
    """A rich console."""
    from rich.console import Console

    return Console(**options)

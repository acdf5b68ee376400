"""Interleaved timing: every candidate has its turn in every round, and what is printed are ratios of medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

Run = Callable[[], object]


def medians(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """CPU seconds a run; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(measured[1:]) for name, measured in times.items()}


def repeated(run: Run, times: int) -> Run:
    """Several runs as one, for what is too short to be timed alone."""

    def many() -> None:
        for _ in range(times):
            run()

    return many


def reset_peak() -> None:
    """Let the peak of this process's memory be what it holds now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def kibibytes(what: str) -> int:
    """VmRSS or VmHWM, the peak, of this process (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(what)))

"""The stored costs of benchmarks/mcu.py, and what has grown since."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mcu_table import Costs

from qleaky._files import write_atomically

PATH = Path(__file__).with_name("mcu_baseline.json")
ALLOWED = 1.02


def flat(costs: Costs) -> dict[str, dict[str, int]]:
    """Figures by "workload, inputs, core"."""
    return {", ".join(key): asdict(cost) for key, (cost, _) in costs.items() if cost is not None}


def write_baseline(costs: Costs, compiler: str) -> None:
    """Keep what was measured."""
    text = json.dumps({"compiler": compiler, "costs": flat(costs)}, indent=1)
    write_atomically(PATH, (text + "\n").encode())


def regressions(costs: Costs, compiler: str, path: Path = PATH) -> list[str]:
    """A sentence for every figure that grew by more than 2 %, and for what is missing on either side."""
    stored = json.loads(path.read_text())
    if stored["compiler"] != compiler:
        return [f"The baseline is of {stored['compiler']}, and this is {compiler}: write it again with --write-baseline."]
    now, before = flat(costs), stored["costs"]
    found = [
        f"{name}: the baseline has no figures; write it again with --write-baseline." for name in now if name not in before
    ]
    found += [f"{name}: was measured for the baseline, and is not now." for name in before if name not in now]
    for name in now:
        found += [grown(name, what, before[name][what], value) for what, value in now[name].items() if name in before]
    return [sentence for sentence in found if sentence]


def grown(name: str, what: str, before: int, now: int) -> str:
    """A sentence, or nothing."""
    if now <= ALLOWED * before:
        return ""
    return f"{name}: {what} grew from {before:,} to {now:,} (by {100 * (now - before) / before:.1f} %, 2 % are allowed)."

"""What generated C costs: a step has not grown since the baseline, and one that had grown would be found."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcu_tools import need_program

ROOT = Path(__file__).resolve().parents[3]
BENCHMARKS = ROOT / "benchmarks"
TOOLS = ("clang", "ld.lld", "qemu-system-arm", "qemu-system-riscv32")


@pytest.fixture
def baseline(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mcu_baseline

    yield mcu_baseline
    for name in [name for name in sys.modules if name.startswith("mcu_")]:
        del sys.modules[name]


@pytest.fixture
def table(baseline: Any) -> Any:
    return sys.modules["mcu_table"]


def costs_of(table: Any, stored: dict[str, Any]) -> dict[tuple[str, str, str], tuple[Any, float]]:
    """The stored figures as the benchmark hands them around; one operation for each instruction."""
    found = {}
    for name, figures in stored["costs"].items():
        workload, inputs, core = name.rsplit(", ", 2)
        cost = table.Cost(**figures)
        found[workload, inputs, core] = (cost, float(cost.instructions))
    return found


def stored_figures() -> dict[str, Any]:
    return json.loads((BENCHMARKS / "mcu_baseline.json").read_text())


def test_the_baseline_meets_every_target(table: Any) -> None:
    assert table.missed_targets(costs_of(table, stored_figures())) == []


def test_figures_of_the_baseline_are_no_regression_and_two_per_cent_more_are(baseline: Any, table: Any, tmp_path: Path) -> None:
    stored = stored_figures()
    costs = costs_of(table, stored)
    assert baseline.regressions(costs, stored["compiler"]) == []
    name = "784-256-10, 8 bits, 10%, M4"
    for factor, found in ((0.981, 0), (0.979, 1)):  # 1 / 0.981 is 1.9 % more
        smaller = json.loads(json.dumps(stored))
        smaller["costs"][name]["instructions"] = round(factor * stored["costs"][name]["instructions"])
        (tmp_path / "stored.json").write_text(json.dumps(smaller))
        sentences = baseline.regressions(costs, stored["compiler"], tmp_path / "stored.json")
        assert len(sentences) == found
        assert all(f"{name}: instructions grew from" in sentence for sentence in sentences)


def test_what_the_baseline_lacks_or_alone_has_is_said(baseline: Any, table: Any) -> None:
    stored = stored_figures()
    costs = costs_of(table, stored)
    first, *_ = costs
    without = {key: value for key, value in costs.items() if key != first}
    assert baseline.regressions(without, stored["compiler"]) == [
        f"{', '.join(first)}: was measured for the baseline, and is not now."
    ]
    more = costs | {("new", "10%", "M4"): costs[first]}
    assert baseline.regressions(more, stored["compiler"]) == [
        "new, 10%, M4: the baseline has no figures; write it again with --write-baseline."
    ]
    (sentence,) = baseline.regressions(costs, "clang 99.0.0")
    assert "this is clang 99.0.0: write it again" in sentence


def test_a_missed_target_is_said(table: Any) -> None:
    costs = costs_of(table, stored_figures())
    key = ("784-256-10, 8 bits", "10%", "M4")
    costs[key] = (table.Cost(50_001, 1, 1, 4000), costs[key][1])
    sentences = table.missed_targets(costs)
    assert "784-256-10, 8 bits on M4: 50,001 instructions, the target is 50,000." in sentences
    assert "784-256-10, 8 bits on M4: 4,001 bytes of RAM, the target is 3.2 KB." in sentences


@pytest.mark.nightly
def test_no_step_costs_more_than_the_baseline_says() -> None:
    need_program(*TOOLS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / "mcu.py"), "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr

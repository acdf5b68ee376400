"""``Leaky`` is a drop-in for snntorch's: the shared differential fuzzer finds no difference in float32."""

import subprocess
import sys
from pathlib import Path

import pytest


def fuzz(shared: Path, seeds: int, *options: str) -> str:
    """The fuzzer's output on random configurations, each compared bit for bit with snntorch."""
    command = [sys.executable, str(shared / "tools" / "parity_fuzz.py"), "qleaky", "-n", str(seeds), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600).stdout


def test_300_random_configurations_equal_snntorch(shared: Path) -> None:
    assert "\n300 passed, 0 failed" in "\n" + fuzz(shared, 300)


@pytest.mark.nightly
@pytest.mark.parametrize("options", [(), ("--own-surrogates",)])
def test_2000_random_configurations_equal_snntorch(shared: Path, options: tuple[str, ...]) -> None:
    assert "\n2000 passed, 0 failed" in "\n" + fuzz(shared, 2000, *options)

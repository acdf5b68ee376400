"""Doctests, the README's among them, run in an empty folder."""

from importlib.util import find_spec
from pathlib import Path

import pytest

# Doctests are looked for by importing.
collect_ignore_glob = [] if find_spec("triton") else ["qleaky/kernels/triton_*.py", "tests/kernels/triton_*.py"]


@pytest.fixture(autouse=True)
def _in_empty_folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)

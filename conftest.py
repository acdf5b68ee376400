"""Doctests, the README's among them, run in an empty folder."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _in_empty_folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)

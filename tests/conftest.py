"""Settings of every test: one thread, reproducible hypothesis where CI is set, and the folder of shared reference material."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # a make that a test runs is no part of `make test`
    os.environ.pop(name, None)

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data sets, recordings and tools that are larger than a repository should be; tests that need them skip without."""
    path = Path(os.environ.get("QLEAKY_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not path.is_dir():
        pytest.skip(f"there is no folder {path}; name the shared folder in the environment variable QLEAKY_SHARED")
    return path

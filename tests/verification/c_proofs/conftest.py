"""Small neurons are drawn and compiled as the tests of the generated C do; without z3 and pycparser nothing can be proved."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "export" / "c"
if str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))

MISSING = [name for name in ("z3", "pycparser") if importlib.util.find_spec(name) is None]
collect_ignore_glob: list[str] = []


@pytest.fixture(autouse=True)
def _provers() -> None:
    if MISSING:
        assert not os.environ.get("CI"), f"{', '.join(MISSING)} missing, and CI must have them: pip install 'qleaky[prove]'"
        pytest.skip(f"needs {', '.join(MISSING)}: pip install 'qleaky[prove]'")

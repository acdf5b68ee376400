"""Without z3 and pycparser nothing can be proved: a module that imports this first is skipped, in CI it fails."""

import importlib.util
import os

import pytest

MISSING = [name for name in ("z3", "pycparser") if importlib.util.find_spec(name) is None]
if MISSING:
    assert not os.environ.get("CI"), f"{', '.join(MISSING)} missing, and CI must have them: pip install 'qleaky[prove]'"
    pytest.skip(f"needs {', '.join(MISSING)}: pip install 'qleaky[prove]'", allow_module_level=True)

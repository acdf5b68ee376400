"""Inputs that a user's file holds."""

from __future__ import annotations

import zipfile
from typing import Any

from qleaky.errors import InputError


def load_inputs(path: str, names: list[str]) -> Any:
    """The array 'inputs', or for a network with several inputs those of their names."""
    import numpy as np

    wanted = names if len(names) > 1 else ["inputs"]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if all(name in arrays for name in wanted):
                return {name: arrays[name] for name in wanted} if len(names) > 1 else arrays["inputs"]
            found = ", ".join(arrays.files) or "nothing"
    except OSError as error:
        raise InputError(f"Cannot read inputs from {path}: {error.strerror or error}.") from error
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"Cannot read inputs from {path}: it is no .npz file of plain arrays, or is damaged.") from error
    what = f"arrays called {', '.join(wanted)}" if len(names) > 1 else "an array called 'inputs'"
    raise InputError(f"{path} holds {found}; it must hold {what}.")

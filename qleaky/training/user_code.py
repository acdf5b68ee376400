"""Calls what a recipe names as "file.py:callable" or "module:callable"."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from qleaky.errors import InputError, QleakyError


def call(key: str, reference: str, folder: Path, *arguments: Any) -> Any:
    """What the callable returns for ``arguments``; a file is looked up from ``folder``, the recipe's.

    Raises:
        InputError: there is no such file, module or callable, or its code fails; with the recipe's key.
    """
    home, _, name = reference.rpartition(":")
    where = f'{key} = "{reference}"'
    try:
        module = _file(folder / home) if home.endswith(".py") else importlib.import_module(home)
        function = getattr(module, name)
    except QleakyError:
        raise
    except FileNotFoundError:
        raise InputError(f"{where}: there is no file {folder / home}; files are looked up from the recipe's folder.") from None
    except AttributeError:
        raise InputError(f"{where}: {home} has no {name!r}; name a function in it.") from None
    except Exception as error:
        raise InputError(f"{where}: {home} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise InputError(f"{where} is a {type(function).__name__}; name a function.")
    try:
        return function(*arguments)
    except QleakyError:
        raise
    except Exception as error:
        raise InputError(f"{where} failed: {type(error).__name__}: {error}") from error


def _file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that its classes can be copied and pickled
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module

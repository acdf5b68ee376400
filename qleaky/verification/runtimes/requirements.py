"""Optional packages of runtimes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from qleaky.errors import MissingDependencyError


def require(runtime: str, package: str) -> Any:
    """Import the package of a runtime.

    Raises:
        MissingDependencyError: it cannot be imported; with the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"runtime {runtime!r} needs the package {package!r}, which cannot be imported: {error}. Install it with "
            f"`pip install {package}`, or qleaky with `pip install 'qleaky[{package}]'`.",
            name=package,
        ) from error

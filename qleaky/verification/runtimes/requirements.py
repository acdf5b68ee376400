"""Optional packages of runtimes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from qleaky.errors import MissingDependencyError


def require(runtime: str, package: str, install: str | None = None) -> Any:
    """Import the package of a runtime.

    Args:
        runtime: its name.
        package: the module.
        install: the command that installs it; None: that of one of qleaky's extras.

    Raises:
        MissingDependencyError: it cannot be imported; with the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        command = f"`{install}`" if install else f"`pip install {package}`, or qleaky with `pip install 'qleaky[{package}]'`"
        raise MissingDependencyError(
            f"runtime {runtime!r} needs the package {package!r}, which cannot be imported: {error}. Install it with {command}.",
            name=package,
        ) from error

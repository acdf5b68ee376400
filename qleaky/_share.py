"""Finds the top-level folders ``export/`` and ``models/``: inside an installed wheel, or beside the package in a clone."""

from pathlib import Path


def shared_folder(name: str) -> Path:
    """The folder ``name``, "export" or "models"."""
    package = Path(__file__).parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name

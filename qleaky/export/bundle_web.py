"""The browser's part of a bundle: the page, and onnxruntime-web as npm installed it, with its licence."""

from __future__ import annotations

from pathlib import Path

from qleaky._share import shared_folder
from qleaky.errors import MissingDependencyError

PAGE = {"validate.html": "validate.html", "web/validator.js": "validator.js", "web/node.mjs": "node.mjs"}
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def web_files(package: Path | None) -> dict[str, bytes]:
    """The files to add, by their names in the bundle.

    Args:
        package: the folder of the npm package onnxruntime-web; None looks for ``node_modules`` here and above.

    Raises:
        MissingDependencyError: there is no such package, or it lacks a file.
    """
    home = package or _installed()
    files = {name: (shared_folder("export") / "web" / source).read_bytes() for name, source in PAGE.items()}
    for name in RUNTIME:
        files[f"web/ort/{name}"] = _read(home / "dist" / name)
    files["web/ort/package.json"] = _read(home / "package.json")
    files["web/ort/LICENSE"] = _licence(home)
    return files


def _installed() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        found = folder / "node_modules" / "onnxruntime-web"
        if found.is_dir():
            return found
    raise MissingDependencyError(
        "The page needs onnxruntime-web, and there is no node_modules/onnxruntime-web in this folder or above it: run `npm "
        "install onnxruntime-web`, or name the package's folder with onnxruntime_web."
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingDependencyError(
            f"{path} cannot be read: {error.strerror or error}. It belongs to the npm package onnxruntime-web; install it."
        ) from error


def _licence(home: Path) -> bytes:
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        if (home / name).is_file():
            return _read(home / name)
    return (shared_folder("export") / "web" / "LICENSE.onnxruntime").read_bytes()

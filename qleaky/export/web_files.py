"""The files of a bundle with a page: the check in JavaScript, and onnxruntime-web as npm installed it, with its licences.

The page runs offline, so the WebAssembly build of onnxruntime-web (MIT) goes along. Its npm package has neither a file with the
text of its licence nor one with the notices of what it was built from; the Python package onnxruntime, of the same project, has
both.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import msgspec

from qleaky._files import read_file
from qleaky._share import shared_folder
from qleaky.errors import ArtefactError, InputError, MissingDependencyError

NAME, MAJOR, TESTED = "onnxruntime-web", "1", "1.30.0"
VARIABLE = "QLEAKY_ONNXRUNTIME_WEB"
PAGE = "validate.html"
SCRIPTS = (
    "bundle.js",
    "comparing.js",
    "manifest.js",
    "node.mjs",
    "nonce.js",
    "numbers.js",
    "page.js",
    "raster.js",
    "running.js",
    "runtime.js",
    "sha256.js",
    "validator.js",
    "worker.js",
)
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
NOTICES = ("LICENSE", "ThirdPartyNotices.txt")
# node takes .js files for scripts of its older kind where no such file says otherwise.
MODULES = b'{"type": "module"}\n'


class _Package(msgspec.Struct):
    """What is read of an npm package's ``package.json``."""

    name: str
    version: str
    license: str = ""


def web_files(onnxruntime_web: str | os.PathLike[str] | None = None) -> dict[str, bytes]:
    """The files that ``--web`` adds to a bundle, by their names in it: ``validate.html`` and ``web/``.

    Args:
        onnxruntime_web: folder of the npm package onnxruntime-web 1.x. None takes the one that the environment variable
            QLEAKY_ONNXRUNTIME_WEB names, or else ``node_modules/onnxruntime-web`` of the current folder or one above it.

    Raises:
        MissingDependencyError: there is none, or it lacks files.
        InputError: it is another package, another major version, or not under the MIT licence.
    """
    package = _package(onnxruntime_web)
    source = shared_folder("export") / "web"
    files = {PAGE: (source / PAGE).read_bytes(), "web/package.json": MODULES}
    files |= {f"web/{name}": (source / name).read_bytes() for name in SCRIPTS}
    files |= {f"web/ort/{name}": _read(package / "dist" / name) for name in RUNTIME}
    return files | {f"web/ort/{name}": _notice(package, name) for name in NOTICES}


def _package(given: str | os.PathLike[str] | None) -> Path:
    """The package's folder, checked."""
    named = given if given is not None else os.environ.get(VARIABLE) or None
    folder = Path(named) if named is not None else _installed()
    if not (folder / "package.json").is_file():
        raise MissingDependencyError(f"{folder} is no npm package: it has no package.json. {_advice()}")
    try:
        found = msgspec.json.decode(read_file(folder / "package.json", "package.json"), type=_Package)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / 'package.json'} is damaged: {error}. {_advice()}") from error
    if found.name != NAME or found.version.partition(".")[0] != MAJOR:
        raise InputError(f"{folder} holds {found.name!r} {found.version!r}; the page is made for {NAME} {MAJOR}.x. {_advice()}")
    if found.license != "MIT":
        raise InputError(
            f"{folder} names the licence {found.license!r}; a bundle carries {NAME} under the MIT licence alone. {_advice()}"
        )
    return folder


def _installed() -> Path:
    here = Path.cwd()
    places = (folder / "node_modules" / NAME for folder in (here, *here.parents))
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise MissingDependencyError(
            f"The page needs {NAME}, and there is no node_modules/{NAME} in {here} or above. {_advice()}"
        )
    return found


def _read(path: Path) -> bytes:
    try:
        return read_file(path, f"part of {NAME}")
    except ArtefactError as error:
        raise MissingDependencyError(f"{error} The page needs it. {_advice()}") from error


def _notice(package: Path, name: str) -> bytes:
    """A licence text: the npm package's own, or else that of the Python package, which is not imported for it."""
    spec = find_spec("onnxruntime")
    installed = (spec.submodule_search_locations if spec else None) or ()
    found = next((folder / name for folder in (package, *map(Path, installed)) if (folder / name).is_file()), None)
    if found is None:
        raise MissingDependencyError(
            f"{name} of onnxruntime is neither in {package} nor with the Python package, and a bundle carries the runtime only "
            f"with its licence. Install the Python package onnxruntime again, or copy the file into {package}."
        )
    return read_file(found, "licence text")


def _advice() -> str:
    return f"Run `npm install {NAME}@{TESTED}` here, or name the package's folder in {VARIABLE}."

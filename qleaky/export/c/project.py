"""The files around the generated code: what builds it, checks it and says what it is, in each way that firmware is built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from qleaky._share import shared_folder
from qleaky._version import VERSION
from qleaky.export.c.interface import CModel
from qleaky.export.c.manifest import FILE, FileEntry, Manifest
from qleaky.export.c.targets import TARGETS
from qleaky.export.c.usage import calls, main_loop
from qleaky.export.c.weights import weights_source

Files = dict[str, bytes]
MADE_BY = f"qleaky {VERSION}"
TEMPLATES = {
    "Makefile": "Makefile.j2",
    "CMakeLists.txt": "CMakeLists.txt.j2",
    "zephyr/module.yml": "module.yml.j2",
    "library.properties": "library.properties.j2",
    "README.md": "README.md.j2",
}
# CMake's own targets (policy CMP0037), and those of Zephyr's and common programs, which a library cannot be called.
CMAKE_TARGETS = frozenset(
    [
        "all",
        "ALL_BUILD",
        "help",
        "install",
        "INSTALL",
        "preinstall",
        "clean",
        "edit_cache",
        "rebuild_cache",
        "test",
        "RUN_TESTS",
        "package",
        "PACKAGE",
        "package_source",
        "ZERO_CHECK",
        "app",
        "zephyr",
    ]
)


def project_files(model: CModel, vectors: str, described: Manifest) -> Files:
    """Every file of the folder by its name, MANIFEST.json among them.

    Args:
        model: the generated code.
        vectors: the text of ``qleaky_vectors.c``.
        described: the manifest, whose ``files`` are still empty.
    """
    files = code_files(model, vectors) | port_files() | _around(model, described)
    entries = {
        name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in sorted(files.items())
    }
    return files | {FILE: msgspec.structs.replace(described, files=entries).encode()}


def code_files(model: CModel, vectors: str) -> Files:
    """What a check compiles: the model, its weights and vectors, and the headers that it includes."""
    runtime = _folder() / "runtime"
    texts = {"qleaky_model.h": model.header, "qleaky_model.c": model.source, "qleaky_vectors.c": vectors}
    files = {name: text.encode() for name, text in texts.items()} | {"qleaky_weights.c": weights_source(model).encode()}
    return files | {name: (runtime / name).read_bytes() for name in model.runtime}


def port_files() -> Files:
    """The harness and what it needs of each machine."""
    ports = _folder() / "ports"
    return {f"ports/{path.relative_to(ports).as_posix()}": path.read_bytes() for path in sorted(_below(ports))}


def _below(folder: Path) -> Iterator[Path]:
    """The plain files below a folder, without what builds leave there."""
    return (path for path in folder.rglob("*") if path.is_file() and path.suffix in (".c", ".h", ".S", ".ld"))


def _around(model: CModel, described: Manifest) -> Files:
    environment, values = _environment(), _values(model, described)
    texts = {name: environment.get_template(template).render(values) for name, template in TEMPLATES.items()}
    texts[f"{model.name}.h"] = environment.get_template("model.h.j2").render(values)
    texts["library.json"] = json.dumps(_platformio(model), indent=1) + "\n"
    return {name: text.encode() for name, text in texts.items()} | {"LICENSE": (_folder() / "LICENSE").read_bytes()}


def _values(model: CModel, described: Manifest) -> dict[str, Any]:
    still = [port for port in model.inputs if port.static]
    return {
        "name": model.name,
        "target": f"{model.name}_model" if model.name in CMAKE_TARGETS else model.name,
        "created_by": MADE_BY,
        "version": VERSION,
        "digest": model.digest,
        "num_steps": model.num_steps,
        "state": described.sizes.state,
        "weights": described.sizes.weights,
        "samples": described.vectors.searched + described.vectors.given,
        "cores": [{"core": core, **msgspec.structs.asdict(entry)} for core, entry in described.expected.items()],
        "static": " and ".join(f"`{port.argument}`" for port in still) + (" does" if len(still) == 1 else " do")
        if still
        else "",
        "one_static": len(still) == 1,
        "calls": calls(model),
        "main_loop": main_loop(model),
        "targets": TARGETS,
        "cores_listed": ", ".join(target.name for target in TARGETS),
        "other_targets": ", ".join(f"`run-{target.name}`" for target in TARGETS if target.name != "cortex-m4"),
    }


def _platformio(model: CModel) -> dict[str, Any]:
    """``library.json``: the ports have a main of their own, and the vectors are for the check alone."""
    return {
        "name": model.name,
        "version": VERSION,
        "description": f"The spiking network {model.name}, as integers in C99 (contract {model.digest[:12]}).",
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",
        "headers": f"{model.name}.h",
        "build": {"srcDir": ".", "includeDir": ".", "srcFilter": ["-<*>", "+<qleaky_model.c>", "+<qleaky_weights.c>"]},
    }


def _folder() -> Path:
    return shared_folder("export") / "c"


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_folder() / "templates"),
        autoescape=False,  # C, make and Markdown, from names that were checked
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

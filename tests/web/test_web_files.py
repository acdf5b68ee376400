"""Which files of onnxruntime-web go into a bundle, and which packages are refused."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from web_bundles import ROOT, WEB

from qleaky.errors import InputError, MissingDependencyError
from qleaky.export import web_files as module
from qleaky.export.web_files import web_files

RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder that looks like the npm package."""
    folder = tmp_path / "node_modules" / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in RUNTIME:
        (folder / "dist" / name).write_text(f"bytes of {name}")
    describe(folder)
    return folder


def describe(folder: Path, **other: str) -> None:
    said = {"name": "onnxruntime-web", "version": "1.30.0", "license": "MIT", "main": "dist/ort.js"} | other
    (folder / "package.json").write_text(json.dumps(said))


def test_a_bundle_gets_the_page_its_scripts_and_the_runtime_with_its_licence(fake: Path) -> None:
    files = web_files(fake)
    assert {name for name in files if not name.startswith("web/")} == {"validate.html"}
    assert files["web/ort/ort.wasm.min.mjs"] == b"bytes of ort.wasm.min.mjs"
    assert {name.rpartition("/")[2] for name in files if name.startswith("web/ort/")} == {
        *RUNTIME,
        "LICENSE",
        "ThirdPartyNotices.txt",
    }
    assert files["web/ort/LICENSE"].startswith(b"MIT License\n\nCopyright (c) Microsoft Corporation")
    assert b"protobuf" in files["web/ort/ThirdPartyNotices.txt"]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,7}", name) for name in files)


def test_every_script_that_another_needs_is_there(fake: Path) -> None:
    files = web_files(fake)
    scripts = {name: data.decode() for name, data in files.items() if re.fullmatch(r"web/[a-z]+\.m?js", name)}
    needed = {
        match
        for text in scripts.values()
        for match in re.findall(r"""(?:from|import\(|URL\()\s*["'](?:\./)?([\w./-]+\.m?js)["']""", text)
    }
    needed |= {src.removeprefix("web/") for src in re.findall(r'src="([^"]+)"', files["validate.html"].decode())}
    assert {f"web/{name}" for name in needed} <= set(files)
    assert {"validator.js", "worker.js", "page.js", "ort/ort.wasm.min.mjs"} <= needed
    reached = {f"web/{name}" for name in needed} | {"web/node.mjs"}
    assert set(scripts) <= reached, "a script that nothing needs"


def test_a_licence_of_the_package_itself_comes_first(fake: Path) -> None:
    (fake / "LICENSE").write_text("its own")
    assert web_files(fake)["web/ort/LICENSE"] == b"its own"


def test_the_package_is_found_in_the_folder_or_above_it(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QLEAKY_ONNXRUNTIME_WEB", raising=False)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert web_files() == web_files(fake)


def test_the_environment_variable_names_the_package(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLEAKY_ONNXRUNTIME_WEB", str(fake))
    monkeypatch.chdir("/")
    assert web_files() == web_files(fake)


def test_a_missing_package_is_an_error_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QLEAKY_ONNXRUNTIME_WEB", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        MissingDependencyError, match=r"no node_modules/onnxruntime-web in .* or above\. Run `npm install onnxruntime-web@1"
    ):
        web_files()
    with pytest.raises(MissingDependencyError, match=r"is no npm package: it has no package\.json\. Run `npm install"):
        web_files(tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"version": "2.0.0"}, r"holds 'onnxruntime-web' '2\.0\.0'; the page is made for onnxruntime-web 1\.x\. Run"),
        ({"name": "onnxruntime-node"}, r"holds 'onnxruntime-node' '1\.30\.0'; the page is made for"),
        (
            {"license": "BUSL-1.1"},
            r"names the licence 'BUSL-1\.1'; a bundle carries onnxruntime-web under the MIT licence alone\. Run",
        ),
        ({"license": ""}, r"names the licence ''"),
    ],
)
def test_another_package_version_or_licence_is_refused(fake: Path, other: dict[str, str], message: str) -> None:
    describe(fake, **other)
    with pytest.raises(InputError, match=message):
        web_files(fake)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 3}', "\xff"])
def test_a_damaged_package_is_refused(fake: Path, text: str) -> None:
    (fake / "package.json").write_text(text, "latin-1")
    with pytest.raises(InputError, match=r"package\.json is damaged: .* Run `npm install"):
        web_files(fake)


@pytest.mark.parametrize("name", RUNTIME)
def test_a_package_that_lacks_a_file_is_refused(fake: Path, name: str) -> None:
    (fake / "dist" / name).unlink()
    with pytest.raises(
        MissingDependencyError, match=rf"Cannot read part of onnxruntime-web .*{re.escape(name)}: .* The page needs it\. Run"
    ):
        web_files(fake)


def test_no_licence_text_no_bundle(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        MissingDependencyError, match=r"LICENSE of onnxruntime is neither in .* carries the runtime only with its licence"
    ):
        web_files(fake)


def test_the_version_that_was_tested_is_the_one_that_errors_advise() -> None:
    assert json.loads((WEB / "package.json").read_text())["devDependencies"]["onnxruntime-web"] == module.TESTED


def test_packages_of_npm_are_never_beside_what_the_wheel_ships() -> None:
    """The wheel copies the folder export/ as it is."""
    assert not list((ROOT / "export").rglob("node_modules"))
    if (ROOT / ".git").exists():
        ignored = subprocess.run(["git", "check-ignore", "node_modules"], cwd=ROOT, capture_output=True, check=False)
        assert ignored.returncode == 0

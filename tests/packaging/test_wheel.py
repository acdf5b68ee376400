"""The wheel holds what it should, and runs on its own, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def succeed(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run([str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from an sdist that was built from a copy of the tracked files."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    for name in succeed("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "copy" / name)
    succeed(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "copy", cwd=folder)
    assert len(list((folder / "dist").glob("*.tar.gz"))) == 1
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(succeed("git", "ls-files", "qleaky", cwd=ROOT).split()) <= names
    wanted = (
        "py.typed",
        "cli/__init__.py",
        "datasets/japanese_vowels.npz",
        "datasets/digits.npz",
        "_data/export/README.md",
        "_data/export/web/validate.html",
        "_data/export/c/boards.toml",
        "_data/export/c/ports/check.c",
        "_data/export/c/templates/Makefile.j2",
        "_data/models/README.md",
    )
    assert {f"qleaky/{name}" for name in wanted} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"qleaky"}
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)


def test_the_wheel_names_its_licence_its_notice_and_its_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = {name.split("/", 1)[1]: name for name in archive.namelist() if ".dist-info/" in name}
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= set(names)
    assert "qleaky-export = qleaky.cli:main" in archive.read(names["entry_points.txt"]).decode()
    metadata = archive.read(names["METADATA"]).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment of its own; what qleaky depends on comes from the running one, after it on the path."""
    elsewhere = tmp_path_factory.mktemp("installed")
    succeed(sys.executable, "-m", "venv", "--without-pip", elsewhere / "venv", cwd=elsewhere)
    python = elsewhere / "venv" / "bin" / "python"
    site = Path(succeed(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=elsewhere).strip())
    options = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
    succeed(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=elsewhere)
    (site / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_installed_wheel_runs_the_demo_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    site = Path(succeed(installed, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    where = (
        "import qleaky, qleaky._share as s; print(qleaky.__file__); print(s.shared_folder('export'), s.shared_folder('models'))"
    )
    package, folders = succeed(installed, "-c", where, cwd=tmp_path).splitlines()
    assert Path(package) == site / "qleaky" / "__init__.py"
    assert folders == f"{site / 'qleaky/_data/export'} {site / 'qleaky/_data/models'}"
    out = succeed(installed.with_name("qleaky-export"), "demo", "--epochs", 2, "-o", "demo", cwd=tmp_path)
    assert "proved: artefact and torch network are bit-exact to the contract" in out
    assert len(list((tmp_path / "demo").iterdir())) == 5
    assert (tmp_path / "demo" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_installed_wheel_exports_every_trained_network_by_its_name(installed: Path, tmp_path: Path) -> None:
    names = succeed(installed, "-c", "import qleaky; print(*qleaky.models.names())", cwd=tmp_path).split()
    assert names == ["digits", "fashion-mnist-conv", "fashion-mnist-dense", "fsdd", "japanese-vowels"]
    command = installed.with_name("qleaky-export")
    for name in names:
        succeed(command, "onnx", name, "-o", f"{name}.onnx", cwd=tmp_path)
        out = succeed(command, "verify", f"{name}.onnx", "--network", f"{name}.qleaky", cwd=tmp_path)
        assert out.startswith("proved: the artefact is bit-exact to the contract")

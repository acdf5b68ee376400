"""The kernel is built once into a private folder, and what others could have put there is never loaded."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qleaky.kernels import build as building
from qleaky.kernels import library
from qleaky.kernels.build import UnavailableError, build, cache_folder, private_folder

needs_compiler = pytest.mark.skipif(
    os.name != "posix" or not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


@needs_compiler
def test_the_second_time_nothing_is_compiled(tmp_path: Path) -> None:
    first = build(tmp_path / "cache")
    written = first.path.stat().st_mtime_ns
    assert build(tmp_path / "cache") == first
    assert first.path.stat().st_mtime_ns == written
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.path.name]


@needs_compiler
def test_the_folder_is_private(tmp_path: Path) -> None:
    build(tmp_path / "cache")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


@needs_compiler
@pytest.mark.parametrize("damage", [b"", b"\x7fELF and nothing else", None])
def test_a_truncated_or_foreign_library_is_built_anew(tmp_path: Path, damage: bytes | None) -> None:
    path = build(tmp_path).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] if damage is None else damage)
    again = build(tmp_path)
    assert again.path.read_bytes() == whole
    assert library.load(tmp_path).backend.name == "c"


@needs_compiler
def test_another_source_or_compiler_gives_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(tmp_path)
    monkeypatch.setenv("CC", f"{building._compiler()[0]} -DANYTHING")
    second = build(tmp_path)
    source = tmp_path / "lif.c"
    source.write_bytes(building.SOURCE.read_bytes() + b"/* changed */\n")
    monkeypatch.setattr(building, "SOURCE", source)
    assert len({first.path, second.path, build(tmp_path).path}) == 3


@needs_compiler
def test_processes_that_build_at_once_get_one_whole_file(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from qleaky.kernels.build import build; print(build(Path({str(tmp_path)!r})).path)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate(timeout=120)[0].strip() for process in running}
    assert all(process.returncode == 0 for process in running)
    assert [str(path) for path in tmp_path.iterdir()] == sorted(printed)


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o770)
    with pytest.raises(UnavailableError, match="belongs to another user or is writable by others; make it private"):
        private_folder(folder)


def test_a_link_to_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "cache").symlink_to(tmp_path / "open")
    with pytest.raises(UnavailableError, match="writable by others"):
        private_folder(tmp_path / "cache")


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_folder(tmp_path / "cache")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnavailableError, match="belongs to another user"):
        private_folder(tmp_path / "cache")


def test_a_folder_that_others_could_replace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    private_folder(tmp_path / "open" / "cache")
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UnavailableError, match="other users could replace the cache folder"):
        private_folder(tmp_path / "open" / "cache")


def test_the_cache_follows_the_base_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "qleaky"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "qleaky"


# What fails becomes the reason of the backend


def test_without_a_compiler_torch_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert str(library.load(tmp_path).backend) == (
        "Sequences are computed by torch operations: there is no C compiler: no-such-compiler was not found."
    )


@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-ffp-contract=fast"])
def test_a_compiler_that_is_told_to_be_inexact_is_not_asked(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"gcc {flag}")
    assert f"CC asks for {flag}, which changes what floating point gives" in library.load(tmp_path).backend.reason
    assert not list(tmp_path.rglob("*.so"))


def test_a_compiler_that_is_no_command_line_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "'gcc")
    assert 'CC="\'gcc" is no command line: No closing quotation' in library.load(tmp_path).backend.reason


def test_a_compiler_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "broken-cc"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo broken 1.0 && exit 0\necho no room >&2\nexit 1\n')
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    assert "broken-cc failed: no room" in library.load(tmp_path / "cache").backend.reason
    assert list((tmp_path / "cache").iterdir()) == []


@needs_compiler
def test_without_a_writable_home_torch_computes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "could not be written to its cache" in library.load(tmp_path / "file" / "cache").backend.reason


@needs_compiler
def test_on_other_systems_torch_computes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(building.os, "name", "nt")
    with pytest.raises(UnavailableError, match="compiled on POSIX systems only"):
        build(None)


@needs_compiler
def test_a_kernel_that_differs_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "lif.c"
    wrong.write_text(building.SOURCE.read_text().replace("kept * beta[j] + x[j]", "kept * beta[j] - x[j]"))
    monkeypatch.setattr(building, "SOURCE", wrong)
    found = library.load(tmp_path / "cache")
    assert found.kernel is None
    assert "differs from torch in its self-test (float, subtract)" in found.backend.reason


@needs_compiler
def test_the_build_takes_under_two_seconds_of_work(tmp_path: Path) -> None:
    before = os.times()
    build(tmp_path)
    after = os.times()
    assert after.children_user - before.children_user < 2


def test_importing_builds_nothing(tmp_path: Path) -> None:
    code = "import qleaky.neuron, qleaky; qleaky.Leaky(0.5)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []

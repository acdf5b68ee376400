"""Writing the folder: whole or not at all, nothing of others touched, and no manifest leads outside."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c_folders import files, manifest

from qleaky.errors import ArtefactError, InputError, OutputError
from qleaky.export.c.folder import write_folder
from qleaky.export.c.manifest import FILE, Manifest


def held(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads((folder / FILE).read_bytes())
    change(values)
    (folder / FILE).write_text(json.dumps(values))


def test_a_new_folder_holds_the_files_and_nothing_else(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", files({"a.c": b"1", "ports/b.c": b"2"}))
    assert held(tmp_path / "out") == files({"a.c": b"1", "ports/b.c": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("name", "why"), [("x" * 300, "File name too long"), ("a\0b", "embedded null")])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(OutputError, match=f"Cannot make the folder .*{why}.* Choose another name"):
        write_folder(tmp_path / name, files({"a.c": b"1"}))


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    write_folder(tmp_path, files({"a.c": b"1"}))
    assert held(tmp_path) == files({"a.c": b"1"})


def test_a_second_export_replaces_its_files_removes_those_it_no_longer_makes_and_keeps_the_users(tmp_path: Path) -> None:
    write_folder(tmp_path, files({"a.c": b"1", "old.c": b"2", "ports/gone/c.ld": b"3", "ports/b.c": b"4"}))
    (tmp_path / "mine.c").write_bytes(b"5")
    (tmp_path / "ports" / "mine.c").write_bytes(b"6")
    write_folder(tmp_path, files({"a.c": b"7", "ports/b.c": b"4", "new.c": b"8"}))
    kept = {"mine.c": b"5", "ports/mine.c": b"6"}
    assert held(tmp_path) == files({"a.c": b"7", "ports/b.c": b"4", "new.c": b"8"}) | kept
    assert not (tmp_path / "ports" / "gone").exists()


def test_a_file_that_was_changed_since_is_not_removed(tmp_path: Path) -> None:
    write_folder(tmp_path, files({"a.c": b"1", "old.c": b"2"}))
    (tmp_path / "old.c").write_bytes(b"my changes")
    write_folder(tmp_path, files({"a.c": b"1"}))
    assert held(tmp_path)["old.c"] == b"my changes"


@pytest.mark.parametrize("name", ["a.c", FILE.lower()])
def test_a_folder_with_files_of_our_names_and_no_manifest_is_refused_with_the_list(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    wanted = {name: b"1", "ports/b.c": b"2"}
    with pytest.raises(
        InputError, match=rf"holds {name}, which qleaky did not write and would replace\. Choose an empty folder"
    ):
        write_folder(tmp_path, files(wanted))
    assert held(tmp_path) == {name: b"mine"}


def test_of_a_folder_written_before_files_that_came_since_are_not_replaced(tmp_path: Path) -> None:
    write_folder(tmp_path, files({"a.c": b"1"}))
    (tmp_path / "b.c").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holds b\.c, which qleaky did not write"):
        write_folder(tmp_path, files({"a.c": b"1", "b.c": b"2"}))
    assert held(tmp_path) == files({"a.c": b"1"}) | {"b.c": b"mine"}


@pytest.mark.parametrize(
    "name", ["../victim", "/victim", "ports/../../victim", "a\\b", ".git/config", "a//b", "con\n", "", "a" * 121]
)
def test_a_manifest_that_names_a_path_outside_is_refused_and_nothing_is_removed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    write_folder(folder, files({"a.c": b"1"}))
    (tmp_path / "victim").write_bytes(b"mine")
    entry = {"sha256": "0" * 64, "bytes": 4}
    changed(folder, lambda values: values["files"].update({name: entry}))
    before = held(tmp_path)
    with pytest.raises(ArtefactError, match=r"MANIFEST\.json is damaged"):
        write_folder(folder, files({"a.c": b"2"}))
    assert held(tmp_path) == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "is damaged"),
        (b"{}", "is no qleaky-c"),
        (b'{"kind": "qleaky-bundle"}', "is no qleaky-c"),
        (b'{"kind": "qleaky-c", "version": 2}', "has version 2; this qleaky reads version 1"),
        (b'{"kind": "qleaky-c", "kind": "qleaky-c"}', "a key stands twice"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(ArtefactError, match=message):
        write_folder(tmp_path, files({"a.c": b"1"}))
    assert held(tmp_path) == {FILE: data}


def test_a_link_below_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    write_folder(folder, files({"a.c": b"1", "ports/b.c": b"2"}))
    elsewhere.mkdir()
    (elsewhere / "b.c").write_bytes(b"2")
    (folder / "ports" / "b.c").unlink()
    (folder / "ports").rmdir()
    (folder / "ports").symlink_to(elsewhere)
    for wanted in ({"a.c": b"1"}, {"a.c": b"1", "ports/b.c": b"3"}):
        with pytest.raises(InputError, match=r"ports is no folder of its own"):
            write_folder(folder, files(wanted))
    assert (elsewhere / "b.c").read_bytes() == b"2"


def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_folder(folder, files({"a.c": b"1"}))
    (tmp_path / "victim").write_bytes(b"mine")
    (folder / "a.c").unlink()
    (folder / "a.c").symlink_to(tmp_path / "victim")
    write_folder(folder, files({"a.c": b"2"}))
    assert held(folder) == files({"a.c": b"2"})
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_file_in_the_place_of_the_folder_and_a_folder_in_the_place_of_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(InputError, match="file is no folder; the C goes into a folder"):
        write_folder(tmp_path / "file", files({"a.c": b"1"}))
    write_folder(tmp_path / "out", files({"a.c": b"1"}))
    (tmp_path / "out" / "a.c").unlink()
    (tmp_path / "out" / "a.c").mkdir()
    with pytest.raises(InputError, match=r"a\.c is a folder, and a file of this name is written"):
        write_folder(tmp_path / "out", files({"a.c": b"1"}))


def test_a_folder_whose_parent_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"Cannot make the folder .*: No such file or directory"):
        write_folder(tmp_path / "no" / "out", files({"a.c": b"1"}))


def test_a_failure_while_writing_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    write_folder(tmp_path / "old", files({"a.c": b"1"}))
    monkeypatch.setattr(os, "fsync", full)
    for folder in ("old", "new"):
        with pytest.raises(
            OutputError, match=r"Cannot write the folder .*: No space left on device\. Choose one .* bytes free"
        ):
            write_folder(tmp_path / folder, files({"a.c": b"2", "ports/b.c": b"3"}))
    assert held(tmp_path) == {f"old/{name}": data for name, data in files({"a.c": b"1"}).items()}
    assert not (tmp_path / "new").exists()


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    found = manifest({"a.c": b"1"})
    assert Manifest.decode(found.encode()) == found

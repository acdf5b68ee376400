"""Files of a user's folder: found, checked, and what is wrong with them said."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from qleaky.datasets import load, names
from qleaky.datasets._sources import Source, arrays, packaged
from qleaky.errors import ArtefactError, InputError

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PLAIN = Source("set/data.bin", SHA256, "Download it from example.org (CC BY 4.0).")
PACKED = Source("set/data.gz", SHA256, "Download it from example.org (CC BY 4.0).")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("QLEAKY_DATA", raising=False)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.bin").write_bytes(CONTENT)
    (tmp_path / "set" / "data.gz").write_bytes(gzip.compress(CONTENT))
    return tmp_path


@pytest.mark.parametrize("source", [PLAIN, PACKED])
def test_the_folder_is_the_argument_or_the_environment_variable(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source.read(folder) == CONTENT
    monkeypatch.setenv("QLEAKY_DATA", str(folder))
    assert source.read(None) == CONTENT


def test_the_same_content_compressed_otherwise_is_the_same(folder: Path) -> None:
    (folder / "set" / "data.gz").write_bytes(gzip.compress(CONTENT, 1, mtime=7))
    assert PACKED.read(folder) == CONTENT


def test_no_folder_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"set/data\.bin is read from a folder of yours.*--data DIR.*QLEAKY_DATA"):
        PLAIN.read(None)
    with pytest.raises(InputError, match=r"folder= names .*nowhere, which is no folder"):
        PLAIN.read(folder / "nowhere")
    monkeypatch.setenv("QLEAKY_DATA", "nowhere")
    with pytest.raises(InputError, match=r"the environment variable QLEAKY_DATA names nowhere, which is no folder"):
        PLAIN.read(None)


def test_a_missing_file_is_named_with_where_to_get_it(folder: Path) -> None:
    (folder / "set" / "data.bin").unlink()
    with pytest.raises(ArtefactError, match=r"set/data\.bin is missing: there is no file .*Download it from example\.org \(CC"):
        PLAIN.read(folder)


@pytest.mark.parametrize("source", [PLAIN, PACKED])
def test_one_changed_bit_is_seen(source: Source, folder: Path) -> None:
    changed = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    (folder / source.path).write_bytes(gzip.compress(changed) if source is PACKED else changed)
    found = hashlib.sha256(changed).hexdigest()
    with pytest.raises(
        ArtefactError, match=f"is damaged or another file: .* is {found}, expected {SHA256}. Get it again: Down"
    ):
        source.read(folder)


def test_a_truncated_download_is_seen(folder: Path) -> None:
    packed = (folder / PACKED.path).read_bytes()
    for size in (0, 5, len(packed) // 2, len(packed) - 1):
        (folder / PACKED.path).write_bytes(packed[:size])
        with pytest.raises(ArtefactError, match=r"is no gzip file, or is truncated|is damaged or another file"):
            PACKED.read(folder)
    (folder / PLAIN.path).write_bytes(CONTENT[:-1])
    with pytest.raises(ArtefactError, match="is damaged or another file"):
        PLAIN.read(folder)


def test_a_page_in_place_of_the_file_is_seen(folder: Path) -> None:
    (folder / PACKED.path).write_bytes(b"<html>not found</html>")
    with pytest.raises(ArtefactError, match="is no gzip file"):
        PACKED.read(folder)


def test_arrays_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ArtefactError, match=r"objects is no \.npz file of plain arrays"):
        arrays((tmp_path / "objects.npz").read_bytes(), "objects")
    with pytest.raises(ArtefactError, match=r"garbage is no \.npz file of plain arrays"):
        arrays(b"PK\x03\x04 nothing", "garbage")


def test_a_damaged_file_of_the_package_says_to_install_again() -> None:
    with pytest.raises(ArtefactError, match=r"digits\.npz in the qleaky package is damaged.*Install qleaky again"):
        packaged("digits.npz", "0" * 64)


def test_an_unknown_data_set_is_told_those_there_are() -> None:
    with pytest.raises(InputError, match=r"There is no data set 'cifar'\. Choose one of digits, japanese-vowels, fsdd, mnist"):
        load("cifar")
    assert {"digits", "japanese-vowels", "fsdd", "mnist", "fashion-mnist"} <= set(names())

"""Tiny files in the published formats of SHD, N-MNIST and DVS-Gesture, through tonic."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qleaky import QFormat
from qleaky.datasets import dvs_gesture, load, n_mnist, shd
from qleaky.errors import ArtefactError, InputError, MissingDependencyError


@pytest.fixture
def tonic(monkeypatch: pytest.MonkeyPatch) -> Any:
    """tonic, content with a few files where it would want 100 or 10,000."""
    found = pytest.importorskip("tonic", reason="reads event files with tonic, which `pip install qleaky[events]` brings")
    wanted = found.dataset.Dataset._folder_contains_at_least_n_files_of_type
    few = lambda self, count, kind: wanted(self, 1, kind)  # noqa: E731
    monkeypatch.setattr(found.dataset.Dataset, "_folder_contains_at_least_n_files_of_type", few)
    return found


def archives(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def write_shd(root: Path) -> None:
    h5py = pytest.importorskip("h5py")
    folder = archives(root / "SHD", "shd_train.h5.zip", "shd_test.h5.zip")
    recording = ([0.0, 0.0135, 0.0145, 1.39, 1.401], [3, 699, 3, 0, 5], 19)
    for split, parts in {"train": [recording, ([0.5], [10], 0)], "test": [([0.1], [7], 4)]}.items():
        with h5py.File(folder / f"shd_{split}.h5", "w") as file:
            for name, kind, column in (("times", np.float16, 0), ("units", np.uint16, 1)):
                stored = file.create_dataset(f"spikes/{name}", (len(parts),), h5py.vlen_dtype(kind))
                for index, part in enumerate(parts):
                    stored[index] = np.array(part[column], kind)
            file["labels"] = np.array([part[2] for part in parts], np.uint16)
            file["extra/keys"], file["extra/speaker"] = np.array([b"zero"] * 20), np.zeros(len(parts), np.uint16)


def atis(events: list[tuple[int, int, int, int]]) -> bytes:
    """N-MNIST's 40 bits an event: x, y, polarity and 23 bits of microseconds."""
    return b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for x, y, p, t in events)


def write_n_mnist(root: Path) -> None:
    folder = archives(root / "NMNIST", "train.zip", "test.zip")
    files = {
        "Train/0/00002.bin": [(33, 0, 1, 0), (33, 0, 1, 5), (2, 4, 0, 9_999), (2, 4, 0, 10_000), (1, 1, 1, 300_000)],
        "Train/7/00001.bin": [(5, 6, 0, 299_999)],
        "Test/3/00009.bin": [(0, 33, 1, 150_000)],
    }
    for name, events in files.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(atis(events))


def write_dvs_gesture(root: Path) -> None:
    folder = archives(root / "DVSGesture", "ibmGestureTrain.tar.gz", "ibmGestureTest.tar.gz")
    for name, events in {
        "ibmGestureTrain/user02_led/10.npy": [(127, 3, 1, 50), (127, 3, 1, 299), (0, 0, 0, 300), (0, 0, 0, 6050)],
        "ibmGestureTrain/user02_led/4.npy": [(1, 2, 0, 7)],
        "ibmGestureTest/user24_lab/0.npy": [(1, 2, 1, 7)],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, np.array(events, np.int64))


def places(codes: Any) -> set[tuple[int, ...]]:
    """Where codes are not zero."""
    return {tuple(place) for place in np.argwhere(codes).tolist()}


def test_shd_is_binned_from_the_start_of_the_recording(tonic: Any, tmp_path: Path) -> None:
    write_shd(tmp_path)
    data = shd(tmp_path)
    assert (data.train_codes.shape, data.test_codes.shape) == ((100, 2, 700), (100, 1, 700))
    assert (data.format, data.classes, data.num_steps) == (QFormat(1, 0, signed=False), 20, 100)
    assert places(data.train_codes[:, 0]) == {(0, 3), (0, 699), (1, 3), (99, 0)}
    assert places(data.train_codes[:, 1]) == {(35, 10)}
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([19, 0], [4])


def test_n_mnist_counts_events_of_a_pixel_and_a_polarity(tonic: Any, tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    data = n_mnist(tmp_path, bits=2)
    assert (data.train_codes.shape, data.classes) == ((30, 2, 2, 34, 34), 10)
    assert places(data.train_codes[:, 0]) == {(0, 1, 0, 33), (0, 0, 4, 2), (1, 0, 4, 2)}
    assert data.train_codes[0, 0, 1, 0, 33] == 2
    assert places(data.train_codes[:, 1]) == {(29, 0, 6, 5)}
    assert places(data.test_codes[:, 0]) == {(15, 1, 33, 0)}
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 7], [3])
    assert n_mnist(tmp_path).train_codes.max() == 1


def test_dvs_gesture_is_binned_from_its_first_event_in_the_order_of_paths(tonic: Any, tmp_path: Path) -> None:
    write_dvs_gesture(tmp_path)
    data = load("dvs-gesture", tmp_path)
    assert (data.train_codes.shape, data.classes) == ((24, 2, 2, 128, 128), 11)
    assert places(data.train_codes[:, 0]) == {(0, 1, 3, 127), (1, 0, 0, 0)}
    assert places(data.train_codes[:, 1]) == {(0, 0, 2, 1)}
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([10, 4], [0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shd", r"shd_train\.h5\.zip .*https://zenkelab\.org.*qleaky downloads nothing; tonic\.datasets\.SHD"),
        ("n-mnist", r"train\.zip .*https://data\.mendeley\.com"),
        ("dvs-gesture", r"ibmGestureTrain\.tar\.gz .*https://figshare\.com"),
    ],
)
def test_nothing_is_downloaded(name: str, expected: str, tonic: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=rf"{name} is missing or incomplete in .*{expected}"):
        load(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tonic: Any, tmp_path: Path) -> None:
    write_shd(tmp_path)
    write_n_mnist(tmp_path)
    write_dvs_gesture(tmp_path)
    cut = {
        "shd": (tmp_path / "SHD" / "shd_test.h5", r"shd in .* cannot be read"),
        "n-mnist": (tmp_path / "NMNIST" / "Train" / "7" / "00001.bin", r"training sample .*7/00001\.bin is damaged"),
        "dvs-gesture": (
            tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_lab" / "0.npy",
            r"test sample .*0\.npy is damaged",
        ),
    }
    for name, (path, message) in cut.items():
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(ArtefactError, match=message):
            load(name, tmp_path)


def test_a_pixel_that_the_sensor_has_not_is_damage(tonic: Any, tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    (tmp_path / "NMNIST" / "Test" / "3" / "00009.bin").write_bytes(atis([(34, 0, 0, 0)]))
    with pytest.raises(ArtefactError, match=r"test sample .*3/00009\.bin has an event at 34, outside of the sensor"):
        n_mnist(tmp_path)


def test_without_tonic_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    monkeypatch.setitem(sys.modules, "tonic", None)
    with pytest.raises(MissingDependencyError, match=r"'shd' is read by the package tonic \(GPL-3\.0\).*qleaky\[events\]"):
        shd(tmp_path)


def test_numbers_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bits=9"):
        shd(tmp_path, bits=9)
    with pytest.raises(InputError, match="num_steps=0"):
        dvs_gesture(tmp_path, num_steps=0)

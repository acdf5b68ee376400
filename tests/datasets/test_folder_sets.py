"""The sets that are read from a folder: what is in them, and damaged copies."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from qleaky import QFormat
from qleaky.datasets import fsdd, load
from qleaky.errors import ArtefactError

FILES = {
    "fsdd": ["fsdd_logmel_u8.npz"],
    "mnist": [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")],
}
FILES["fashion-mnist"] = FILES["mnist"]


def test_fsdd_is_the_official_split_time_first(shared: Path) -> None:
    data = fsdd(shared / "data")
    assert (data.train_codes.shape, data.test_codes.shape) == ((40, 2700, 32), (40, 300, 32))
    assert (data.format, data.time, data.num_steps, data.classes) == (QFormat(8, 6, False, 128), "sequence", 40, 10)
    assert np.bincount(data.test_labels).tolist() == [30] * 10
    with np.load(shared / "data" / "fsdd" / "fsdd_logmel_u8.npz") as raw:
        first = int(np.flatnonzero(raw["index"] < 5)[17])
        assert np.array_equal(data.test_codes[:, 17], raw["x"][first])
        assert data.test_labels[17] == raw["digit"][first]
    assert data.test_lengths is not None
    padding = np.arange(40)[:, None] >= data.test_lengths
    assert (data.test_codes[padding] == 0).all()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_mnist_family_is_the_official_split(name: str, shared: Path) -> None:
    data = load(name, shared / "data")
    assert (data.train_codes.shape, data.test_codes.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert (data.format, data.time, data.num_steps, data.classes) == (QFormat(8, 8, signed=False), "static", None, 10)
    raw = gzip.decompress((shared / "data" / name / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert data.test_codes[-1].tobytes() == raw[-784:]
    counts = np.bincount(data.test_labels).tolist()
    assert counts == ([1000] * 10 if name == "fashion-mnist" else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
def test_every_file_is_checked(name: str, file: str, shared: Path, tmp_path: Path) -> None:
    """A data folder in which one byte of one file is another, then one in which the file is missing."""
    folder = tmp_path / name
    folder.mkdir()
    for other in FILES[name]:
        (folder / other).symlink_to((shared / "data" / name / other).resolve())
    (folder / file).unlink()
    with pytest.raises(ArtefactError, match=rf"{name}/{file} is missing: .*(github\.com|yann\.lecun\.com)"):
        load(name, tmp_path)
    shutil.copy(shared / "data" / name / file, folder / file)
    (folder / file).chmod(0o644)
    with (folder / file).open("r+b") as damaged:
        damaged.seek(-9, 2)
        byte = damaged.read(1)
        damaged.seek(-9, 2)
        damaged.write(bytes([byte[0] ^ 255]))
    with pytest.raises(ArtefactError, match=rf"{file} is (damaged|no gzip file|no \.npz file)"):
        load(name, tmp_path)

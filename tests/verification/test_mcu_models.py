"""The trained networks that ship, on every target, and recorded speech on two: no digest differs."""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcu_tools import need_package, need_tools
from tiny_c_models import write_folder

from qleaky import IntegerNetwork
from qleaky.datasets import fsdd
from qleaky.export.c.model import c_model
from qleaky.model_reference import HowToLower, load_model
from qleaky.models import shipped
from qleaky.verification.mcu.checking import Emulator, Folder
from qleaky.verification.mcu.golden_runs import golden_runs

MODELS = ("digits", "japanese-vowels", "fsdd", "fashion-mnist-dense", "fashion-mnist-conv")
TARGETS = ("host", "cortex-m0", "cortex-m4", "cortex-m33", "cortex-m55", "riscv32")
LARGEST_STACK = 1024


@functools.cache
def network(model: str) -> IntegerNetwork:
    found = load_model(model, HowToLower())
    assert isinstance(found, IntegerNetwork)
    return found


@dataclass(frozen=True)
class Folders:
    """Each model's folder, exported once."""

    root: Path

    @functools.cache  # noqa: B019 - as long as the tests of this module
    def of(self, model: str, dsp: bool = False) -> Folder:
        directory = self.root / f"{model}{'-dsp' * dsp}"
        net = network(model)
        return Folder.open(write_folder(directory, net, c_model(net, dsp=dsp)), net)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("models"))


def check(folder: Folder, target: str, emulator: Emulator = "auto") -> Any:
    report = folder.check(target, emulator=emulator)
    assert (report.verdict, report.mismatches, report.reasons) == ("measured", 0, ()), str(report)
    net = folder.model
    digests = net.num_steps * (len(net.tensors) + len(net.spikes)) + len(net.readouts)
    assert report.compared == folder.golden.samples * digests
    return report


def test_these_are_all_models_that_ship() -> None:
    assert set(MODELS) == set(shipped.names())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", MODELS)
def test_a_trained_network_computes_what_the_reference_does(folders: Folders, model: str, target: str) -> None:
    need_tools(target)
    report = check(folders.of(model), target)
    if target != "host":
        assert report.state_size == folders.of(model).model.state_size
        assert 0 < report.stack < LARGEST_STACK
        assert report.instructions > 0


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m33", "cortex-m55"])
def test_dsp_instructions_compute_the_same(folders: Folders, target: str) -> None:
    need_tools(target)
    check(folders.of("fashion-mnist-dense", dsp=True), target)


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m4", "riscv32"])
def test_unicorn_computes_the_same(folders: Folders, target: str) -> None:
    need_tools(target)
    need_package("unicorn")
    unicorn, qemu = (check(folders.of("digits"), target, emulator) for emulator in ("unicorn", "qemu"))
    assert abs(unicorn.instructions - qemu.instructions) < 40
    assert unicorn.stack == qemu.stack


@pytest.mark.parametrize("target", ["cortex-m4", "riscv32"])
def test_recorded_speech(shared: Path, tmp_path: Path, target: str) -> None:
    """Test recordings of all ten digits, 40 steps of log-mel bytes each; the class that comes out is compared too."""
    need_tools(target)
    data = fsdd(shared / "data")
    chosen = np.concatenate([np.flatnonzero(data.test_labels == digit)[:3] for digit in range(10)])
    net = network("fsdd")
    golden = golden_runs(net, data.test_codes[:, chosen], samples=0)
    folder = Folder.open(write_folder(tmp_path / "fsdd", net, c_model(net), golden), net)
    np.testing.assert_array_equal(folder.golden.codes["input"], data.test_codes[:, chosen])
    assert check(folder, target).samples == 30


def changed(folder: Folder, into: Path, file: str, change: Any) -> Folder:
    """A copy of a folder with one file changed."""
    shutil.copytree(folder.directory, into)
    text = (into / file).read_text()
    after = change(text)
    assert after != text
    (into / file).write_text(after)
    return Folder.open(into, network("digits"))


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_one_wrong_weight_of_a_trained_network_differs(folders: Folders, tmp_path: Path, target: str) -> None:
    need_tools(target)

    def change(text: str) -> str:
        """The largest array, in its middle: a number of one digit more."""
        start = max(text.split("{")[1:], key=len)
        numbers = start.split(",")
        middle = len(numbers) // 2
        numbers[middle] = f" ({numbers[middle].strip()}) ^ 1"
        return text.replace(start, ",".join(numbers))

    report = changed(folders.of("digits"), tmp_path / "wrong", "qleaky_weights.c", change).check(target)
    assert report.verdict == "differs"
    assert report.first_divergence is not None

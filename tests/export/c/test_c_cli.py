"""``qleaky-export c`` as users meet it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
from mcu_tools import need_package

from qleaky import IntegerNetwork
from qleaky.c_export import CExport
from qleaky.cli._c import _print_estimate
from qleaky.export.c.boards import Board
from qleaky.export.c.manifest import FILE, Manifest

SCRIPT = Path(sys.executable).with_name("qleaky-export")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def call(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=ENVIRONMENT)


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    handmade.network().save(tmp_path / "net.qleaky")
    return tmp_path / "net.qleaky"


def test_a_network_that_ships_becomes_a_folder_with_its_contract_beside_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "given.npz", inputs=np.zeros((2, 64), np.uint8))
    ran = call(
        "c", "digits", "-o", f"{tmp_path / 'out'}/", "--name", "seen", "--inputs", tmp_path / "given.npz", "--samples", 3
    )
    assert ran.returncode == 0, ran.stderr
    found = Manifest.decode((tmp_path / "out" / FILE).read_bytes())
    assert (found.name, found.vectors.searched, found.vectors.given) == ("seen", 3, 2)
    assert IntegerNetwork.load(tmp_path / "out.qleaky").digest == found.network.digest
    assert "The contract stays with you." in ran.stdout
    assert not list((tmp_path / "out").rglob("*.qleaky"))
    again = call("verify", tmp_path / "out")
    assert again.returncode == 3, again.stderr  # measured


def test_a_reference_models_name_may_name_the_folder_too_and_the_folder_is_its_own_artefact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time there is a folder of the model's name
        ran = call("c", "digits", "-o", "digits", "--name", "digits", "--samples", 1)
        assert ran.returncode == 0, ran.stderr
    monkeypatch.chdir(tmp_path / "digits")
    assert call("verify", ".").returncode == 3  # measured
    assert "nowhere: there is no such file or folder, and there is no nowhere.qleaky" in call("verify", "nowhere").stderr


def test_an_estimate_is_printed_for_each_core_and_nothing_is_written(contract: Path) -> None:
    before = sorted(contract.parent.iterdir())
    ran = call("c", contract, "--estimate")
    assert ran.returncode == 0, ran.stderr
    for core in ("cortex-m0", "cortex-m4", "cortex-m4+dsp", "cortex-m33", "cortex-m55", "riscv32"):
        assert f" {core} " in ran.stdout
    assert sorted(contract.parent.iterdir()) == before


def test_an_estimate_warns_of_boards_that_cannot_hold_it() -> None:
    ran = call("c", "fashion-mnist-dense", "--estimate", "--density", 0.1)
    assert ran.returncode == 0, ran.stderr
    assert "warning: nucleo-f030r8 cannot hold it: it takes about " in ran.stdout
    assert "warning: nrf52840-dk" not in ran.stdout


@pytest.mark.parametrize(("board", "code", "said"), [("nucleo-f030r8", 1, "does not fit: "), ("nrf52840-dk", 0, "fits: ")])
def test_an_estimate_for_a_board_says_whether_it_fits(board: str, code: int, said: str) -> None:
    ran = call("c", "fashion-mnist-dense", "--estimate", "--board", board)
    assert ran.returncode == code, ran.stderr
    assert said + board in ran.stdout


def test_an_estimate_does_not_vouch_for_less_flash_than_the_code_may_be_off_by(capsys: pytest.CaptureFixture[str]) -> None:
    export = CExport.of(handmade.network())
    core = export.estimate.on("cortex-m4")
    flash = export.estimate.flash(core)
    for left, said in ((core.code, "fits: "), (core.code - 1, "may fit: ")):
        board = Board("tight", "a board", "cortex-m4", flash + left, 1 << 16, "")
        assert _print_estimate(export.network, export.estimate, board, False) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert f"{said}tight (a board) has about {left:,} bytes of flash" in printed
        assert ("less than the code may be off by: build it" in printed) == (said == "may fit: ")


REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "no folder": ((), "Where to? Pass -o DIR, or --estimate"),
    "both": (("-o", "out", "--estimate"), "--estimate writes nothing; leave -o out out"),
    "a name that is none": (("-o", "out", "--name", "1st"), "name='1st' is no C identifier"),
    "an unknown board": (("-o", "out", "--board", "moon"), "board='moon' is unknown"),
    "a density without an estimate": (("-o", "out", "--density", "0.5"), "--density 0.5 goes with --estimate"),
    "a proof of an estimate": (("--estimate", "--prove"), "--prove is about the portable C that is written"),
    "a proof of what takes DSP": (("-o", "out", "--dsp", "--prove"), "leave --dsp out"),
    "a folder that is the model": (("-o", "net.qleaky"), "is the file of MODEL too"),
    "no name": (("-o", ".."), "is no name of a file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_misuse_is_refused_in_one_sentence(contract: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, message = REFUSED[what]
    monkeypatch.chdir(contract.parent)
    ran = call("c", "net.qleaky", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1
    assert message in ran.stderr
    assert [path.name for path in contract.parent.iterdir()] == ["net.qleaky"]


def test_a_board_that_cannot_hold_it_is_refused(tmp_path: Path) -> None:
    ran = call("c", "fashion-mnist-dense", "-o", tmp_path / "out", "--board", "nucleo-f030r8")
    assert ran.returncode == 2
    assert "cannot hold this network" in ran.stderr
    assert not list(tmp_path.iterdir())


def test_the_c_of_every_layer_is_proved_before_it_is_written(contract: Path) -> None:
    need_package("z3", "pycparser", extra="prove")
    ran = call("c", contract, "-o", contract.parent / "out", "--prove")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "proved    lif: the step equals its 64-bit specification" in ran.stdout
    assert (contract.parent / "out" / FILE).exists()

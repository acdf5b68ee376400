"""``qleaky-export verify DIR``: targets, exit codes, and one sentence where something is missing."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mcu_tools import need_tools
from small_contracts import contract
from tiny_c_models import write_folder

from qleaky.cli import cli
from qleaky.errors import ArtefactError, InputError, MissingDependencyError
from qleaky.export.c.model import c_model

NET = contract()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as `c` writes it, its contract beside it."""
    NET.save(tmp_path / "net.qleaky")
    return write_folder(tmp_path / "net", NET, c_model(NET, "net"))


def verify(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)], standalone_mode=False)


def refused(*arguments: Any) -> BaseException:
    found = verify(*arguments).exception
    assert found is not None
    return found


def test_the_host_is_checked_where_nothing_is_asked_for(folder: Path) -> None:
    need_tools("host")
    ran = verify(folder)
    assert ran.return_value == 3, ran.output
    assert ran.output.startswith("measured: host (")
    assert ran.output.count("\n") == 1


def test_several_targets_one_line_each(folder: Path) -> None:
    for target in ("cortex-m0", "riscv32"):
        need_tools(target)
    ran = verify(folder, "--runtime", "cortex-m0", "--runtime", "riscv32")
    assert ran.return_value == 3, ran.output
    assert [line.split(" (")[0] for line in ran.output.splitlines()] == ["measured: cortex-m0", "measured: riscv32"]
    assert "instructions a step" in ran.output


def test_what_differs_is_exit_code_1_with_the_first_divergence(folder: Path) -> None:
    need_tools("host")
    weights = folder / "qleaky_weights.c"
    before = weights.read_text()
    array = before[before.index("= {") :]
    number = array.split("\n")[1].split(",")[0]
    weights.write_text(before.replace(array, array.replace(number, f"{number} ^ 1", 1)))
    ran = verify(folder, "--network", folder.with_suffix(".qleaky"))
    assert ran.return_value == 1, ran.output
    assert ran.output.startswith("differs: host (")
    assert "first divergence: sample" in ran.output
    assert "of layer 'lif1' in step" in ran.output


def test_a_folder_of_another_contract(folder: Path, tmp_path: Path) -> None:
    contract(16).save(tmp_path / "other.qleaky")
    error = refused(folder, "--network", tmp_path / "other.qleaky")
    assert isinstance(error, ArtefactError)
    assert f"was exported from the contract {NET.digest[:12]}" in str(error)


def test_a_manifest_of_another_contract(folder: Path) -> None:
    (folder / "MANIFEST.json").write_text("{}")
    error = refused(folder)
    assert isinstance(error, ArtefactError)
    assert "MANIFEST.json" in str(error)


def test_a_folder_without_a_contract(folder: Path) -> None:
    folder.with_suffix(".qleaky").unlink()
    error = refused(folder)
    assert isinstance(error, InputError)
    assert r"there is no net.qleaky beside it" in str(error)


@pytest.mark.parametrize("option", [["--sample", "1"], ["--mutants", "3"], ["--nonce", "w"], ["--json", "out.json"]])
def test_options_of_other_artefacts_are_refused(folder: Path, option: list[str]) -> None:
    error = refused(folder, *option)
    assert isinstance(error, InputError)
    assert f"{option[0]}: {folder} is a folder of C" in str(error)


def test_an_unknown_target(folder: Path) -> None:
    error = refused(folder, "--runtime", "openvino")
    assert isinstance(error, InputError)
    assert "There is no target 'openvino' for C; choose one of host, cortex-m0" in str(error)


def test_without_tools_the_packages_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("qleaky.verification.mcu.toolchains.find_spec", lambda _: None)
    error = refused(folder, "--runtime", "cortex-m4")
    assert isinstance(error, MissingDependencyError)
    assert "apt-get install clang lld, or `pip install 'qleaky[mcu]'`" in str(error)


def test_a_network_of_floats(folder: Path, tmp_path: Path) -> None:
    import torch

    from qleaky import Leaky, lower

    floats = lower(torch.nn.Sequential(torch.nn.Linear(3, 2), Leaky(0.9, init_hidden=True)), torch.rand(4, 3), num_steps=3)
    floats.save(tmp_path / "floats.qleaky")
    error = refused(folder, "--network", tmp_path / "floats.qleaky")
    assert isinstance(error, ArtefactError)
    assert "is a network of floats; C is generated from integers alone" in str(error)

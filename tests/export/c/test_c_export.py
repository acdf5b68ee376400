"""``export_c``: the same arguments give the same bytes, what it refuses leaves nothing, and what it writes checks itself."""

import re
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
import torch
from c_tools import STRICT, call, tool

import qleaky
from qleaky import IntegerNetwork, export_c, lower
from qleaky.errors import InputError, LoweringError, UsageError
from qleaky.export.c.manifest import FILE, Manifest
from qleaky.model_reference import HowToLower, load_model
from qleaky.verification.mcu.checking import check_folder


def held(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def leaky(layer: torch.nn.Module) -> torch.nn.Module:
    """A layer with neurons behind it, one step of them."""
    state = qleaky.FixedPoint(bits=8, frac_bits=5)
    return torch.nn.Sequential(layer, qleaky.Leaky(beta=230 / 256, state_quant=state, init_hidden=True))


def digits() -> IntegerNetwork:
    network = load_model("digits", HowToLower())
    assert isinstance(network, IntegerNetwork)
    return network


def test_the_same_call_gives_the_same_bytes_and_the_contract_which_is_not_among_them(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert export_c(digits(), tmp_path / folder).digest == digits().digest
    assert held(tmp_path / "a") == held(tmp_path / "b")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a", "b"]
    assert not list(tmp_path.rglob("*.qleaky"))


def test_what_is_written_equals_the_reference_on_this_machine(tmp_path: Path) -> None:
    contract = export_c(digits(), tmp_path / "c", "words", inputs=np.zeros((3, 64), np.uint8), samples=4)
    report = check_folder(tmp_path / "c", "host", contract)
    assert (report.mismatches, report.samples, report.name) == (0, 7, "words")
    vectors = Manifest.decode((tmp_path / "c" / FILE).read_bytes()).vectors
    assert (vectors.searched, vectors.given) == (4, 3)


def test_the_manifest_says_what_the_network_the_proof_and_the_estimate_say(tmp_path: Path) -> None:
    network = export_c(digits(), tmp_path / "c")
    found = Manifest.decode((tmp_path / "c" / FILE).read_bytes())
    assert (found.network.digest, found.network.num_steps, found.network.proved) == (network.digest, 8, True)
    bounds = {bound.layer: bound for bound in network.proof.layers}
    assert {layer.layer: layer.accumulate for layer in found.layers} == {name: b.accumulate for name, b in bounds.items()}
    assert found.layers[2].flush_interval == 65_535 // 254  # 8-bit fields of fc2, up to 254, in lanes of 16 bits
    assert set(found.expected) == {"cortex-m0", "cortex-m4", "cortex-m33", "cortex-m55", "riscv32"}
    assert f"sizeof(model_state) == {found.sizes.state}u" in (tmp_path / "c" / "qleaky_model.c").read_text()


def test_dsp_changes_no_bit_and_is_taken_where_the_compiler_has_it(tmp_path: Path) -> None:
    export_c(digits(), tmp_path / "c", dsp=True)
    text = (tmp_path / "c" / "qleaky_model.c").read_text()
    assert "#if defined(__ARM_FEATURE_DSP)" in text
    assert check_folder(tmp_path / "c", "host", digits()).mismatches == 0


def test_a_torch_network_is_lowered_first(tmp_path: Path) -> None:
    given: dict[str, Any] = {"sample_input": torch.zeros(2, 12), "num_steps": 6, "input_format": "spikes"}
    given |= {"readout": "spike_count"}
    quantized = leaky(qleaky.QuantLinear(12, 9, weight_bits=8))
    contract = export_c(quantized, tmp_path / "c", **given)
    assert contract.digest == lower(quantized, **given).digest
    with pytest.raises(UsageError, match=r"export_c: a torch network is traced first; pass sample_input="):
        export_c(quantized, tmp_path / "d")
    with pytest.raises(UsageError, match=r"export_c: num_steps: a network that is lowered already takes no more arguments"):
        export_c(contract, tmp_path / "d", num_steps=3)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "2nd"}, "name='2nd' is no C identifier"),
        ({"name": "int"}, "it is a word of C"),
        ({"name": "a" * 25}, "at most 24 characters"),
        ({"name": "qleaky_a"}, "qleaky's own symbols begin so"),
        ({"board": "moon"}, "board='moon' is unknown"),
        ({"samples": 0}, "ask for at least 1"),
        ({"inputs": np.zeros((2, 3))}, r"inputs have shape \(2, 3\)"),
    ],
)
def test_what_it_cannot_do_is_refused_and_nothing_is_written(tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export_c(handmade.network(), tmp_path / "c", **arguments)
    assert not (tmp_path / "c").exists()


def test_a_network_that_a_board_cannot_hold_is_refused_with_numbers(tmp_path: Path) -> None:
    network = load_model("fashion-mnist-dense", HowToLower())
    with pytest.raises(
        InputError, match=r"board='nucleo-f030r8' .* cannot hold .* bytes of flash, [\d,]+ more than its 65,536"
    ):
        export_c(network, tmp_path / "c", board="nucleo-f030r8")  # type: ignore[arg-type]
    assert not (tmp_path / "c").exists()
    export_c(digits(), tmp_path / "c", board="nucleo-f030r8")


def test_a_network_of_floats_has_no_c(tmp_path: Path) -> None:
    net = leaky(torch.nn.Linear(12, 9))
    with pytest.raises(LoweringError, match="C computes the integers of a contract, and this network has none"):
        export_c(net, tmp_path / "c", sample_input=torch.zeros(2, 12), num_steps=6, input_format="spikes")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["digits", "fsdd", "fashion-mnist-conv"])
def test_the_readmes_loop_of_a_network_that_ships_compiles(tmp_path: Path, name: str) -> None:
    network = load_model(name, HowToLower())
    export_c(network, tmp_path / "c", "spoken", samples=2)  # type: ignore[arg-type]
    readme = (tmp_path / "c" / "README.md").read_text()
    (code,) = re.findall(r"```c\n(.*?)```", readme, re.S)
    (tmp_path / "loop.c").write_text(code)
    call(tool("gcc"), *STRICT, "-I", tmp_path / "c", "-c", tmp_path / "loop.c", "-o", tmp_path / "loop.o")
    header = (tmp_path / "c" / "qleaky_model.h").read_text()
    declared = set(re.findall(r"^\w+ \w+\(.*\);$", header, re.M))
    told = re.findall(r"^\| `(.*?)` \|", readme, re.M)
    assert {f"{call};" for call in told} == declared

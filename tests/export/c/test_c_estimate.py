"""What is estimated before anything is compiled, against what QEMU counts and compilers make: within 10 %."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_tools import tool

from qleaky import IntegerNetwork, QFormat
from qleaky.c_export import CExport
from qleaky.dynamics import MulShift
from qleaky.errors import InputError
from qleaky.export.c.boards import Board, check_fit, shortages
from qleaky.export.c.counting import code_parts, step_parts, uniform
from qleaky.export.c.estimate import CoreEstimate, Estimate, costs, estimate
from qleaky.export.c.folder import write_folder
from qleaky.export.c.model import c_model
from qleaky.integer import LIF, Input, Linear, Readout
from qleaky.model_reference import HowToLower, load_model
from qleaky.reference import run
from qleaky.verification.mcu.checking import check_folder
from qleaky.verification.rates import spike_rates
from tests.export.layer_contracts import LAYERS

SHIPPED = ("digits", "fsdd", "japanese-vowels", "fashion-mnist-dense", "fashion-mnist-conv")
OTHERS = ("cortex-m0", "cortex-m33", "cortex-m55", "cortex-m4+dsp")
SPIKES = QFormat(1, 0, signed=False)


def dense_784() -> IntegerNetwork:
    """784-256-10 with weights of 8 bits."""
    r = np.random.default_rng(7)
    neurons: dict[str, Any] = {"state": QFormat(16, 4), "theta": np.array(900)}
    neurons |= {"decay": MulShift(n=8), "multiplier": np.array(230)}
    layers = (
        Linear(name="fc1", input="input", weight=r.integers(-127, 128, (256, 784)), weight_frac_bits=4),
        LIF(name="lif1", input="fc1", **neurons),
        Linear(name="fc2", input="lif1", weight=r.integers(-127, 128, (10, 256)), weight_frac_bits=4),
        LIF(name="lif2", input="fc2", **neurons),
    )
    parts: dict[str, Any] = {"num_steps": 10, "layers": layers, "readouts": (Readout("lif2", "spike_count", True),)}
    return IntegerNetwork(inputs=(Input((784,), SPIKES),), **parts)


def tools() -> None:
    for name in ("clang", "ld.lld", "qemu-system-arm", "qemu-system-riscv32"):
        tool(name)


def compared(export: CExport, core: str, folder: Path) -> None:
    """Instructions and flash of an export on a core, estimated and measured."""
    write_folder(folder, export.files())
    flags = ["-DQLEAKY_DSP"] if core.endswith("+dsp") else []
    target = core.removesuffix("+dsp")
    found = check_folder(folder, target, export.network, compiler="clang", emulator="qemu", flags=flags)
    expected = export.estimate.cores[core]
    assert found.mismatches == 0
    assert found.instructions is not None
    assert found.flash is not None
    assert found.state_size == export.estimate.state
    assert abs(expected.instructions / found.instructions - 1) < 0.1
    assert abs(export.estimate.flash(expected) / found.flash - 1) < 0.1
    assert found.stack is not None
    assert found.stack <= expected.stack


def shipped(name: str) -> CExport:
    return CExport.of(load_model(name, HowToLower()), "model")


@pytest.mark.parametrize("core", ["cortex-m4", "riscv32"])
@pytest.mark.parametrize("name", SHIPPED)
def test_of_a_network_that_ships_it_is_within_a_tenth(name: str, core: str, tmp_path: Path) -> None:
    tools()
    compared(shipped(name), core, tmp_path / "c")


@pytest.mark.nightly
@pytest.mark.parametrize("core", OTHERS)
@pytest.mark.parametrize("name", SHIPPED)
def test_on_every_core_it_is_within_a_tenth(name: str, core: str, tmp_path: Path) -> None:
    tools()
    export = shipped(name)
    if core == "cortex-m0" and export.estimate.state > 14_000:
        pytest.skip("the emulated micro:bit has too little RAM for this network")
    compared(export, core, tmp_path / "c")


@pytest.mark.parametrize("core", ["cortex-m4", "riscv32"])
@pytest.mark.parametrize("density", [0.05, 0.2])
def test_of_784_256_10_it_is_within_a_tenth(density: float, core: str, tmp_path: Path) -> None:
    tools()
    network = dense_784()
    given = (np.random.default_rng(0).random((10, 3, 784)) < density).astype(np.uint8)
    compared(CExport.of(network, "model", given, samples=0), core, tmp_path / "c")


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer_has_a_cost_on_every_core(name: str) -> None:
    network = LAYERS[name]
    found = estimate(network, c_model(network), uniform(network, 0.5))
    assert all(core.instructions > 0 and core.code > 0 and core.stack > 0 for core in found.cores.values())


def test_events_are_those_of_the_reference() -> None:
    network = dense_784()
    codes = (np.random.default_rng(0).random((10, 2, 784)) < 0.1).astype(np.uint8)
    parts = step_parts(network, spike_rates(network, {"input": codes}))
    hidden = run(network, codes).spikes["lif1"]
    assert parts["event"] == pytest.approx((codes.sum() + hidden.sum()) / 20)
    assert parts["neuron"] == 266


def test_more_spikes_cost_more_and_no_other_flash() -> None:
    export = CExport.of(dense_784(), samples=2)
    few, many = export.estimate_at(0.05), export.estimate_at(0.5)
    assert few.cores["cortex-m4"].instructions < many.cores["cortex-m4"].instructions
    assert few.flash(few.cores["cortex-m4"]) == many.flash(many.cores["cortex-m4"])


def test_what_does_not_move_is_counted_once_an_inference() -> None:
    network = load_model("fashion-mnist-dense", HowToLower())
    assert isinstance(network, IntegerNetwork)
    assert step_parts(network, uniform(network, 0.1))["plain number x4"] == 784 * 64 / network.num_steps


def test_costs_are_of_every_core_and_none_is_negative() -> None:
    assert {"cortex-m0", "cortex-m4", "cortex-m4+dsp", "cortex-m33", "cortex-m55", "riscv32"} <= set(costs())
    assert all(value >= 0 for found in costs().values() for value in (*found.step.values(), *found.code.values()))
    assert set(code_parts(dense_784())) - set(costs()["cortex-m4"].code) == set()


SMALL = Estimate(weights=50_000, state=7_000, cores={"cortex-m0": CoreEstimate("cortex-m0", 1, 20_000, 1_200)})


def test_a_board_that_is_too_small_is_refused_with_both_numbers() -> None:
    board = Board("small", "A small board", "cortex-m0", 65_536, 8_192, "a data sheet")
    lacking = shortages(board, SMALL)
    assert lacking == ["70,000 bytes of flash, 4,464 more than its 65,536", "8,200 bytes of RAM, 8 more than its 8,192"]
    with pytest.raises(
        InputError, match=r"board='small' \(A small board\) cannot hold this network: it takes about 70,000 bytes"
    ):
        check_fit(board, SMALL)


def test_a_board_that_holds_it_exactly_holds_it() -> None:
    board = Board("exact", "A board", "cortex-m0", 70_000, 8_200, "a data sheet")
    assert shortages(board, SMALL) == []
    check_fit(board, SMALL)

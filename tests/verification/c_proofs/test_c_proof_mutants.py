"""A fault in the C of a neuron is refuted by numbers for which the compiled C, and the reference, do what the proof says."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import provers  # noqa: F401
import pytest
from mcu_tools import need_program
from neuron_programs import Case, build, program, results
from small_models import prove

from qleaky import QFormat
from qleaky.dynamics import MulShift, ShiftDecay
from qleaky.integer import LIF, Signal, Synapse
from qleaky.integer.bounds import lif_bounds
from qleaky.verification.c_proofs import Refuted
from qleaky.verification.c_proofs.neurons import DEFINED

X = Signal((3,), 9, np.array(-3000), np.array(3000))


def case(x: Signal = X, **fields: Any) -> Case:
    given = {"name": "lif", "input": "x", "state": QFormat(8, 5), "theta": np.array(32), "decay": MulShift(n=8)}
    given |= {"multiplier": np.array(231)} | fields
    layer = LIF(**given)
    return Case.of(layer, x, lif_bounds(layer, x), "net")


CASES = {
    "common": case(),
    "even": case(multiplier=np.array(230)),
    "own thetas": case(theta=np.array([20, 40, 60])),
    "same step": case(reset_timing="same_step", compare="inclusive", rounding="floor"),
    "undelayed": case(reset_timing="undelayed", theta=np.array(20)),
    "zero": case(reset_mechanism="zero", rounding="toward_zero"),
    "wrap": case(overflow="wrap", rounding="half_even", x=Signal((3,), 6, np.array(-500), np.array(500))),
    "several": case(reset_timing="same_step", max_spikes=5, theta=np.array(11), state=QFormat(8, 4, signed=False)),
    "graded": case(graded=np.array(-7), decay=ShiftDecay(3, True), multiplier=None),
    "synapse": case(synapse=Synapse(state=QFormat(10, 6), decay=MulShift(n=4), multiplier=np.array(13))),
    "decay rounded": case(rounding_site="decay", rounding="half_even", x=Signal((3,), 6, np.array(-300), np.array(300))),
}


@dataclass(frozen=True)
class Mutant:
    """A fault in the text of one of CASES; ``same`` where it changes nothing there, which is then proved."""

    case: str
    old: str
    new: str
    same: bool = False

    def __str__(self) -> str:
        return f"{self.case}: {self.old} -> {self.new}"

    @property
    def functions(self) -> str:
        text = CASES[self.case].code.functions
        assert self.old in text, text
        return text.replace(self.old, self.new, 1)


MUTANTS = [
    Mutant("common", "v > 32 ? 1", "v >= 32 ? 1"),
    Mutant("common", "u > 32", "u >= 32"),
    Mutant("common", "sum + 128", "sum + 127"),
    Mutant("common", "sum + 128", "sum + 129"),
    Mutant("even", "sum + 128", "sum + 129", same=True),  # the sum is even: no odd half is ever rounded
    Mutant("common", ">> 8", ">> 7"),
    Mutant("common", ">> 8", ">> 9"),
    Mutant("common", ">> 8", ">> 32"),
    Mutant("common", "v > 127 ? 127", "v > 126 ? 126"),
    Mutant("common", "v < -128 ? -128", "v < -127 ? -127"),
    Mutant("common", "v > 127 ? 127", "v > 128 ? 128"),
    Mutant("common", "v > 127 ? 127", "v > 128 ? 127"),
    Mutant("common", "v > 127 ? 127", "v >= 127 ? 127", same=True),
    Mutant("common", "return v < -128 ? -128 : v > 127 ? 127 : v;", "return v;"),
    Mutant("common", " - (u > 32 ? 256 * 32 : 0)", ""),
    Mutant("common", "256 * 32", "256 * 31"),
    Mutant("common", "16 * current", "8 * current"),
    Mutant("common", "16 * current", "16777216 * current"),
    Mutant("common", "231 * u", "230 * u"),
    Mutant("common", "(int8_t)v", "(uint8_t)v"),
    Mutant("common", "*mem = (int8_t)v;", ""),
    Mutant("own thetas", "256 * theta", "256 * 20"),
    Mutant("own thetas", "v > theta", "v > 40"),
    Mutant("same step", "v >= 32", "v > 32"),
    Mutant("same step", "v - (n ? 32 : 0)", "v"),
    Mutant("same step", "sum >> 8", "(sum + 1) >> 8"),
    Mutant("undelayed", "(n - net_count(u))", "n"),
    Mutant("zero", "sum < 0 ? 255", "sum < 0 ? 254"),
    Mutant("zero", "u > 32 ? 0 : u", "u"),
    Mutant("wrap", "v & 255", "v & 127"),
    Mutant("wrap", "^ 128", "^ 64"),
    Mutant("wrap", "((v & 255) ^ 128) - 128", "v"),
    Mutant("wrap", " + ((sum >> 8) & 1)", ""),
    Mutant("several", "n > 5 ? 5 : n", "n"),
    Mutant("several", "q1 ? r2 - 2 * 11", "q1 ? r2 - 11"),
    Mutant("several", "v - 1", "v"),
    Mutant("several", "n * 11", "11"),
    Mutant("graded", "n * -7", "n"),
    Mutant("graded", "lost != 0 ? lost", "lost > 0 ? lost"),
    Mutant("graded", "u < 0 ? 1", "u <= 0 ? 1"),
    Mutant("synapse", "*syn = (int16_t)j;", ""),
    Mutant("synapse", "13 * j", "12 * j"),
    Mutant("synapse", "> 511 ? 511", "> 511 ? 510"),
    Mutant("synapse", "> 511 ? 511", "> 510 ? 511", same=True),  # 511 is 511 either way
    Mutant("decay rounded", "product + 127", "product + 128"),
    Mutant("decay rounded", "(product >> 8) & 1", "(product >> 7) & 1"),
]


@pytest.fixture
def compiler() -> str:
    need_program("gcc")
    return "gcc"


@pytest.mark.parametrize("name", CASES)
def test_what_is_emitted_is_proved(name: str) -> None:
    proofs = prove(CASES[name])
    assert proofs.proved, str(proofs)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_is_refuted_by_numbers_on_which_the_compiled_c_goes_wrong(
    mutant: Mutant, compiler: str, tmp_path: Path
) -> None:
    proofs = prove(CASES[mutant.case], mutant.functions)
    assert not proofs.open
    if mutant.same:
        assert proofs.proved, str(proofs)
        return
    assert proofs.refuted
    undefined = any(stops(refuted) for refuted in proofs.refuted)
    for refuted in proofs.refuted:
        if stops(refuted) or not undefined:  # the compiler may do anything else with what is undefined
            goes_wrong(CASES[mutant.case], mutant.functions, refuted, compiler, tmp_path)


def stops(refuted: Refuted) -> bool:
    """Whether the sanitizer stops there: it does not for a conversion, which the implementation defines."""
    return refuted.statement == DEFINED and "converted" not in refuted.what


def goes_wrong(case: Case, functions: str, refuted: Refuted, compiler: str, folder: Path) -> None:
    """The sanitizer stops where something is undefined; elsewhere the C gives what the proof says, and the reference too."""
    wrong = replace(case, code=replace(case.code, functions=functions))
    row = np.array([[refuted.neuron, refuted.inputs["U"], refuted.inputs.get("J", 0), refuted.inputs["I"]]], np.int32)
    flags = ["-O1", "-w", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    binary = build(folder, program([wrong]), compiler, flags)
    if stops(refuted):
        with pytest.raises(subprocess.CalledProcessError) as stopped:
            results(binary, 0, row)
        assert b"runtime error" in stopped.value.stderr
        return
    reference = case.expected(row)[0]
    names = ("U", "J", "emitted")
    assert {name: reference[i + 1] for i, name in enumerate(names) if name in refuted.specification} == refuted.specification
    if refuted.statement != DEFINED:
        got = results(binary, 0, row)[0]
        assert {name: got[i + 1] for i, name in enumerate(names) if name in refuted.c} == refuted.c
        assert refuted.c != refuted.specification

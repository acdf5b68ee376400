"""The campaign of benchmarks/mutations.py in small, and its two provers: each can say no."""

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import script

from qleaky import IntegerNetwork
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS, FORMS
from qleaky.verification.mutants import Examination, mutants
from qleaky.verification.vectors import vectors

z3 = pytest.importorskip("z3", reason="z3-solver is the extra 'prove'")
mutations, mutations_proofs, terms = (script(name) for name in ("mutations", "mutations_proofs", "mutations_terms"))
SMALL, small, page = script("mutations_networks").SMALL, script("mutations_networks").small, script("mutations_table").page
FEW = ("half-up", "zero reset, half-even", "same step, toward zero", "counts, graded", "recurrent")


@pytest.fixture(scope="module")
def outcomes() -> list[Any]:
    return mutations.run(FEW, lambda _: 1, say=lambda _: None)


def test_a_small_campaign_leaves_nothing_open(outcomes: list[Any]) -> None:
    counts = Counter(each.result for each in outcomes)
    assert len(outcomes) == 45
    assert mutations.failures(outcomes) == []
    assert counts["caught"] > 30


def test_the_table_counts_every_mutant_once(outcomes: list[Any]) -> None:
    lines = page(outcomes).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    tables = Counter(row[0] for row in rows if row[1] == "mutants")
    assert set(tables) == {"operator", "artefact", "network"}
    for row in rows:
        if row[1] != "mutants":
            assert int(row[1]) == sum(map(int, row[3:]))
    assert [int(row[1]) for row in rows if row[0] == "all"] == [45] * 3


def test_the_table_goes_between_the_marks_of_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- printed -->\nold\n<!-- end -->\nafter\n")
    mutations.replace(path, "new\n")
    assert path.read_text() == "before\n<!-- printed -->\nnew\n<!-- end -->\nafter\n"


def test_a_fault_that_is_neither_caught_nor_proved_is_a_failure(outcomes: list[Any]) -> None:
    one = outcomes[0]
    for result, fails in (("missed", 1), ("open", 1), ("caught", 0), ("equal: z3", 0)):
        found = mutations.Outcome(one.where, one.mutant, result, False, "")
        assert len(mutations.failures([found])) == fails


# The provers can say no


def examples(name: str, operators: tuple[str, ...], each: int) -> list[tuple[Any, Any, IntegerNetwork]]:
    network, found = small(name), []
    for form in FORMS[1:]:
        for carrier in CARRIERS:
            data = onnx_bytes(network, form, carrier)
            prover = mutations_proofs.Prover(network, data)
            picked = [mutant for mutant in mutants(data, 150) if mutant.operator in operators][:each]
            found += [(prover, mutant, network) for mutant in picked]
    return found


def test_exhaustion_finds_what_one_sample_does_not_show() -> None:
    """A silent sample catches next to nothing; all inputs do, and what they show is one of them."""
    network = small("half-up")
    silent = Examination(network, np.zeros((network.num_steps, 1, 4), np.uint8))
    every = mutations.Subject("half-up", network, True).exhaustive
    assert every.recording.spikes["lif1"].shape[1] == len(np.unique(every.codes["input"].swapaxes(0, 1), axis=0)) == 2**16
    refuted = [m for m in mutants(onnx_bytes(network), 60) if silent.finding(m.data) is None and every.finding(m.data)]
    assert len(refuted) > 10


@pytest.mark.parametrize("name", ["half-up", "shift decay", "synapse", "12-bit states", "convolutional", "wrapping"])
def test_nothing_is_proved_equal_that_differs(name: str) -> None:
    """Against all faults that the vectors catch, of every operator."""
    network = small(name)
    examination, refused = Examination(network, vectors(network).codes), 0
    for form in FORMS[1:]:
        for carrier in CARRIERS:
            data = onnx_bytes(network, form, carrier)
            prover = mutations_proofs.Prover(network, data)
            for mutant in mutants(data, 12, seed=1):
                if examination.finding(mutant.data) is not None:
                    assert prover.proof(mutant.data) is None, str(mutant)
                    refused += 1
    assert refused > 60


def test_what_is_proved_equal_is_equal_on_all_inputs() -> None:
    proved: Counter[str] = Counter()
    for name in ("half-up", "per neuron", "12-bit states", "decay rounded alone"):
        every = mutations.Subject(name, small(name), True).exhaustive
        for prover, mutant, _ in examples(name, ("saturation", "bias", "threshold", "comparison", "rounding"), 5):
            proof = prover.proof(mutant.data)
            if proof is not None:
                assert every.finding(mutant.data) is None, str(mutant)
                proved[proof.by] += 1
    assert proved["bounds"] > 5
    assert proved["z3"] > 0


# Terms


def value_of(term: Any, name: str, code: int) -> Any:
    """What a formula of one variable is where that has a value."""
    if isinstance(term, bool):
        return term
    expr = term.expr if isinstance(term, terms.Number) else term
    found = expr if isinstance(expr, int) else z3.simplify(z3.substitute(expr, (z3.Int(name), z3.IntVal(code))))
    if isinstance(term, terms.Number):
        whole = found if isinstance(found, int) else found.as_long()
        assert term.low <= whole <= term.high
        return Fraction(whole, 1 << term.bits)
    return z3.is_true(found)


ROUNDED = {
    "Floor": lambda x: x.numerator // x.denominator,
    "Ceil": lambda x: -(-x.numerator // x.denominator),
    "Round": round,
}


@pytest.mark.parametrize("operator", ROUNDED)
def test_terms_round_as_fractions_do(operator: str) -> None:
    term = terms.ELEMENTWISE[operator]([terms.variable("x", -40, 40, bits=3)])
    assert [value_of(term, "x", code) for code in range(-40, 41)] == [
        ROUNDED[operator](Fraction(code, 8)) for code in range(-40, 41)
    ]


def test_terms_divide_mask_wrap_and_clip_as_integers_do() -> None:
    x = terms.variable("x", -40, 40)
    by = terms.constant(8)
    for code in range(-40, 41):
        assert value_of(terms.quotient(x, by), "x", code) == int(Fraction(code, 8))
        assert value_of(terms.masked(x, -8), "x", code) == code & -8
        assert value_of(terms.masked(x, 7), "x", code) == code & 7
        assert value_of(terms.wrapped(x, -16, 15), "x", code) == (code + 16) % 32 - 16
        assert value_of(terms.clip(x, terms.constant(-5), terms.constant(9)), "x", code) == min(max(code, -5), 9)
        assert value_of(terms.greater(x, by, equal=False), "x", code) == (code > 8)
        assert value_of(terms.greater(x, by, equal=True), "x", code) == (code >= 8)
        assert value_of(terms.sign(x), "x", code) == np.sign(code)


def test_intervals_decide_what_they_can() -> None:
    x = terms.variable("x", -40, 40)
    assert terms.same(terms.clip(x, terms.constant(-40), terms.constant(40)), x)
    assert terms.greater(x, terms.constant(40), equal=False) is False
    assert terms.greater(x, terms.constant(-40), equal=True) is True
    assert not terms.same(terms.clip(x, terms.constant(-39), terms.constant(40)), x)


@pytest.mark.nightly
def test_the_whole_campaign() -> None:
    outcomes = mutations.run([*SMALL, *mutations.TRAINED], lambda _: 16, say=print)
    assert len(outcomes) >= 500
    assert [str(each) for each in mutations.failures(outcomes)] == []

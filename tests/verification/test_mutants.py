"""Mutants: every kind of fault is made, each is a valid model of its own, the same every time, and never proved."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from benchmark_scripts import script
from onnx import numpy_helper

import qleaky
from qleaky import IntegerNetwork, Runner, verify
from qleaky.errors import ArtefactError, InputError
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS, FORMS
from qleaky.verification.mutants import OPERATORS, Examination, Mutant, mutants, survey
from qleaky.verification.vectors import vectors

every_input, small = script("mutations_networks").every_input, script("mutations_networks").small
ARTEFACTS = list(itertools.product(FORMS[1:], CARRIERS))
KINDS = ("half-up", "zero reset, half-even", "12-bit states", "convolutional", "recurrent")


@pytest.fixture(scope="module")
def network() -> IntegerNetwork:
    return small("half-up")


@pytest.fixture(scope="module")
def made() -> list[tuple[bytes, Mutant]]:
    """Six mutants of every form and carrier of networks of several kinds, each with its original."""
    originals = [onnx_bytes(small(name), form, carrier) for name in KINDS for form, carrier in ARTEFACTS]
    return [(data, mutant) for seed, data in enumerate(originals) for mutant in mutants(data, 6, seed)]


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_makes_mutants(operator: str) -> None:
    names = ("zero reset, half-even",) if operator == "reset to zero" else ("half-up", "recurrent")
    found = [
        mutant
        for name in names
        for form, carrier in (("unrolled", "integer"), ("scan", "quantized"), ("step", "float"))
        for mutant in mutants(onnx_bytes(small(name), form, carrier))
        if mutant.operator == operator
    ]
    assert found
    assert all(str(mutant).startswith(f"{operator} in ") for mutant in found)
    assert all(mutant.layer for mutant in found)


@pytest.mark.parametrize(("form", "carrier"), ARTEFACTS)
def test_every_form_and_carrier_has_most_kinds_of_faults(form: str, carrier: str, network: IntegerNetwork) -> None:
    found = {mutant.operator for mutant in mutants(onnx_bytes(network, form, carrier))}
    absent = {"reset to zero"} | ({"late input"} if form == "step" else set())
    assert set(OPERATORS) - found <= absent


def test_every_mutant_is_a_valid_model_that_is_not_the_original(made: list[tuple[bytes, Mutant]]) -> None:
    for data, mutant in made:
        assert mutant.data != data
        onnx.checker.check_model(mutant.data, full_check=True)
        Runner(mutant.data, optimize=False)


def test_a_mutant_keeps_its_names_types_and_metadata(made: list[tuple[bytes, Mutant]]) -> None:
    for data, mutant in made:
        before, after = onnx.load_model_from_string(data), onnx.load_model_from_string(mutant.data)
        for part in ("input", "output", "value_info"):
            assert list(getattr(after.graph, part)) == list(getattr(before.graph, part)), str(mutant)
        assert list(after.metadata_props) == list(before.metadata_props)


def test_mutants_differ_from_each_other(network: IntegerNetwork) -> None:
    found = list(mutants(onnx_bytes(network, "scan"), 60))
    assert len({mutant.data for mutant in found}) > 50  # two faults may be one: > theta is >= theta + 1


def test_the_same_call_makes_the_same_mutants_and_another_seed_others(network: IntegerNetwork) -> None:
    data = onnx_bytes(network)
    first, again, other = (list(mutants(data, 30, seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_count_is_spread_over_operators(network: IntegerNetwork) -> None:
    assert len({mutant.operator for mutant in mutants(onnx_bytes(network), 12)}) == 12
    assert len(list(mutants(onnx_bytes(network), 100))) == 100


def test_a_weight_bit_is_one_bit_of_one_weight(network: IntegerNetwork) -> None:
    data = onnx_bytes(network, "scan")
    for mutant in (found for found in mutants(data) if found.operator == "weight bit"):
        pairs = zip(*(onnx.load_model_from_string(each).graph.initializer for each in (data, mutant.data)), strict=True)
        changed = [pair for pair in pairs if pair[0] != pair[1]]
        assert [pair[0].name for pair in changed] == [mutant.what.split()[0]]
        before, after = (numpy_helper.to_array(tensor).astype(np.int64).ravel() for tensor in changed[0])
        (place,) = np.flatnonzero(before != after)
        assert bin(int(before[place] ^ after[place]) & 0xFF).count("1") == 1


def test_a_fault_in_one_neuron_shows_in_that_layer_first(network: IntegerNetwork) -> None:
    examination = Examination(network, vectors(network).codes)
    kinds = ("weight bit", "bias", "threshold", "comparison", "reset", "decay", "truncated state", "late state")
    found = [mutant for mutant in mutants(onnx_bytes(network, "unrolled"), 120) if mutant.operator in kinds]
    shown = [(mutant, examination.finding(mutant.data)) for mutant in found]
    assert sum(finding is not None for _, finding in shown) > 30
    assert all(f"layer {mutant.layer!r}" in finding for mutant, finding in shown if finding is not None)


def test_the_original_survives(network: IntegerNetwork) -> None:
    examination = Examination(network, vectors(network).codes)
    assert [examination.finding(onnx_bytes(network, form, carrier)) for form, carrier in ARTEFACTS] == [None] * 9


def test_what_does_not_run_is_caught(network: IntegerNetwork) -> None:
    model = onnx.load_model_from_string(onnx_bytes(network, "scan"))
    model.graph.node[0].op_type = "NoSuchOperator"
    finding = Examination(network, vectors(network).codes).finding(model.SerializeToString())
    assert finding is not None
    assert finding.startswith("it does not run: ")


def test_verify_proves_no_mutant(network: IntegerNetwork, tmp_path: Path) -> None:
    """Not even those that compute the same: the theorem speaks of the graph that qleaky emits."""
    path, verdicts = tmp_path / "mutant.onnx", list[str]()
    everything = Examination(network, every_input(network))
    for form, carrier in ARTEFACTS:
        found = list(mutants(onnx_bytes(network, form, carrier), 40))
        equal = [mutant for mutant in found if mutant.operator in ("saturation", "comparison", "lost neuron")]
        for mutant in [*found[:1], *(mutant for mutant in equal if everything.finding(mutant.data) is None)][:2]:
            path.write_bytes(mutant.data)
            report = verify(path, network, every_input(network)["input"][:, :70])
            verdicts.append(report.verdict)
            assert report.verdict == "differs" or "not the one that this version of qleaky emits" in report.reasons[0]
    assert set(verdicts) == {"differs", "measured"}


def test_a_survey_counts_what_inputs_catch(network: IntegerNetwork) -> None:
    data = onnx_bytes(network)
    silent = survey(data, network, np.zeros((network.num_steps, 1, 4), np.uint8), 60)
    searched = survey(data, network, vectors(network).codes, 60)
    assert silent.made == searched.made == 60
    assert silent.caught + len(silent.survivors) == 60
    assert silent.caught < 50 < searched.caught
    assert {str(mutant) for mutant in searched.survivors} <= {str(mutant) for mutant in silent.survivors}


# Misuse


@pytest.mark.parametrize("count", [0, -1, True, 2.5])
def test_a_count_below_one_is_refused(count: int, network: IntegerNetwork) -> None:
    with pytest.raises(InputError, match=f"count={count!r}; it is the number of mutants, at least 1, or None for all"):
        next(mutants(onnx_bytes(network), count))


def test_other_models_are_refused(network: IntegerNetwork, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(onnx_bytes(network))
    del model.metadata_props[:]
    with pytest.raises(ArtefactError, match="none that qleaky exported from an integer network"):
        next(mutants(model.SerializeToString()))
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    with pytest.raises(ArtefactError, match=r"damaged.onnx is not a valid ONNX model"):
        next(mutants(tmp_path / "damaged.onnx"))


@pytest.mark.parametrize("key", ["qleaky.states", "qleaky.num_steps", "qleaky.form"])
def test_metadata_that_makes_no_sense_is_refused(key: str, network: IntegerNetwork) -> None:
    model = onnx.load_model_from_string(onnx_bytes(network))
    for entry in model.metadata_props:
        entry.value = "<script>" if entry.key == key else entry.value
    with pytest.raises(ArtefactError, match=r"none that qleaky exported from an integer network|what the model says of itself"):
        next(mutants(model.SerializeToString()))


def test_a_float_network_has_no_mutants() -> None:
    net = qleaky.Leaky(0.9, 1.0, init_hidden=True)
    contract = qleaky.lower(torch.nn.Sequential(torch.nn.Linear(3, 2), net), torch.zeros(2, 3), num_steps=2)
    with pytest.raises(InputError, match="compared with an IntegerNetwork's reference; a FloatNetwork has none"):
        Examination(contract, None)  # type: ignore[arg-type]

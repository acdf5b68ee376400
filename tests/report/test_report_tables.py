"""The tables say what the contract and the counts say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import Net, checked, inputs, lowered, maps_network

from qleaky.report import check_tables, tables
from qleaky.report.text import number, per, percent, visible
from qleaky.verification.activity import Activity, SpikingLayer, SynapticLayer


def column(table: tables.Table, heading: str) -> list[str]:
    return [row[table.headings.index(heading)] for row in table.rows]


def test_every_layer_has_a_row_with_its_bounds() -> None:
    network = maps_network()
    found = tables.layers(network, {"conv": "float32"})
    assert column(found, "layer") == [layer.name for layer in network.layers]
    bounds = {each.layer: each for each in network.proof.layers}
    largest = dict(zip(column(found, "layer"), column(found, "largest number"), strict=True))
    assert largest["conv"] == f"{bounds['conv'].accumulate:,}"
    assert column(found, "accumulator")[1] == f"{bounds['conv'].accumulator_bits} bits"
    assert column(found, "carrier")[1] == "float32"
    assert float(column(found, "below 2²⁴")[1].rstrip(" ×").replace(",", "")) == pytest.approx(
        2**24 / bounds["conv"].accumulate, rel=0.01
    )
    assert {len(row) for row in found.rows} == {len(found.headings)}


def test_neurons_are_described_in_values_and_codes() -> None:
    (row,) = tables.neurons(lowered(Net())).rows
    assert row[:5] == ("lif", "9", "Q2.5, codes -128 to 127", "0.25 (code 8)", "115 / 128 = 0.898438")
    assert row[5:] == ("subtract, delayed", "membrane > threshold", "half up, saturate")


def test_a_float_network_has_no_bounds_to_show() -> None:
    found = tables.layers(lowered(Net(beta=0.9)), {})
    assert "largest number" not in found.headings
    assert tables.neurons(lowered(Net(beta=0.9))).rows[0][3:5] == ("0.25", "0.9")


def counted(**changes: Any) -> Activity:
    given: dict[str, Any] = {"accumulations": True, "kind": "linear", "weights": 40, "zero_weights": 10, "evaluations": 5}
    synaptic = (
        SynapticLayer(layer="fc1", dense=200, effective=90, **given | {"accumulations": False}),
        SynapticLayer(layer="fc2", dense=200, effective=31, **given),
    )
    spiking = (
        SpikingLayer(layer="lif", neurons=8, neuron_steps=120, active=30, silent=2, always_active=1, at_lowest=4, at_highest=2),
    )
    rest: dict[str, Any] = {
        "groups": ("given",),
        "samples": 3,
        "num_steps": 5,
        "parameter_bytes": 99,
        "state_bytes": 8,
        "file_bytes": None,
    }
    return Activity(**{"synaptic": synaptic, "spiking": spiking} | rest | changes)


def test_operations_are_means_over_samples() -> None:
    found = tables.synaptic(counted())
    assert found.rows == (
        ("fc1", "40", "25.00 %", "200", "0", "30", "15.00 %"),
        ("fc2", "40", "25.00 %", "200", "10.3", "0", "5.17 %"),
        ("all layers", "80", "25.00 %", "400", "10.3", "30", "10.08 %"),
    )


def test_operations_that_are_not_known_are_dashes() -> None:
    unknown = SynapticLayer(
        layer="fc", kind="linear", weights=4, zero_weights=0, evaluations=1, dense=4, effective=None, accumulations=None
    )
    found = tables.synaptic(counted(synaptic=(unknown, *counted().synaptic)))
    assert found.rows[0][4:] == ("–", "–", "–")
    assert found.rows[-1][4:] == ("–", "–", "–")


def test_rates_are_exact_shares() -> None:
    assert tables.spiking(counted()).rows == (("lif", "8", "25.00 %", "75.00 %", "2", "1", "5.00 %"),)


def test_every_way_of_running_has_a_row(tmp_path: Path) -> None:
    report = checked(tmp_path, lowered(Net()), inputs()).report
    found = check_tables.runs(report.runs)
    assert len(found.rows) == len(report.runs)
    assert sum(int(count.replace(",", "")) for count in column(found, "numbers compared")) == report.compared


@pytest.mark.parametrize(("value", "words"), [(1234567, "1,234,567"), (np.float32(0.5), "0.5"), (None, "–"), ("nan", "nan")])
def test_numbers_are_written_to_be_read(value: Any, words: str) -> None:
    assert number(value) == words


def test_nothing_is_rounded_to_none_or_all() -> None:
    assert percent(999_999, 1_000_000) == "over 99.99 %"
    assert percent(1, 1_000_000) == "under 0.01 %"
    assert (percent(None, 3), percent(0, 0), per(None, 3), per(10, 4)) == ("–", "–", "–", "2.5")


def test_names_show_all_their_characters() -> None:
    assert visible("a\u200bb\u2028\U000e0001") == "a\\u200bb\\u2028\\ue0001"
    assert len(visible("x" * 500)) == 80


def test_what_ran_and_what_it_did_is_told(tmp_path: Path) -> None:
    report = checked(tmp_path, maps_network()).report
    groups = check_tables.vectors(report.vectors)
    assert sum(int(count) for count in column(groups, "how many")) == report.samples
    assert column(groups, "samples")[0] == "every input at its highest code"
    (covered,) = check_tables.coverage(report.coverage).rows
    (layer,) = report.coverage
    assert covered[1:5] == tuple(f"{n:,}" for n in (168, layer.fired, layer.reset, layer.threshold))
    close = check_tables.approached(report.approached)
    assert column(close, "bound") == [f"{each.bound:,}" for each in report.approached]
    assert set(column(close, "of what")) >= {"accumulate", "step", "synapse step"}

"""Every form and carrier of a graph computes the contract: every layer kind, every setting, every readout."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_contracts import LAYERS, W5, lif, network
from random_contracts import assert_equal, draw, expected, inputs

import qleaky
from qleaky import IntegerNetwork, QFormat, Runner
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS
from qleaky.integer import (
    Add,
    Input,
    Linear,
    Readout,
)

LARGE = 10**6  # a batch that keeps everything inside the time loop
WAYS: list[dict[str, Any]] = [
    {"form": form, "carrier": carrier, "batch_hint": hint}
    for form in ("unrolled", "scan")
    for carrier in CARRIERS
    for hint in (None, LARGE)
] + [{"form": "step", "carrier": carrier} for carrier in CARRIERS]
IDS = ["-".join(str(v) for v in way.values() if v) for way in WAYS]
SEEDS = st.integers(0, 2**32 - 1)
QUIET = [HealthCheck.too_slow]


def check(network: IntegerNetwork, seed: int = 0, **way: Any) -> None:
    """Shipped outputs of ONNX Runtime, not optimized and optimized, on three samples and on one."""
    data, arrays = onnx_bytes(network, **way), inputs(network, 3, seed)
    wanted = expected(network, arrays, way.get("probe", False) and way["form"] != "step")
    for optimize in (False, True):
        runner = Runner(data, optimize=optimize)
        assert_equal(runner.run(arrays), wanted)
        one = {i.name: arrays[i.name][:, :1] if i.time == "sequence" else arrays[i.name][:1] for i in network.inputs}
        assert_equal(runner.run(one), expected(network, one, way.get("probe", False) and way["form"] != "step"))


@settings(max_examples=25, suppress_health_check=QUIET)
@given(seed=SEEDS)
@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_random_contracts(way: dict[str, Any], seed: int) -> None:
    check(draw(seed), seed, **way)


@settings(max_examples=15, suppress_health_check=QUIET)
@given(seed=SEEDS)
@pytest.mark.parametrize("way", WAYS[:8], ids=IDS[:8])
def test_random_contracts_with_fast_forms(way: dict[str, Any], seed: int) -> None:
    check(draw(seed, common=True), seed, **way)


@settings(max_examples=10, suppress_health_check=QUIET)
@given(seed=SEEDS)
@pytest.mark.parametrize("form", ["unrolled", "scan"])
@pytest.mark.parametrize("carrier", CARRIERS)
def test_probes_are_all_spikes_and_membranes(carrier: str, form: str, seed: int) -> None:
    check(draw(seed, common=bool(seed % 2)), seed, form=form, carrier=carrier, probe=True)


@settings(max_examples=15, suppress_health_check=QUIET)
@given(seed=SEEDS)
def test_a_step_graph_gives_the_whole_run_so_far(seed: int) -> None:
    """Spikes, membranes and readouts of every step equal the reference's run of as many steps."""
    network = draw(seed)
    arrays = inputs(network, 2, seed)
    runner = Runner(onnx_bytes(network, "step", probe=True))
    whole = qleaky.run(network, arrays)
    for t in range(network.num_steps):
        got = runner.step({i.name: arrays[i.name][t] if i.time == "sequence" else arrays[i.name] for i in network.inputs})
        for name in whole.membranes:
            assert np.array_equal(got[f"{name}.mem.next"], whole.membranes[name][t])
            assert np.array_equal(got[f"{name}.spk"], whole.spikes[name][t])
        for name, synapses in whole.synapses.items():
            assert np.array_equal(got[f"{name}.syn.next"], synapses[t])
        for readout in network.readouts:
            name = network.output_name(readout)
            spikes, membranes = whole.spikes[readout.layer][: t + 1], whole.membranes[readout.layer][: t + 1]
            so_far = {
                "spikes": spikes[-1],
                "spike_count": spikes.sum(axis=0),
                "membrane_mean": membranes.sum(axis=0),
                "last_membrane": membranes[-1],
            }[readout.kind]
            assert np.array_equal(got[name], so_far)
            if readout.argmax:
                assert np.array_equal(got[network.output_name(readout, "class")], so_far.argmax(axis=-1))


@pytest.mark.parametrize("way", WAYS, ids=IDS)
@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer(kind: str, way: dict[str, Any]) -> None:
    spikes = qleaky.run(LAYERS[kind], inputs(LAYERS[kind])).spikes
    assert any(0 < array.mean() < 1 for array in spikes.values())
    check(LAYERS[kind], **way)


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_several_inputs_and_readouts(way: dict[str, Any]) -> None:
    given = (Input((5,), QFormat(4, 1), "sequence", "sound"), Input((5,), QFormat(8, 3, signed=False), "static", "light"))
    both = network(
        Linear(name="fc", input="light", weight=W5, weight_frac_bits=4),
        Add(name="sum", inputs=("sound", "fc"), signs=(1, 1)),
        lif("first", "sum"),
        lif("second", "first", theta=np.array(3)),
        inputs=given,
        readouts=(Readout("first", "membrane_mean", True), Readout("second", "spikes")),
    )
    check(both, **way)
    names = {o.name for o in onnx.load_model_from_string(onnx_bytes(both, **way)).graph.output}
    assert {"first.membrane_sum", "first.class", "second.spikes"} <= names


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("hint", [None, LARGE])
@pytest.mark.parametrize("kind", ["spikes", "spike_count", "membrane_mean", "last_membrane"])
def test_a_scan_takes_any_number_of_steps(kind: Any, hint: int | None, carrier: str) -> None:
    layers = LAYERS["recurrence"].layers
    short, long = (network(*layers, num_steps=steps, readouts=(Readout("lif", kind, True),)) for steps in (4, 9))
    runner = Runner(onnx_bytes(short, "scan", carrier, hint))
    for steps in (1, 9):
        other = network(*layers, num_steps=steps, readouts=(Readout("lif", kind, True),))
        arrays = inputs(long, steps=steps)
        assert_equal(runner.run(arrays), expected(other, arrays))


@pytest.mark.parametrize("name", ["Add_1", "const_1", "Clip_2", "state_1", "lif.weight", "Reshape_1"])
@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
def test_an_input_with_the_name_of_a_node(form: str, name: str) -> None:
    check(network(lif("lif", name), inputs=(Input((5,), QFormat(4, 1), "sequence", name),)), form=form)


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_the_bytes_are_the_same_every_time(way: dict[str, Any]) -> None:
    assert onnx_bytes(draw(5), **way) == onnx_bytes(draw(5), **way)

"""Every form and carrier of a graph computes the contract: every layer kind, every setting, every readout."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_contracts import assert_equal, draw, expected, inputs

import qleaky
from qleaky import IntegerNetwork, QFormat, Runner
from qleaky.dynamics import MulShift
from qleaky.errors import InputError, LoweringError
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS
from qleaky.integer import (
    LIF,
    Add,
    Affine,
    AveragePool,
    Concat,
    Conv,
    Delay,
    Input,
    Linear,
    MaxPool,
    Readout,
    Reshape,
    Transpose,
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


# One network for each kind of layer

SMALL = QFormat(4, 1)
STATE = {"state": QFormat(8, 2), "theta": np.array(9), "decay": MulShift(n=3), "multiplier": np.array(7)}


def lif(name: str, source: str, **fields: Any) -> LIF:
    return LIF(name=name, input=source, **STATE | fields)  # type: ignore[arg-type]


def network(*layers: Any, shape: tuple[int, ...] = (5,), fmt: QFormat = SMALL, **parts: Any) -> IntegerNetwork:
    """The layers behind one input; the last layer is read."""
    given: dict[str, Any] = {
        "inputs": (Input(shape, fmt),),
        "num_steps": 4,
        "readouts": (Readout(layers[-1].name, "spikes", True),),
    }
    return IntegerNetwork(layers=layers, **given | parts)


R = np.random.default_rng(0)
W44, W54, W5 = (R.integers(-7, 8, shape).astype(np.int8) for shape in ((4, 4), (4, 5), (5, 5)))
KERNEL = R.integers(-7, 8, (4, 2, 3, 2)).astype(np.int8)
WINDOW: dict[str, Any] = {"stride": (2, 1), "pads": ((1, 0), (0, 1)), "dilation": (1, 2)}
POOL: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 2), "pads": ((0, 1), (1, 0))}
MAP = (2, 6, 6)
LAYERS: dict[str, IntegerNetwork] = {
    "linear": network(Linear(name="fc", input="input", weight=W54, bias=np.arange(4), weight_frac_bits=1), lif("lif", "fc")),
    "linear on maps": network(
        Linear(name="fc", input="input", weight=W54, weight_frac_bits=1), lif("lif", "fc"), shape=(2, 3, 5)
    ),
    "conv": network(
        Conv(name="conv", input="input", weight=KERNEL, weight_frac_bits=1, **WINDOW), lif("lif", "conv"), shape=MAP
    ),
    "conv of two groups": network(
        Conv(name="conv", input="input", weight=KERNEL[:, :1], bias=np.arange(4), weight_frac_bits=1, groups=2, **WINDOW),
        lif("lif", "conv"),
        shape=MAP,
    ),
    "conv of a line": network(
        Conv(name="conv", input="input", weight=KERNEL[..., 0], weight_frac_bits=1, stride=(2,), pads=((2, 0),), dilation=(2,)),
        lif("lif", "conv"),
        shape=(2, 9),
    ),
    "conv of spikes": network(
        lif("first", "input"),
        Conv(name="conv", input="first", weight=KERNEL, bias=np.arange(4), weight_frac_bits=1, **WINDOW),
        lif("lif", "conv"),
        shape=MAP,
    ),
    "affine": network(
        Affine(name="scaled", input="input", scale=np.array([3, -2, 1, 0, 5]), bias=np.array(4), scale_frac_bits=1),
        lif("lif", "scaled"),
    ),
    "affine bias alone": network(
        Affine(name="moved", input="input", bias=np.arange(5), scale_frac_bits=2), lif("lif", "moved")
    ),
    "average pool": network(AveragePool(name="pool", input="input", divisor=4, **POOL), lif("lif", "pool"), shape=MAP),
    "average pool of 3": network(
        AveragePool(name="pool", input="input", kernel=(3, 3), stride=(1, 1), pads=((1, 1), (1, 1)), divisor=8),
        lif("lif", "pool"),
        shape=MAP,
    ),
    "average pool with wide pads": network(
        AveragePool(name="pool", input="input", kernel=(1, 2), stride=(1, 1), pads=((1, 1), (2, 0)), divisor=2),
        lif("lif", "pool"),
        shape=MAP,
    ),
    "average pool before weights": network(
        lif("first", "input"),
        AveragePool(name="pool", input="first", divisor=4, **POOL),
        Conv(name="conv", input="pool", weight=KERNEL, bias=np.arange(4), weight_frac_bits=1, **WINDOW),
        lif("lif", "conv"),
        AveragePool(name="pool2", input="lif", kernel=(1, 2), stride=(1, 1), pads=((0, 0), (0, 0)), divisor=2),
        Reshape(name="flat", input="pool2", shape=(4,)),
        Linear(name="fc", input="flat", weight=W44, weight_frac_bits=0),
        lif("out", "fc"),
        shape=MAP,
    ),
    "max pool": network(MaxPool(name="pool", input="input", dilation=(1, 1), **POOL), lif("lif", "pool"), shape=MAP),
    "max pool of wide numbers": network(
        MaxPool(name="pool", input="input", dilation=(1, 1), **POOL), lif("lif", "pool"), shape=MAP, fmt=QFormat(30, 4)
    ),
    "max pool with wide pads": network(
        MaxPool(name="pool", input="input", kernel=(2, 2), stride=(1, 1), pads=((2, 2), (0, 0)), dilation=(2, 1)),
        lif("lif", "pool"),
        shape=MAP,
    ),
    "reshape and transpose": network(
        Transpose(name="turned", input="input", axes=(1, 0)),
        Reshape(name="flat", input="turned", shape=(10,)),
        lif("lif", "flat"),
        shape=(2, 5),
        fmt=QFormat(4, 1, signed=False, zero_point=9),
    ),
    "residual": network(
        lif("first", "input"),
        Linear(name="fc", input="first", weight=W5, weight_frac_bits=2),
        Add(name="sum", inputs=("fc", "first", "input"), signs=(1, -1, 1)),
        lif("lif", "sum"),
    ),
    "sum that broadcasts": network(
        Reshape(name="column", input="input", shape=(5, 1)),
        Add(name="sum", inputs=("column", "input"), signs=(-1, 1)),
        lif("lif", "sum"),
    ),
    "concat": network(
        Linear(name="fc", input="input", weight=W54, weight_frac_bits=3),
        Concat(name="both", inputs=("input", "fc"), axis=-1),
        lif("lif", "both"),
    ),
    "recurrence": network(
        Delay(name="back", input="lif", shape=(5,), frac_bits=0, low=0, high=1),
        Linear(name="loop", input="back", weight=W5, weight_frac_bits=0),
        Add(name="sum", inputs=("input", "loop"), signs=(1, 1)),
        lif("lif", "sum"),
    ),
    "two layers in a loop": network(
        Delay(name="back", input="second", shape=(5,), frac_bits=0, low=0, high=1),
        Add(name="sum", inputs=("input", "back"), signs=(1, -1)),
        lif("first", "sum"),
        Linear(name="fc", input="first", weight=W5, weight_frac_bits=0),
        lif("second", "fc"),
        lif("behind", "fc"),
    ),
    "a delay forward": network(
        lif("first", "input"),
        Delay(name="late", input="first", shape=(5,), frac_bits=0, low=0, high=1),
        Add(name="sum", inputs=("first", "late"), signs=(1, 1)),
        lif("lif", "sum", theta=np.array(3)),
    ),
    "a delayed input": network(
        Delay(name="late", input="input", shape=(5,), frac_bits=1, low=-8, high=7), lif("lif", "late", theta=np.array(3))
    ),
}


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


def test_a_scan_is_the_same_at_every_length_and_an_unrolled_graph_grows() -> None:
    sizes = {
        form: [len(onnx_bytes(network(*LAYERS["linear"].layers, num_steps=steps), form)) for steps in (10, 200)]
        for form in ("scan", "step", "unrolled")
    }
    assert sizes["scan"][1] - sizes["scan"][0] < 10
    assert sizes["step"][1] - sizes["step"][0] < 10
    assert sizes["unrolled"][1] > 10 * sizes["unrolled"][0]


def metadata(data: bytes) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load_model_from_string(data).metadata_props}


@pytest.mark.parametrize(
    ("steps", "width", "hint", "form", "placement"),
    [
        (25, 256, None, "unrolled", "hoisted"),
        (25, 256, 8, "unrolled", "hoisted"),
        (200, 10, None, "scan", "hoisted"),
        (25, 257, None, "scan", "hoisted"),
        (25, 2000, 64, "scan", "inside"),
        (25, 10, 10_000, "scan", "inside"),
    ],
)
def test_the_form_is_chosen_by_measured_rules(steps: int, width: int, hint: int | None, form: str, placement: str) -> None:
    wide = network(lif("lif", "input"), shape=(width,), num_steps=steps)
    found = metadata(onnx_bytes(wide, batch_hint=hint))
    assert (found["qleaky.form"], found["qleaky.placement"]) == (form, placement)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "rolled"}, "form='rolled' is unknown. Choose one of auto, unrolled, scan, step"),
        ({"carrier": "bfloat16"}, "carrier='bfloat16' is unknown. Choose one of integer, float"),
        ({"batch_hint": 0}, "batch_hint=0; it is the number of samples that will run together, at least 1"),
        ({"batch_hint": 2.5}, "batch_hint=2.5; it is the number of samples"),
        ({"batch_hint": True}, "batch_hint=True; it is the number of samples"),
    ],
)
def test_unknown_forms_carriers_and_batches(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        onnx_bytes(LAYERS["linear"], **arguments)


def test_an_input_with_the_name_of_an_output() -> None:
    given = (Input((5,), QFormat(4, 1), "sequence", "spikes"),)
    with pytest.raises(InputError, match=r"input 'spikes' has the name of an output.*Give the input another name"):
        onnx_bytes(network(lif("lif", "spikes"), inputs=given))


@pytest.mark.parametrize("name", ["Add_1", "const_1", "Clip_2", "state_1", "lif.weight", "Reshape_1"])
@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
def test_an_input_with_the_name_of_a_node(form: str, name: str) -> None:
    check(network(lif("lif", name), inputs=(Input((5,), QFormat(4, 1), "sequence", name),)), form=form)


def test_endless_unrolled_graphs_are_refused() -> None:
    endless = network(lif("lif", "input"), num_steps=1_000_000)
    with pytest.raises(LoweringError, match=r"1,000,000 unrolled steps of 1 layers are about 6,000,000 nodes.*Use form='scan'"):
        onnx_bytes(endless, "unrolled")
    assert len(onnx_bytes(endless)) < 10_000


def described(values: Any) -> list[tuple[str, str, list[Any]]]:
    kinds = onnx.TensorProto.DataType.Name
    found = [(v.name, v.type.tensor_type) for v in values]
    return [(name, kinds(t.elem_type), [d.dim_param or d.dim_value for d in t.shape.dim]) for name, t in found]


def test_the_interface_of_a_scan() -> None:
    graph = onnx.load_model_from_string(onnx_bytes(LAYERS["recurrence"], "scan", probe=True)).graph
    assert described(graph.input) == [("input", "INT8", ["time", "batch", 5])]
    assert described(graph.output) == [
        ("spikes", "UINT8", ["time", "batch", 5]),
        ("class", "INT64", ["time", "batch"]),
        ("lif.final_mem", "INT32", ["batch", 5]),
        ("lif.spk", "UINT8", ["time", "batch", 5]),
        ("lif.mem", "INT32", ["time", "batch", 5]),
    ]


def test_the_interface_of_a_step() -> None:
    parts = LAYERS["recurrence"]
    layers = (*parts.layers[:3], lif("lif", "sum", synapse=qleaky.integer.Synapse(state=QFormat(12, 4))))
    counted = network(*layers, readouts=(Readout("lif", "spike_count", True),))
    graph = onnx.load_model_from_string(onnx_bytes(counted, "step", probe=True)).graph
    assert described(graph.input) == [
        ("input", "INT8", ["batch", 5]),
        ("back.state", "UINT8", ["batch", 5]),
        ("lif.mem", "INT32", ["batch", 5]),
        ("lif.syn", "INT32", ["batch", 5]),
        ("spike_count.state", "INT32", ["batch", 5]),
    ]
    assert described(graph.output) == [
        ("spike_count", "INT32", ["batch", 5]),
        ("class", "INT64", ["batch"]),
        ("back.state.next", "UINT8", ["batch", 5]),
        ("lif.mem.next", "INT32", ["batch", 5]),
        ("lif.syn.next", "INT32", ["batch", 5]),
        ("spike_count.state.next", "INT32", ["batch", 5]),
        ("lif.spk", "UINT8", ["batch", 5]),
    ]


def test_graded_spikes_leave_as_int32() -> None:
    graded = network(lif("lif", "input", graded=np.array(-3)))
    for form in ("unrolled", "scan", "step"):
        assert described(onnx.load_model_from_string(onnx_bytes(graded, form)).graph.output)[0][:2] == ("spikes", "INT32")
    counted = network(lif("lif", "input", max_spikes=200, theta=np.array(1)))
    assert described(onnx.load_model_from_string(onnx_bytes(counted)).graph.output)[0][:2] == ("spikes", "UINT8")


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_the_bytes_are_the_same_every_time(way: dict[str, Any]) -> None:
    assert onnx_bytes(draw(5), **way) == onnx_bytes(draw(5), **way)

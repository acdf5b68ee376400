"""``verify``: proved, measured or differs, honestly; every mutant is caught, and the first divergence is where it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, QuantLinear, Runner, export_onnx, lower, verify
from qleaky.dynamics import MulShift
from qleaky.errors import ArtefactError, InputError
from qleaky.export.artefact import CARRIERS
from qleaky.integer import LIF, Input, Linear, Readout, Synapse
from qleaky.reference import run

T, SAMPLES, SIZES, THETA = 6, 20, (3, 5, 4), 40
RNG = np.random.default_rng(1)
WEIGHTS = [RNG.integers(-127, 128, (out, into), dtype=np.int8) for into, out in ((3, 5), (5, 4))]
INPUTS = RNG.integers(-128, 128, (T, SAMPLES, 3), dtype=np.int8)
Arrays = dict[str, NDArray[Any]]


def contract() -> IntegerNetwork:
    layers: list[Any] = []
    for i, weight in enumerate(WEIGHTS, start=1):
        layers.append(Linear(name=f"fc{i}", input="input" if i == 1 else "lif1", weight=weight, weight_frac_bits=7))
        decay = {"decay": MulShift(n=8), "multiplier": np.array(230)}
        layers.append(LIF(name=f"lif{i}", input=f"fc{i}", state=QFormat(8, 5), theta=np.array(THETA), **decay))
    parts: dict[str, Any] = {
        "inputs": (Input((3,), QFormat(8, 6)),),
        "num_steps": T,
        "readouts": (Readout("lif2", "spike_count"),),
    }
    return IntegerNetwork(layers=tuple(layers), **parts)


def simulate(weights: Any = WEIGHTS, lowest: int = -128, reset: int = THETA, inclusive: bool = False) -> tuple[Arrays, Arrays]:
    """The same network written once more, with what a mutant changes: membranes and spikes (T, B, ...) of each layer."""
    x: Any = INPUTS.astype(int)
    mems, spks = {}, {}
    for i, (weight, shift) in enumerate(zip(weights, (8, 2), strict=True), start=1):
        mem, steps = np.zeros((SAMPLES, len(weight)), int), []
        fires = (lambda u: u >= THETA) if inclusive else (lambda u: u > THETA)
        for t in range(T):
            total = 230 * mem + (x[t] @ weight.T.astype(int) << 8 - shift) - 256 * reset * fires(mem)
            mem = np.clip((total + 128) >> 8, lowest, 127)
            steps.append(mem)
        mems[f"lif{i}"] = np.stack(steps)
        x = spks[f"lif{i}"] = fires(mems[f"lif{i}"]).astype(int)
    return mems, spks


def first_difference(mutant: tuple[Arrays, Arrays]) -> tuple[Any, ...]:
    """Of the first sample that differs the earliest step, the first layer there, membrane before spike, first element."""
    kinds = dict(zip(("mem", "spk"), zip(simulate(), mutant, strict=True), strict=True))
    for sample in range(SAMPLES):
        for t in range(T):
            for layer in ("lif1", "lif2"):
                for kind, (expected, got) in kinds.items():
                    a, b = expected[layer][t, sample], got[layer][t, sample]
                    if (a != b).any():
                        element = int(np.argmax(a != b))
                        return layer, kind, t, sample, (element,), float(a[element]), float(b[element])
    raise AssertionError("the mutant computes the same")


def test_the_simulation_here_is_the_contract() -> None:
    recording, (mems, spks) = run(contract(), INPUTS), simulate()
    assert all(np.array_equal(recording.membranes[name], mems[name]) for name in mems)
    assert all(np.array_equal(recording.spikes[name], spks[name]) for name in spks)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    export_onnx(contract(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


# Verdicts


def test_an_export_is_proved_on_given_and_on_synthetic_inputs(artefact: Path) -> None:
    for inputs, samples in ((INPUTS, SAMPLES), (None, 64)):
        report = verify(artefact, contract(), inputs)
        assert (report.verdict, report.exact, report.mismatches, report.first_divergence) == ("proved", True, 0, None)
        assert (report.samples, report.reasons, report.torch) == (samples, (), None)
        assert report.contract_digest == contract().digest
        assert report.bounds == contract().proof.layers


def test_every_spike_and_membrane_is_compared_at_every_setting(artefact: Path) -> None:
    report = verify(artefact, contract(), INPUTS)
    assert [(r.optimized, r.threads, r.batch) for r in report.runs] == [
        (optimized, threads, batch) for optimized in (False, True) for threads in (1, 2) for batch in (1, 64)
    ]
    for found in report.runs:
        samples = 16 if found.batch == 1 else 64
        assert (found.comparison.spikes, found.comparison.membranes) == (samples * T * 9, samples * T * 9)
        assert found.comparison.outputs == 2 * samples * (4 + 4 + 5)
    assert report.compared == sum(found.comparison.compared for found in report.runs)


def lowered(net: nn.Module, *states: Tensor, bits: int = 8) -> Any:
    return lower(net, (torch.zeros(1, 3), *states), num_steps=T, input_format=QFormat(bits, 4))


def hidden(**settings: Any) -> nn.Sequential:
    torch.manual_seed(0)
    lif = Leaky(**{"beta": 0.5, "threshold": 1.0, "state_quant": FixedPoint(8, 5), "init_hidden": True} | settings)
    return nn.Sequential(QuantLinear(3, 4), lif)


def test_torchs_own_evaluation_is_compared_where_the_module_is_given(artefact: Path) -> None:
    net = hidden()
    network = export_onnx(net, artefact, sample_input=torch.zeros(1, 3), num_steps=T, input_format=QFormat(8, 4))
    report = verify(artefact, network, module=net)
    assert report.torch is not None
    assert (report.verdict, report.torch.spikes, report.torch.mismatches) == ("proved", T * 64 * 4, 0)


def test_a_module_with_other_weights_differs_and_another_module_is_refused(artefact: Path) -> None:
    net = hidden()
    network = export_onnx(net, artefact, sample_input=torch.zeros(1, 3), num_steps=T, input_format=QFormat(8, 4))
    other = hidden()
    with torch.no_grad():
        other[0].weight.mul_(-1)
    report = verify(artefact, network, module=other)
    assert report.verdict == "differs"
    assert report.torch is not None
    assert report.torch.mismatches == report.mismatches > 0
    with pytest.raises(InputError, match="pass the module that was lowered to it"):
        verify(artefact, network, module=nn.Sequential(nn.Identity(), *hidden()))


def test_a_sum_that_torch_may_round_is_measured_with_the_module_and_proved_without(artefact: Path) -> None:
    net = hidden()
    net[0] = nn.Linear(3, 4, bias=False)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(WEIGHTS[0][:4]) * 250.0)
    network = lowered(net, bits=16)
    assert network.proof.artefact_exact
    export_onnx(network, artefact)
    report = verify(artefact, network, module=net)
    assert report.verdict in ("measured", "differs")
    assert not report.exact
    assert report.reasons == network.proof.training_reasons != ()
    assert verify(artefact, network).verdict == "proved"


class StarStates(nn.Module):
    """A step network that takes its states as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = hidden(init_hidden=False)

    def forward(self, x: Tensor, *states: Tensor) -> Any:
        return self.lif(self.fc(x), states[0])


class DefaultStates(StarStates):
    def forward(self, x: Tensor, mem: Tensor | None = None) -> Any:
        return self.lif(self.fc(x), mem)


@pytest.mark.parametrize("kind", [StarStates, DefaultStates])
def test_a_module_is_called_as_it_was_lowered(kind: type[nn.Module], artefact: Path) -> None:
    net = kind()
    network = lowered(net, torch.zeros(1, 4))
    export_onnx(network, artefact)
    assert verify(artefact, network, module=net).verdict == "proved"


# Mutants


def initializer(model: ModelProto, name: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def flip_weight(model: ModelProto) -> None:
    tensor = initializer(model, "fc2.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[1, 2] ^= 8
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def fire_at_the_threshold(model: ModelProto) -> None:
    for node in model.graph.node:
        node.op_type = "GreaterOrEqual" if node.op_type == "Greater" else node.op_type


def rewire(model: ModelProto, kind: str, place: int, change: int) -> None:
    """Give one input of every node of a kind another constant, the old one plus ``change``."""
    for node in model.graph.node:
        if node.op_type == kind:
            array = numpy_helper.to_array(initializer(model, node.input[place])).copy()
            name = f"{node.input[place]}_changed"
            if all(tensor.name != name for tensor in model.graph.initializer):
                model.graph.initializer.append(numpy_helper.from_array(array + np.array(change, array.dtype), name))
            node.input[place] = name


def flipped() -> list[Any]:
    weight = WEIGHTS[1].copy()
    weight[2, 1] ^= 8
    return [WEIGHTS[0], weight]


MUTANTS: dict[str, tuple[Callable[[ModelProto], None], dict[str, Any]]] = {
    "a weight's bit": (flip_weight, {"weights": flipped()}),
    "> to >=": (fire_at_the_threshold, {"inclusive": True}),
    "the clip's lower bound": (lambda model: rewire(model, "Clip", 1, 1), {"lowest": -127}),
    "the reset": (lambda model: rewire(model, "Where", 1, 256), {"reset": THETA + 1}),
}


def general(artefact: Path) -> None:
    """The contract as a graph of one step, where every operator of a step is written out."""
    export_onnx(contract(), artefact, form="step")


def mutate(artefact: Path, change: Callable[[ModelProto], None]) -> None:
    model = onnx.load(artefact)
    change(model)
    onnx.save(model, artefact)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_graph_differs_and_the_first_divergence_is_located(name: str, artefact: Path) -> None:
    change, changed = MUTANTS[name]
    general(artefact)
    mutate(artefact, change)
    report = verify(artefact, contract(), INPUTS)
    assert (report.verdict, report.exact) == ("differs", False)
    found = report.first_divergence
    assert found is not None
    where = (found.layer, found.kind, found.step, found.sample, found.element, found.expected, found.got)
    assert where == first_difference(simulate(**changed))
    assert f"layer '{found.layer}', step {found.step}, sample {found.sample}, element [{found.element[0]}]: " in str(found)
    mutant, original = simulate(**changed), simulate()
    full = next(found.comparison for found in report.runs if found.batch == 64)
    again = np.arange(64) % SAMPLES
    wrong = [sum(int((a[n] != b[n])[:, again].sum()) for n in a) for a, b in zip(original, mutant, strict=True)]
    assert [full.membrane_mismatches, full.spike_mismatches] == wrong


def numbers(graph: Any) -> list[Any]:
    """The constants of a graph that hold numbers, not shapes."""
    return [tensor for tensor in graph.initializer if tensor.data_type not in (TensorProto.INT64, TensorProto.UINT8)]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
def test_no_graph_with_another_number_is_proved(form: str, carrier: str, artefact: Path) -> None:
    export_onnx(contract(), artefact, form, carrier)
    whole = onnx.load(artefact)
    assert verify(artefact, contract(), INPUTS).verdict == "proved"
    for place in range(len(numbers(whole.graph))):
        model = onnx.load(artefact)
        tensor = numbers(model.graph)[place]
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((array + 1).astype(array.dtype), tensor.name))
        onnx.save(model, artefact.with_name("other.onnx"))
        report = verify(artefact.with_name("other.onnx"), contract(), INPUTS[:, :2])
        assert report.verdict in ("measured", "differs")
        assert any("is not the one that this version of qleaky emits" in reason for reason in report.reasons)


def test_an_output_that_differs_alone_is_caught(artefact: Path) -> None:
    mutate(
        artefact, lambda model: setattr(next(n for n in model.graph.node if n.op_type == "ReduceSum"), "op_type", "ReduceMax")
    )
    report = verify(artefact, contract(), INPUTS)
    assert report.verdict == "differs"
    assert report.total.output_mismatches == report.mismatches > 0


def test_the_shipped_outputs_themselves_are_checked(artefact: Path) -> None:
    """A final membrane of the step before: every spike and membrane of the twin is right."""

    def change(model: ModelProto) -> None:
        node = next(n for n in model.graph.node if n.op_type != "Concat" and n.input[0] == f"lif1/mem/{T - 1}")
        node.input[0] = f"lif1/mem/{T - 2}"

    mutate(artefact, change)
    report = verify(artefact, contract(), INPUTS)
    assert (report.verdict, report.total.spike_mismatches, report.total.membrane_mismatches) == ("differs", 0, 0)


def edit_metadata(key: str, value: str | None) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        for entry in list(model.metadata_props):
            if entry.key == key:
                model.metadata_props.remove(entry)
        if value is not None:
            model.metadata_props.add(key=key, value=value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            edit_metadata("qleaky.digest", "0" * 64),
            "was exported from another network: it names contract 000000000000",
        ),
        (
            edit_metadata("qleaky.digest", None),
            "was not exported by qleaky: it names no contract",
        ),
        (lambda model: model.graph.node.pop(), "is not a valid ONNX model, or is damaged"),
        (lambda model: setattr(model.graph.node[3], "op_type", "Leaky"), "is not a valid ONNX model, or is damaged"),
        (lambda model: setattr(model.opset_import[0], "version", 9999), "ONNX"),
        (lambda model: model.graph.ClearField("value_info"), "holds no value 'lif1/mem/0': it was not exported from this"),
    ],
    ids=["digest", "no digest", "node missing", "unknown node", "opset", "no probes"],
)
def test_a_file_that_is_not_the_networks_is_refused(change: Any, message: str, artefact: Path) -> None:
    mutate(artefact, change)
    with pytest.raises(ArtefactError, match=message):
        verify(artefact, contract(), INPUTS)


@pytest.mark.parametrize("key", ["form", "carrier", "placement", "probe"])
@pytest.mark.parametrize("value", ["rolled", None])
def test_a_file_of_another_kind_is_refused(value: Any, key: str, artefact: Path) -> None:
    mutate(artefact, edit_metadata(f"qleaky.{key}", value))
    with pytest.raises(ArtefactError, match=rf"cannot be checked: it names .*{key} '{value or ''}'.* does not know"):
        verify(artefact, contract(), INPUTS)


def test_a_cyclic_graph_is_refused(artefact: Path) -> None:
    def turn(model: ModelProto) -> None:
        nodes = [node for node in model.graph.node if node.op_type == "Clip"]
        nodes[0].input[0] = nodes[-1].output[0]

    mutate(artefact, turn)
    with pytest.raises(ArtefactError, match="is not a valid ONNX model, or is damaged"):
        verify(artefact, contract(), INPUTS)


@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("hint", [None, 10**7])
@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
def test_every_form_is_proved(form: str, hint: int | None, carrier: str, probe: bool, artefact: Path) -> None:
    export_onnx(contract(), artefact, form, carrier, hint, probe)
    report = verify(artefact, contract(), INPUTS)
    assert (report.verdict, report.mismatches, report.reasons) == ("proved", 0, ())
    full = next(found.comparison for found in report.runs if found.batch == 64)
    assert (full.spikes, full.membranes) == (64 * T * 9, 64 * T * 9)


def test_the_verdict_speaks_of_the_files_own_form(artefact: Path) -> None:
    export_onnx(contract(), artefact, "scan")
    mutate(artefact, edit_metadata("qleaky.form", "unrolled"))
    with pytest.raises(ArtefactError, match="holds no value 'lif1/mem/0'"):
        verify(artefact, contract(), INPUTS)


@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
def test_synaptic_currents_are_compared(form: str, artefact: Path) -> None:
    neurons = LIF(name="lif", input="input", state=QFormat(8, 5), theta=np.array(40), synapse=Synapse(state=QFormat(12, 6)))
    network = IntegerNetwork(inputs=contract().inputs, num_steps=T, layers=(neurons,), readouts=(Readout("lif"),))
    export_onnx(network, artefact, form)
    report = verify(artefact, network, INPUTS)
    assert report.verdict == "proved"
    assert report.runs[0].comparison.membranes == 16 * T * 3 * 2

    def change(graph: Any) -> None:
        for node in graph.node:
            if node.op_type == "Clip" and node.output[0].startswith("lif/syn"):
                node.input[2] = next(n.input[2] for n in graph.node if n.output[0].startswith("lif/mem"))
            for attribute in node.attribute:
                change(attribute.g)

    mutate(artefact, lambda model: change(model.graph))
    report = verify(artefact, network, INPUTS)
    assert report.verdict == "differs"
    assert report.first_divergence is not None
    assert report.first_divergence.kind == "syn"
    assert "synaptic current" in str(report.first_divergence)


def test_the_export_of_another_network_is_refused(artefact: Path) -> None:
    other = IntegerNetwork(inputs=contract().inputs, num_steps=T + 1, layers=contract().layers, readouts=contract().readouts)
    with pytest.raises(ArtefactError, match=f"names contract {contract().digest[:12]}, this one is {other.digest[:12]}"):
        verify(artefact, other)


def test_a_foreign_onnx_file_is_refused(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "foreign", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "net.onnx")
    with pytest.raises(ArtefactError, match="was not exported by qleaky"):
        verify(tmp_path / "net.onnx", contract())


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00" * 100, b"PK\x03\x04", np.random.default_rng(0).bytes(500)])
def test_bytes_that_are_no_onnx_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"net\.onnx is not a valid ONNX model, or is damaged"):
        verify(tmp_path / "net.onnx", contract())
    with pytest.raises(ArtefactError, match="ONNX Runtime cannot load"):
        Runner(tmp_path / "net.onnx")


def test_a_truncated_file_is_refused(artefact: Path) -> None:
    whole = artefact.read_bytes()
    for length in np.linspace(1, len(whole) - 1, 60, dtype=int):
        artefact.write_bytes(whole[:length])
        with pytest.raises(ArtefactError):
            verify(artefact, contract(), INPUTS)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"Cannot read ONNX file .*net\.onnx: No such file"):
        verify(tmp_path / "net.onnx", contract())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"runtime": "tvm"},
            "runtime='tvm' is unknown. Choose one of onnxruntime, .*onnx-reference, openvino, tract, onnxruntime-web, .*all",
        ),
        ({"inputs": INPUTS[:, :, :2]}, r"inputs have shape \(6, 20, 2\); this network takes \(6, B, 3\)"),
        ({"inputs": INPUTS[:, :0]}, "an empty batch"),
        ({"inputs": INPUTS / 100}, "not on the grid of Q1.6"),
    ],
)
def test_arguments_that_make_no_sense(arguments: Any, message: str, artefact: Path) -> None:
    with pytest.raises(InputError, match=message):
        verify(artefact, contract(), **arguments)


def test_progress_is_told_of_every_run(artefact: Path) -> None:
    told: list[str] = []
    report = verify(artefact, contract(), INPUTS, progress=told.append)
    assert len(told) == len(set(told)) == len(report.runs)


def test_verify_is_public() -> None:
    assert qleaky.verify is verify

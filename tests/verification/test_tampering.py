"""A file that holds anything but what qleaky writes is never proved, and never crashes a check or a runner."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from qleaky import IntegerNetwork, QFormat, Runner, export_onnx, verify
from qleaky.errors import ArtefactError, InputError, QleakyError
from qleaky.export import onnx_bytes
from qleaky.integer import LIF, Input, Linear, Readout

FORMS = ["unrolled", "scan", "step"]
INPUTS = np.random.default_rng(0).integers(-128, 128, (4, 3, 2), dtype=np.int8)
Change = Callable[[ModelProto], Any]


def contract() -> IntegerNetwork:
    layers = (
        Linear(name="fc", input="input", weight=np.array([[5, -3], [100, 7]], np.int8), weight_frac_bits=2),
        LIF(name="lif", input="fc", state=QFormat(8, 3), theta=np.array(20)),
    )
    readouts = (Readout("lif", "spike_count"),)
    return IntegerNetwork(inputs=(Input((2,), QFormat(8, 4)),), num_steps=4, layers=layers, readouts=readouts)


def changed(folder: Path, change: Change, form: str = "unrolled") -> Path:
    export_onnx(contract(), folder / "net.onnx", form)
    model = onnx.load(folder / "net.onnx", load_external_data=False)
    change(model)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx"


def say(key: str, value: str) -> Change:
    def change(model: ModelProto) -> None:
        next(entry for entry in model.metadata_props if entry.key == f"qleaky.{key}").value = value

    return change


def train(model: ModelProto) -> None:
    info = model.training_info.add()
    info.algorithm.name, info.initialization.name = "algorithm", "initialization"


def define(model: ModelProto) -> None:
    nodes, versions = [helper.make_node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 21)]
    model.functions.append(helper.make_function("", "Clip", ["a", "low", "high"], ["b"], nodes, versions))


def exchange_outputs(model: ModelProto) -> None:
    outputs = [helper.make_tensor_value_info("", 0, None) for _ in model.graph.output]
    for copy, output in zip(outputs, reversed(model.graph.output), strict=True):
        copy.CopyFrom(output)
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def override(model: ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "fc.weight")
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))


HARMLESS: dict[str, Change] = {
    "another input format": say("inputs", '{"input":["Q0.7","sequence"]}'),
    "another state format": say("states", '{"lif":"Q0.7"}'),
    "another carrier": say("carried", '{"lif":"int8"}'),
    "more metadata": lambda model: model.metadata_props.add(key="qleaky.sequences", value="[]"),
    "training": train,
    "a function in place of an operator": define,
    "outputs in another order": exchange_outputs,
    "a weight as an input": override,
    "another producer": lambda model: setattr(model, "producer_name", "another"),
    "a later IR": lambda model: setattr(model, "ir_version", 11),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", HARMLESS)
def test_whatever_else_a_file_holds_or_says_it_is_not_proved(name: str, form: str, tmp_path: Path) -> None:
    try:
        report = verify(changed(tmp_path, HARMLESS[name], form), contract(), INPUTS)
    except ArtefactError:
        return
    assert report.verdict in ("measured", "differs")
    assert any("or what it says of itself, is not the one" in reason for reason in report.reasons)


@pytest.mark.parametrize("form", FORMS)
def test_an_export_by_another_version_with_the_same_graph_is_proved(form: str, tmp_path: Path) -> None:
    assert verify(changed(tmp_path, say("version", "0.0.1"), form), contract(), INPUTS).verdict == "proved"


def give_a_list(model: ModelProto) -> None:
    output = model.graph.output[0]
    name, kind = output.name, output.type.tensor_type.elem_type
    for node in model.graph.node:
        node.output[:] = ["inner" if value == name else value for value in node.output]
    model.graph.node.append(helper.make_node("SequenceConstruct", ["inner"], [name]))
    output.CopyFrom(helper.make_tensor_sequence_value_info(name, kind, None))


def take_another_type(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def take_another_shape(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value = 1 << 40


@pytest.mark.parametrize("form", ["unrolled", "scan"])
@pytest.mark.parametrize("change", [give_a_list, take_another_type, take_another_shape])
def test_a_file_that_does_not_run_as_the_contract_is_the_files_fault(change: Change, form: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        verify(changed(tmp_path, change, form), contract(), INPUTS)


def test_an_unrolled_graph_is_not_written_to_find_that_a_small_file_is_none(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="holds no value 'lif/mem/0'"):
        verify(changed(tmp_path, say("form", "unrolled"), "scan"), contract(), INPUTS)


# Numbers in other files


def elsewhere(tensor: TensorProto) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.array([1, 2], np.int64), "secret"))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")


def sparse_initializer(model: ModelProto) -> None:
    elsewhere(model.graph.sparse_initializer.add(dims=[5]).values)


def sparse_attribute(model: ModelProto) -> None:
    attribute = model.graph.node.add(op_type="Constant", output=["c"]).attribute.add(name="sparse_value")
    attribute.type = AttributeProto.SPARSE_TENSOR
    elsewhere(attribute.sparse_tensor.indices)


def function(model: ModelProto) -> None:
    define(model)
    attribute = model.functions[0].node[0].attribute.add(name="value", type=AttributeProto.TENSOR)
    elsewhere(attribute.t)


def training(model: ModelProto) -> None:
    train(model)
    elsewhere(model.training_info[0].algorithm.initializer.add())


@pytest.mark.parametrize("change", [sparse_initializer, sparse_attribute, function, training])
def test_numbers_in_other_files_are_not_read(change: Change, tmp_path: Path) -> None:
    artefact = changed(tmp_path, change)
    for use in (lambda: Runner(artefact), lambda: verify(artefact, contract(), INPUTS)):
        with pytest.raises(ArtefactError, match="keeps the numbers of 'secret' in another file"):
            use()


# Runners


@pytest.mark.parametrize("form", FORMS)
def test_numbers_in_the_byte_order_of_another_machine(form: str) -> None:
    inputs = (Input((2,), QFormat(16, 4)),)
    network = IntegerNetwork(inputs=inputs, num_steps=4, layers=contract().layers, readouts=contract().readouts)
    runner, codes = Runner(onnx_bytes(network, form)), INPUTS.astype(np.int16)
    assert np.array_equal(runner.run(codes.astype(">i2"))["spike_count"], runner.run(codes)["spike_count"])


@pytest.mark.parametrize("form", FORMS)
def test_a_ragged_list_is_no_input(form: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input cannot be read as an array"):
        Runner(changed(tmp_path, lambda model: None, form)).run([[1], [2, 3]])


@pytest.mark.parametrize("value", ["", "many", "-3", "1e9", "[]"])
@pytest.mark.parametrize("key", ["num_steps", "sequences", "inputs"])
def test_a_runner_of_a_file_that_says_nonsense(key: str, value: str, tmp_path: Path) -> None:
    with contextlib.suppress(QleakyError):
        Runner(changed(tmp_path, say(key, value), "step")).run(INPUTS)


def test_a_step_graph_with_what_is_no_batch_of_numbers(tmp_path: Path) -> None:
    def change(model: ModelProto) -> None:
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
        next(node for node in model.graph.node if node.output[0] == model.graph.output[0].name).op_type = "Cast"
        next(n for n in model.graph.node if n.output[0] == model.graph.output[0].name).attribute.add(
            name="to", type=AttributeProto.INT, i=TensorProto.STRING
        )

    with pytest.raises(ArtefactError, match="'spike_count' is no batch of numbers"):
        Runner(changed(tmp_path, change, "step"))


# What a check goes by


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_steps", "1000000000000", r"says num_steps 1000000000000, and the contract that it names 4\. Export it again"),
        ("inputs", '{"input":["Q3.4","static"]}', "says inputs {'input': 'static'}, and the contract"),
        ("inputs", "nonsense", "says inputs {}, and the contract"),
        ("sequences", '["spike_count"]', r"says sequences \['spike_count'\], and the contract that it names \[\]"),
    ],
)
def test_a_file_that_says_it_runs_otherwise_than_its_contract_is_refused(
    key: str, value: str, message: str, form: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match=message):
        verify(changed(tmp_path, say(key, value), form), contract(), INPUTS)


@pytest.mark.parametrize("form", ["unrolled", "scan"])
@pytest.mark.parametrize("offset", [1, -1, 1 << 64, 10**40])
def test_an_offset_that_the_membranes_have_not_differs(offset: int, form: str, tmp_path: Path) -> None:
    assert verify(changed(tmp_path, say("offsets", f'{{"lif":{offset}}}'), form), contract(), INPUTS).verdict == "differs"


def loop(model: ModelProto) -> None:
    types = {"i": TensorProto.INT64, "go": TensorProto.BOOL, "v": TensorProto.INT64}
    infos = {name: helper.make_tensor_value_info(name, kind, []) for name, kind in types.items()}
    outs = [helper.make_tensor_value_info(f"{name}2", types[name], []) for name in ("go", "v")]
    nodes = [helper.make_node("Identity", [name], [f"{name}2"]) for name in ("go", "v")]
    body = helper.make_graph(nodes, "body", list(infos.values()), outs)
    for name, kind, value in (
        ("trip", TensorProto.INT64, 1 << 60),
        ("on", TensorProto.BOOL, True),
        ("v0", TensorProto.INT64, 0),
    ):
        model.graph.initializer.append(helper.make_tensor(name, kind, [], [value]))
    model.graph.node.append(helper.make_node("Loop", ["trip", "on", "v0"], ["end"], "endless", body=body))
    model.graph.output.append(helper.make_tensor_value_info("end", TensorProto.INT64, []))


def nested_loop(model: ModelProto) -> None:
    loop(model)
    inner = model.graph.node.pop()
    branch = helper.make_graph([inner], "branch", [], [model.graph.output.pop()])
    model.graph.node.append(helper.make_node("If", ["on"], ["end"], then_branch=branch, else_branch=branch))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("change", [loop, nested_loop])
def test_a_loop_that_may_never_end_is_not_run(change: Change, form: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="has a loop of unknown length, 'endless', which no graph of qleaky's has"):
        verify(changed(tmp_path, change, form), contract(), INPUTS)


def test_functions_that_could_double_one_another_are_not_run(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="defines functions, which no graph of qleaky's does"):
        verify(changed(tmp_path, define), contract(), INPUTS)


@pytest.mark.parametrize("sample", [64, -1, True, 1.5, "3"])
def test_a_sample_that_there_is_not(sample: Any, tmp_path: Path) -> None:
    message = re.escape(f"sample={sample!r}: the check has 64 samples, numbered from 0 to 63")
    with pytest.raises(InputError, match=message):
        verify(changed(tmp_path, lambda model: None), contract(), sample=sample)

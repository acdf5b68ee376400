"""Linear layers on bytes: never more than 128 times an i8, and exact for every code."""

import itertools
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import onnx
import pytest

from qleaky import IntegerNetwork, QFormat, Runner, run
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS
from qleaky.integer import LIF, Affine, Conv, Input, Linear, Readout

FORMATS = [
    QFormat(1, 0, signed=False),
    QFormat(7, 0, signed=False),
    QFormat(8, 0, signed=False),
    QFormat(8, 0, signed=False, zero_point=128),
    QFormat(8, 0, signed=False, zero_point=3),
    QFormat(8, 0),
    QFormat(8, 0, zero_point=-5),
    QFormat(4, 0),
    QFormat(6, 0, signed=False, zero_point=9),
    QFormat(12, 0),
]
SEEN = {"state": QFormat(32, 0), "theta": np.array(1 << 20)}


def network(fmt: QFormat, fan_in: int = 6, weight: Any = None, before: tuple[Any, ...] = ()) -> IntegerNetwork:
    """A membrane that shows the sums."""
    weight = np.resize(np.array([127, -128, 127, 127, -128, -128, 1], np.int8), (3, fan_in)) if weight is None else weight
    source = before[-1].name if before else "input"
    fc = Linear(name="fc", input=source, weight=weight, bias=np.array([5, 0, -7]), weight_frac_bits=0)
    layers = (*before, fc, LIF(name="lif", input="fc", **SEEN))  # type: ignore[arg-type]
    return IntegerNetwork(
        inputs=(Input((fan_in,), fmt),), num_steps=2, layers=layers, readouts=(Readout("lif", "last_membrane"),)
    )


def extremes(fmt: QFormat, fan_in: int = 6) -> Any:
    """All patterns of the ends of the format, and random codes."""
    ends = np.array(list(itertools.product([fmt.lowest, fmt.highest], repeat=6)), fmt.dtype)
    ends = np.resize(ends, (64, fan_in))
    codes = np.random.default_rng(0).integers(fmt.lowest, fmt.highest + 1, (64, fan_in)).astype(fmt.dtype)
    return np.stack([ends, codes])


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_every_input_format_is_exact_at_its_ends(fmt: QFormat, carrier: str, optimize: bool) -> None:
    found = Runner(onnx_bytes(network(fmt), carrier=carrier), optimize=optimize).run(extremes(fmt))
    assert np.array_equal(found["last_membrane"], run(network(fmt), extremes(fmt)).outputs["last_membrane"])


@pytest.mark.parametrize(
    ("fmt", "products"),
    [(fmt, 2 if fmt.bits == 8 else 1) for fmt in FORMATS[:-1]],
    ids=repr,
)
def test_codes_above_128_are_split_in_two(fmt: QFormat, products: int) -> None:
    graph = onnx.load_model_from_string(onnx_bytes(network(fmt))).graph
    assert sum(node.op_type == "MatMulInteger" for node in graph.node) == products
    assert not any(node.op_type == "MatMul" for node in graph.node)


def test_wide_inputs_and_wide_weights_are_multiplied_as_integers_or_in_float32() -> None:
    for carrier, dtype in (("integer", onnx.TensorProto.INT32), ("float", onnx.TensorProto.FLOAT)):
        model = onnx.shape_inference.infer_shapes(
            onnx.load_model_from_string(onnx_bytes(network(FORMATS[-1]), carrier=carrier))
        )
        product = next(node for node in model.graph.node if node.op_type == "MatMul")
        kinds = {info.name: info.type.tensor_type.elem_type for info in model.graph.value_info}
        assert kinds[product.output[0]] == dtype


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_channels_on_grids_far_apart_are_multiplied_as_bytes_and_shifted(fmt: QFormat, carrier: str) -> None:
    narrow = np.resize(np.array([127, -128, 127, 127, -128, -128, 1], np.int16), (3, 6))
    contract = network(fmt, weight=narrow << np.array([[8], [0], [3]]).astype(np.int16))
    data = onnx_bytes(contract, carrier=carrier)
    for optimize in (False, True):
        found = Runner(data, optimize=optimize).run(extremes(fmt))
        assert np.array_equal(found["last_membrane"], run(contract, extremes(fmt)).outputs["last_membrane"])
    if carrier == "integer" and fmt.bits <= 8:
        graph = onnx.load_model_from_string(data).graph
        assert any(node.op_type == "MatMulInteger" for node in graph.node)
        stored = next(tensor for tensor in graph.initializer if tensor.name == "fc.weight")
        assert stored.data_type == onnx.TensorProto.INT8


def test_channels_that_need_more_than_8_bits_each_are_not() -> None:
    weight = np.resize(np.array([255, -128, 127, 1], np.int16), (3, 6))
    contract = network(FORMATS[0], weight=weight)
    data = onnx_bytes(contract)
    assert not any(node.op_type == "MatMulInteger" for node in onnx.load_model_from_string(data).graph.node)
    inputs = extremes(FORMATS[0])
    assert np.array_equal(Runner(data).run(inputs)["last_membrane"], run(contract, inputs).outputs["last_membrane"])


@pytest.mark.parametrize("bias", [np.array(1), np.array([1, -60, 3, 0, 2, 90])])
def test_sums_of_few_values_are_multiplied_as_bytes(bias: Any) -> None:
    before = (Affine(name="moved", input="input", bias=bias),)
    inputs = extremes(QFormat(4, 0))
    contract = network(QFormat(4, 0), before=before)
    data = onnx_bytes(contract)
    assert any(node.op_type == "MatMulInteger" for node in onnx.load_model_from_string(data).graph.node)
    assert np.array_equal(Runner(data).run(inputs)["last_membrane"], run(contract, inputs).outputs["last_membrane"])


CONVS = {
    "Conv": (np.array([3, -2], np.int8), QFormat(8, 0)),
    "ConvInteger": (np.array([127, -128], np.int8), QFormat(8, 0, signed=False)),
    "MatMul": (np.array([127, -128], np.int8), QFormat(8, 0)),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("operator", CONVS)
def test_convolutions_beyond_float32_are_integer_ones_or_products_by_taps(operator: str, carrier: str) -> None:
    numbers, fmt = CONVS[operator]
    weight = np.resize(numbers, (2, 1100, 1)).astype(np.int8)
    conv = Conv(
        name="conv",
        input="input",
        weight=weight,
        bias=np.array([9, -9]),
        weight_frac_bits=0,
        stride=(1,),
        pads=((1, 0),),
        dilation=(1,),
    )
    contract = IntegerNetwork(
        inputs=(Input((1100, 2), fmt),),
        num_steps=1,
        layers=(conv, LIF(name="lif", input="conv", **SEEN)),  # type: ignore[arg-type]
        readouts=(Readout("lif", "last_membrane"),),
    )
    data = onnx_bytes(contract, carrier=carrier)
    assert operator in {node.op_type for node in onnx.load_model_from_string(data).graph.node}
    driven = np.where(weight[0, :, 0, None] > 0, fmt.highest, fmt.lowest) + np.zeros((1, 1, 1, 2), int)
    inputs = np.concatenate([driven, -1 - driven if fmt.signed else 255 - driven], axis=1).astype(fmt.dtype)
    expected = run(contract, inputs).outputs["last_membrane"]
    for optimize in (False, True):
        assert np.array_equal(Runner(data, optimize=optimize).run(inputs)["last_membrane"], expected)


@pytest.mark.nightly
def test_products_are_exact_without_vnni(tmp_path: Path) -> None:
    """valgrind shows an AVX2-only processor to the process, where u8 above 128 times i8 goes wrong."""
    valgrind = which("valgrind")
    if valgrind is None:
        pytest.skip("there is no valgrind")
    for i, fmt in enumerate(FORMATS[:-1]):
        contract = network(fmt, fan_in=64)
        (tmp_path / f"{i}.onnx").write_bytes(onnx_bytes(contract))
        np.save(tmp_path / f"{i}.in.npy", extremes(fmt, 64))
        np.save(tmp_path / f"{i}.out.npy", run(contract, extremes(fmt, 64)).outputs["last_membrane"])
    code = (
        "import sys, numpy as np, onnxruntime as ort\n"
        "for i in range(int(sys.argv[1])):\n"
        "    name = f'{sys.argv[2]}/{i}'\n"
        "    session = ort.InferenceSession(f'{name}.onnx', providers=['CPUExecutionProvider'])\n"
        "    found = session.run(['last_membrane'], {'input': np.load(f'{name}.in.npy')})[0]\n"
        "    assert np.array_equal(found, np.load(f'{name}.out.npy')), i\n"
        "print('exact')\n"
    )
    command = [valgrind, "--tool=none", "-q", sys.executable, "-c", code, str(len(FORMATS) - 1), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert ran.stdout.strip() == "exact", ran.stderr[-2000:]

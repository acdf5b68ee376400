"""Constants and weights of a graph: stored once, in the narrowest type, within what one file can hold."""

import time
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from qleaky import IntegerNetwork, QFormat, Runner, run
from qleaky.errors import LoweringError
from qleaky.export import graph, onnx_bytes
from qleaky.export.artefact import CARRIERS
from qleaky.export.graph import Graph
from qleaky.integer import LIF, Conv, Input, Linear, Readout

SPIKES = QFormat(1, 0, signed=False)


def linear(weight: NDArray[Any], steps: int = 3) -> IntegerNetwork:
    layers = (
        Linear(name="fc", input="input", weight=weight, weight_frac_bits=2),
        LIF(name="lif", input="fc", state=QFormat(8, 2), theta=np.array(5)),
    )
    return IntegerNetwork(
        inputs=(Input((weight.shape[1],), SPIKES),), num_steps=steps, layers=layers, readouts=(Readout("lif", "spike_count"),)
    )


def stored(data: bytes, name: str = "fc.weight") -> Any:
    return next(tensor for tensor in onnx.load_model_from_string(data).graph.initializer if tensor.name == name)


def codes(bits: int, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32
    found = np.random.default_rng(0).integers(-(1 << (bits - 1)), 1 << (bits - 1), shape).astype(dtype)
    found.reshape(-1)[:2] = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return found


@pytest.mark.parametrize("form", ["unrolled", "scan", "step"])
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    ("bits", "kind"), [(2, "INT2"), (3, "INT4"), (4, "INT4"), (5, "INT8"), (8, "INT8"), (12, "INT16"), (20, "INT32")]
)
@pytest.mark.parametrize("shape", [(7, 5), (8, 64)])
def test_weights_are_stored_in_the_narrowest_type(shape: Any, bits: int, kind: str, carrier: str, form: str) -> None:
    network = linear(codes(bits, shape))
    data = onnx_bytes(network, form, carrier)
    tensor = stored(data)
    kind = "INT8" if carrier == "float" and bits < 8 else kind  # not every runtime reads packed weights
    assert TensorProto.DataType.Name(tensor.data_type) == kind
    assert np.array_equal(numpy_helper.to_array(tensor).astype(np.int64), network.layers[0].weight.T)  # type: ignore[union-attr]
    model = onnx.load_model_from_string(data)
    assert model.opset_import[0].version == (25 if kind == "INT2" else 21)
    inputs = np.random.default_rng(1).integers(0, 2, (3, 9, shape[1])).astype(np.uint8)
    for optimize in (False, True):
        found = Runner(data, optimize=optimize).run(inputs)
        assert np.array_equal(found["spike_count"], run(network, inputs).outputs["spike_count"])


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(("bits", "shift", "kind"), [(2, 6, "INT2"), (3, 5, "INT4"), (4, 4, "INT4"), (8, 7, "INT8")])
def test_weights_that_a_fine_bias_shifted_are_stored_without_the_shift(bits: int, shift: int, kind: str, carrier: str) -> None:
    network = linear(codes(bits, (7, 5)).astype(np.int16) << shift)
    data = onnx_bytes(network, carrier=carrier)
    weight = network.layers[0].weight.T  # type: ignore[union-attr]
    tensor = stored(data)
    if carrier != "float":  # not every runtime reads packed weights
        assert TensorProto.DataType.Name(tensor.data_type) == kind
        assert np.array_equal(numpy_helper.to_array(tensor).astype(np.int64) << shift, weight)
    inputs = np.random.default_rng(1).integers(0, 2, (3, 9, 5)).astype(np.uint8)
    for optimize in (False, True):
        found = Runner(data, optimize=optimize).run(inputs)
        assert np.array_equal(found["spike_count"], run(network, inputs).outputs["spike_count"])


def test_the_file_size_follows_the_bits() -> None:
    sizes = {bits: len(onnx_bytes(linear(codes(bits, (400, 500))), "scan")) for bits in (2, 4, 8)}
    for bits, size in sizes.items():
        assert size == pytest.approx(400 * 500 * bits / 8, abs=6_000)


def test_convolutions_are_stored_in_few_bits_too() -> None:
    conv = Conv(
        name="fc",
        input="input",
        weight=codes(4, (4, 2, 3, 3)),
        weight_frac_bits=1,
        stride=(1, 1),
        pads=((0, 0),) * 2,
        dilation=(1, 1),
    )
    layers = (conv, LIF(name="lif", input="fc", state=QFormat(8, 2), theta=np.array(5)))
    network = IntegerNetwork(inputs=(Input((2, 5, 5), SPIKES),), num_steps=2, layers=layers, readouts=(Readout("lif"),))
    tensor = stored(onnx_bytes(network))
    assert tensor.data_type == TensorProto.INT4
    assert np.array_equal(numpy_helper.to_array(tensor).astype(np.int64), conv.weight)


def test_shared_weights_and_equal_constants_are_stored_once() -> None:
    weight = codes(8, (6, 6))
    layers: list[Any] = []
    for i in range(3):
        layers.append(Linear(name=f"fc{i}", input=f"lif{i - 1}" if i else "input", weight=weight.copy(), weight_frac_bits=2))
        layers.append(LIF(name=f"lif{i}", input=f"fc{i}", state=QFormat(8, 2), theta=np.array(5)))
    network = IntegerNetwork(inputs=(Input((6,), SPIKES),), num_steps=4, layers=tuple(layers), readouts=(Readout("lif2"),))
    tensors = onnx.load_model_from_string(onnx_bytes(network, "unrolled")).graph.initializer
    assert sum(tuple(tensor.dims) == (6, 6) for tensor in tensors) == 1
    assert len({tensor.name for tensor in tensors}) == len(tensors)
    contents = [(tensor.data_type, tuple(tensor.dims), tensor.raw_data) for tensor in tensors]
    assert len(set(contents)) == len(contents)


def test_more_than_one_file_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_BYTES", 1_000)
    with pytest.raises(
        LoweringError, match=r"take more than 1,000 bytes, the most that one ONNX file can hold\. Use fewer bits"
    ):
        onnx_bytes(linear(codes(8, (40, 50))))
    onnx_bytes(linear(codes(2, (40, 50))))


def test_the_limit_is_protobufs() -> None:
    assert graph.MAX_BYTES == (1 << 31) - 1


def test_constants_know_their_type() -> None:
    built = Graph()
    names = [built.constant(5, dtype) for dtype in (np.int32, np.float32, np.int32)]
    assert names[0] == names[2] != names[1]
    array = np.arange(3)
    assert built.constant(array, np.int64) == built.constant(array, np.int64) == built.constant(array.copy(), np.int64)


def test_exporting_a_thousand_steps_takes_seconds_and_grows_linearly() -> None:
    weight = codes(8, (256, 784))
    took = {}
    for steps in (200, 2_000):
        network = linear(weight, steps)
        network.proof, network.digest  # not the exporter's work
        start = time.process_time()
        onnx_bytes(network, "unrolled")
        took[steps] = time.process_time() - start
    assert took[2_000] < 5
    assert took[2_000] < 40 * took[200] + 0.5


def test_a_scan_is_exported_in_no_time_at_any_length() -> None:
    network = linear(codes(8, (256, 784)), 1_000_000)
    network.proof, network.digest  # not the exporter's work
    start = time.process_time()
    assert len(onnx_bytes(network)) < 250_000
    assert time.process_time() - start < 1

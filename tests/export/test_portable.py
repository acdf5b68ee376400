"""What the graphs ask of runtimes other than ONNX Runtime."""

import numpy as np
import onnx
import pytest

from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import MulShift
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS
from qleaky.integer import LIF, Conv, Input, Linear, Readout, Reshape

PLAIN = {
    "Add",
    "ArgMax",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "Floor",
    "Gather",
    "Identity",
    "MatMul",
    "Mul",
    "ReduceSum",
    "Reshape",
}


def test_the_float_carrier_needs_no_operator_that_runtimes_lack_or_rewrite() -> None:
    """No Split of a symbolic batch, no 8-bit products, no pairs of QuantizeLinear and DequantizeLinear."""
    conv = Conv(
        name="conv",
        input="input",
        weight=np.array([[[[3, -2], [7, 1]]]], np.int8),
        weight_frac_bits=3,
        stride=(1, 1),
        pads=((0, 0), (0, 0)),
        dilation=(1, 1),
    )
    lif = LIF(name="lif", input="conv", state=QFormat(8, 3), theta=np.array(9), decay=MulShift(n=4), multiplier=np.array(13))
    flat = Reshape(name="flat", input="lif", shape=(4,))
    fc = Linear(name="fc", input="flat", weight=np.array([[5, -2, 3, 7]], np.int8), weight_frac_bits=3)
    out = LIF(name="out", input="fc", state=QFormat(16, 3), theta=np.array(9), decay=MulShift(n=4), multiplier=np.array(13))
    network = IntegerNetwork(
        inputs=(Input((1, 3, 3), QFormat(8, 0, signed=False)),),
        num_steps=4,
        layers=(conv, lif, flat, fc, out),
        readouts=(Readout("out", "spike_count", argmax=True),),
    )
    model = onnx.load_model_from_string(onnx_bytes(network, "unrolled", "float"))
    assert {node.op_type for node in model.graph.node} <= PLAIN | {"Sub"}
    assert {tensor.data_type for tensor in model.graph.initializer} <= {
        *(onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.INT32, onnx.TensorProto.INT64),
    }


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_body_of_a_scan_says_the_types_of_what_comes_in_and_goes_out(carrier: str) -> None:
    """ONNX would infer them; OpenVINO 2026.4 does not."""
    layer = LIF(name="lif", input="input", state=QFormat(8, 3), theta=np.array(9), decay=MulShift(n=4), multiplier=np.array(13))
    network = IntegerNetwork(
        inputs=(Input((3,), QFormat(8, 3)),), num_steps=4, layers=(layer,), readouts=(Readout("lif", "membrane_mean"),)
    )
    model = onnx.load_model_from_string(onnx_bytes(network, "scan", carrier))
    body = next(a.g for node in model.graph.node for a in node.attribute if a.name == "body")
    for value in (*body.input, *body.output):
        assert value.type.tensor_type.elem_type
        assert value.type.tensor_type.HasField("shape")

"""Contract -> the bytes of an ONNX file, checked before anyone sees them."""

from __future__ import annotations

import msgspec
import onnx
import onnx_ir as ir

from qleaky._version import VERSION
from qleaky.errors import InputError, LoweringError
from qleaky.export.float_forms import unrolled_float
from qleaky.export.forms import unrolled
from qleaky.integer import FloatNetwork, IntegerNetwork

FORMS = ("auto", "unrolled")


def onnx_bytes(network: IntegerNetwork | FloatNetwork, form: str = "auto") -> bytes:
    """The serialized ONNX model of a network; the same bytes for the same network, without paths or names of users.

    Raises:
        InputError: an unknown form.
        LoweringError: sums that 64-bit integers cannot hold.
    """
    if form not in FORMS:
        raise InputError(f"form={form!r} is unknown. Choose one of {', '.join(FORMS)}.")
    if isinstance(network, IntegerNetwork) and not network.proof.artefact_exact:
        raise LoweringError("No graph computes this network: " + " ".join(network.proof.artefact_reasons))
    graph = unrolled_float(network) if isinstance(network, FloatNetwork) else unrolled(network)
    proto = ir.to_proto(graph.model("qleaky", _metadata(network)))
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _metadata(network: IntegerNetwork | FloatNetwork) -> dict[str, str]:
    """What a file says of itself: the contract's digest and the formats, never the contract."""
    formats = {lif.name: repr(lif.state) for lif in network.lif_layers}
    return {
        "qleaky.version": VERSION,
        "qleaky.contract": "integer" if isinstance(network, IntegerNetwork) else "float",
        "qleaky.digest": network.digest,
        "qleaky.form": "unrolled",
        "qleaky.num_steps": str(network.num_steps),
        "qleaky.input": "float32"
        if network.input.format is None or isinstance(network, FloatNetwork)
        else repr(network.input.format),
        "qleaky.states": msgspec.json.encode(formats).decode(),
    }

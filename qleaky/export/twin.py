"""The probe twin of an ONNX file: the same graph with every spike and membrane added as an output, and nothing else."""

from __future__ import annotations

import onnx

from qleaky.errors import ArtefactError
from qleaky.export.forms import probe_name


def parse(data: bytes, where: str) -> onnx.ModelProto:
    """The model in ``data``, checked.

    Raises:
        ArtefactError: it is no valid ONNX model.
    """
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf and the checker raise many unrelated types
        raise ArtefactError(
            f"{where} is not a valid ONNX model, or is damaged: {_first_line(error)}. Export it again."
        ) from error
    return model


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """What the file says of itself."""
    return {entry.key: entry.value for entry in model.metadata_props}


def with_probes(model: onnx.ModelProto, layers: tuple[str, ...], num_steps: int) -> bytes:
    """The twin's bytes.

    Raises:
        ArtefactError: the graph lacks a spike or membrane that it should hold, or the twin differs by more than outputs.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    known = {info.name: info for info in (*model.graph.value_info, *model.graph.output)}
    for name in probe_names(layers, num_steps):
        if name not in known:
            raise ArtefactError(f"The graph holds no value {name!r}: it was not exported from this network. Export it again.")
        twin.graph.output.append(known[name])
    assert_twin(model, twin)
    data: bytes = twin.SerializeToString(deterministic=True)
    return data


def probe_names(layers: tuple[str, ...], num_steps: int) -> list[str]:
    """Names of all spikes and membranes, step by step."""
    return [probe_name(layer, kind, t) for t in range(num_steps) for layer in layers for kind in ("mem", "spk")]


def assert_twin(model: onnx.ModelProto, twin: onnx.ModelProto) -> None:
    """Check that ``twin`` is ``model`` plus outputs at the end.

    Raises:
        ArtefactError: it is not.
    """
    stripped = onnx.ModelProto()
    stripped.CopyFrom(twin)
    added = stripped.graph.output[len(model.graph.output) :]
    del stripped.graph.output[len(model.graph.output) :]
    if not added or stripped.SerializeToString(deterministic=True) != model.SerializeToString(deterministic=True):
        raise ArtefactError(
            "The twin differs from the shipped graph by more than added outputs; this is a bug, please report it."
        )


def same_graph(model: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    """Whether two models compute with the same nodes, weights and operator versions, whatever their metadata say."""
    bare = []
    for each in (model, other):
        copy = onnx.ModelProto()
        copy.graph.CopyFrom(each.graph)
        copy.opset_import.extend(each.opset_import)
        bare.append(copy.SerializeToString(deterministic=True))
    return bare[0] == bare[1] and not model.functions


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__

"""The probe twin of an ONNX file: the same graph with every spike and membrane added as an output, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import msgspec
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from qleaky.errors import ArtefactError

Probes = dict[tuple[str, str], list[str]]
Offset = Annotated[int, msgspec.Meta(ge=-(1 << 40), le=1 << 40)]


def parse(data: bytes, where: str) -> ModelProto:
    """The model in ``data``, checked.

    Raises:
        ArtefactError: it is no valid ONNX model, keeps numbers in other files, or may run for ever.
    """
    try:
        model = onnx.load_model_from_string(data)
        refuse_external_data(model, where)
        _refuse_endless(model, where)
        onnx.checker.check_model(data, full_check=True)
    except ArtefactError:
        raise
    except Exception as error:  # protobuf and the checker raise many unrelated types
        raise ArtefactError(
            f"{where} is not a valid ONNX model, or is damaged: {_first_line(error)}. Export it again."
        ) from error
    return model


def refuse_external_data(model: ModelProto, where: str) -> None:
    """Refuse a model whose tensors lie in other files: qleaky writes none, and their paths could lead anywhere.

    Raises:
        ArtefactError: naming the first.
    """
    for tensor in _all_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ArtefactError(
                f"{where} keeps the numbers of {tensor.name!r} in another file; qleaky's files hold all of theirs. Export it "
                f"again."
            )


def _refuse_endless(model: ModelProto, where: str) -> None:
    """Refuse loops, and functions, which could double one another: they may run for ever, where no Ctrl-C ends them."""
    if model.functions:
        raise ArtefactError(f"{where} defines functions, which no graph of qleaky's does. Export it again.")
    stack = list(model.graph.node)
    while stack:
        node = stack.pop()
        if node.op_type == "Loop":
            raise ArtefactError(
                f"{where} has a loop of unknown length, {node.name!r}, which no graph of qleaky's has. Export it again."
            )
        stack.extend(inner for a in node.attribute for body in (a.g, *a.graphs) for inner in body.node)


def _all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in (model.graph, *(g for info in model.training_info for g in (info.initialization, info.algorithm))):
        yield from _tensors(graph)
    for function in model.functions:
        yield from _constants(function.node)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from (part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices))
    yield from _constants(graph.node)


def _constants(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """The tensors in the attributes of nodes, and of the nodes of their bodies."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for body in (attribute.g, *attribute.graphs):
            yield from _tensors(body)


def metadata(model: ModelProto) -> dict[str, str]:
    """What the file says of itself."""
    return {entry.key: entry.value for entry in model.metadata_props}


def membrane_offsets(model: ModelProto) -> dict[str, int]:
    """What membranes lack in a file that carries them moved, by layer; nothing where one is beyond any code."""
    try:
        return msgspec.json.decode(metadata(model).get("qleaky.offsets", "{}"), type=dict[str, Offset])
    except msgspec.MsgspecError:
        return {}


def with_probes(model: ModelProto, kinds: Mapping[str, tuple[str, ...]], form: str, num_steps: int) -> tuple[bytes, Probes]:
    """The twin's bytes, and per layer and kind (``mem``, ``syn``, ``spk``) the outputs that hold its steps.

    Raises:
        ArtefactError: the graph lacks a spike or membrane that it should hold, or the twin differs by more than outputs.
    """
    twin = ModelProto()
    twin.CopyFrom(model)
    place = _scan if form == "scan" else _unrolled if form == "unrolled" else _step
    probes = {(layer, kind): place(twin.graph, f"{layer}/{kind}", num_steps) for layer in kinds for kind in kinds[layer]}
    assert_twin(model, twin)
    data: bytes = twin.SerializeToString(deterministic=True)
    return data, probes


def _unrolled(graph: GraphProto, name: str, num_steps: int) -> list[str]:
    """One output for each step, or one of all steps where the graph makes them at once."""
    known = {info.name: info for info in graph.value_info}
    names = [name] if name in known else [f"{name}/{t}" for t in range(num_steps)]
    for each in names:
        graph.output.append(_known(known, each))
    return names


def _step(graph: GraphProto, name: str, num_steps: int) -> list[str]:
    graph.output.append(_known({info.name: info for info in graph.value_info}, name))
    return [name]


def _scan(graph: GraphProto, name: str, num_steps: int) -> list[str]:
    """An output of the body that holds the value, if it has none yet, of its Scan, and of the graph."""
    known = {info.name: info for info in graph.value_info}
    if name in known:
        graph.output.append(known[name])
        return [name]
    node, body = _scan_of(graph, name)
    info = _known({info.name: info for info in (*body.value_info, *body.output)}, name)
    places = [i for i, output in enumerate(body.output) if output.name == name]
    if not places:
        body.output.append(info)
        node.output.append(f"{name}/all")
    stacked = node.output[places[0] if places else -1]
    output = ValueInfoProto(name=stacked)
    tensor = output.type.tensor_type
    tensor.CopyFrom(info.type.tensor_type)
    del tensor.shape.dim[:]
    for dim in ("time", *info.type.tensor_type.shape.dim):
        added = tensor.shape.dim.add()
        if isinstance(dim, str):
            added.dim_param = dim
        else:
            added.CopyFrom(dim)
    graph.output.append(output)
    return [stacked]


def _scan_of(graph: GraphProto, name: str) -> tuple[NodeProto, GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "body" and any(name in inner.output for inner in attribute.g.node):
                return node, attribute.g
    raise _missing(name)


def _known(known: dict[str, ValueInfoProto], name: str) -> ValueInfoProto:
    if name not in known:
        raise _missing(name)
    return known[name]


def _missing(name: str) -> ArtefactError:
    return ArtefactError(f"The graph holds no value {name!r}: it was not exported from this network. Export it again.")


def assert_twin(model: ModelProto, twin: ModelProto) -> None:
    """Check that ``twin`` is ``model`` plus outputs at the end, of the graph and of Scans and their bodies.

    Raises:
        ArtefactError: it is not.
    """
    stripped = ModelProto()
    stripped.CopyFrom(twin)
    added = len(stripped.graph.output) > len(model.graph.output)
    _strip(model.graph, stripped.graph)
    if not added or stripped.SerializeToString(deterministic=True) != model.SerializeToString(deterministic=True):
        raise ArtefactError(
            "The twin differs from the shipped graph by more than added outputs; this is a bug, please report it."
        )


def _strip(graph: GraphProto, twin: GraphProto) -> None:
    """Take added outputs off a graph, and off Scans and their bodies, whose outputs are stacked one for one."""
    del twin.output[len(graph.output) :]
    for node, other in zip(graph.node, twin.node, strict=False):
        if node.op_type != "Scan" or other.op_type != "Scan" or len(other.output) <= len(node.output):
            continue
        bodies = [next((a.g for a in each.attribute if a.name == "body"), None) for each in (node, other)]
        if bodies[0] is None or bodies[1] is None:
            continue
        if len(bodies[1].output) - len(bodies[0].output) == len(other.output) - len(node.output):
            del other.output[len(node.output) :]
            del bodies[1].output[len(bodies[0].output) :]


def same_model(model: ModelProto, other: ModelProto) -> bool:
    """Whether two models are the same in all they hold and say, but for the version of qleaky that wrote them."""
    bare = []
    for each in (model, other):
        copy = ModelProto()
        copy.CopyFrom(each)
        for entry in copy.metadata_props:
            entry.value = "" if entry.key == "qleaky.version" else entry.value
        bare.append(copy.SerializeToString(deterministic=True))
    return bool(bare[0] == bare[1])


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


def count_nodes(data: bytes, where: str) -> int:
    """How many nodes a model has.

    Raises:
        ArtefactError: its numbers lie in other files.
    """
    model = onnx.load_model_from_string(data)
    refuse_external_data(model, where)
    return len(model.graph.node)

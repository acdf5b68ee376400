"""A graph whose intermediate values are outputs too, those inside Scans for every step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

Infos = dict[str, ValueInfoProto]


@dataclass(frozen=True)
class Value:
    """A value that a node computes.

    ``output`` is the graph's output that holds it, for every step if ``per_step``. ``states`` names, for what enters a step as
    a state, the value of the step before that it is; ``pieces``, for what enters as a piece of a sequence, that sequence.
    """

    name: str
    node: NodeProto
    output: str
    per_step: bool
    states: Mapping[str, str] = field(default_factory=dict)
    pieces: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> list[str]:
        """The values that it is computed from, of this step or the one before."""
        return [self.states.get(name) or self.pieces.get(name) or name for name in self.node.input if name]


def values(model: ModelProto) -> list[Value]:
    """Every value of known type, in the order of execution."""
    return [value for value, _ in _walk(onnx.shape_inference.infer_shapes(model))]


def exposed(model: ModelProto, wanted: Callable[[str], bool] = lambda _: True) -> tuple[ModelProto, list[Value]]:
    """``model`` with the values of the ``wanted`` names as outputs, and which these are, in the order of execution."""
    result = onnx.shape_inference.infer_shapes(model)
    shown = []
    known = {output.name for output in result.graph.output}
    for value, show in list(_walk(result)):
        if value.output in known or wanted(value.name):
            if value.output not in known:
                show()
                known.add(value.output)
            shown.append(value)
    return result, shown


def _walk(model: ModelProto) -> Iterator[tuple[Value, Callable[[], None]]]:
    """Every value, and what makes it an output."""
    graph = model.graph
    infos = _infos(graph)
    for node in graph.node:
        if (body := body_of(node)) is not None:
            yield from _in_body(graph, node, body)
        for name in node.output:
            if name in infos:
                yield Value(name, node, name, False), functools.partial(graph.output.append, infos[name])


def _in_body(graph: GraphProto, scan: NodeProto, body: GraphProto) -> Iterator[tuple[Value, Callable[[], None]]]:
    """The values of a Scan's body. A state that goes to the next step is an output that only its last step leaves."""
    infos = _infos(body)
    places = {output.name: i for i, output in enumerate(body.output)}
    states = len(body.input) - next((a.i for a in scan.attribute if a.name == "num_scan_inputs"), 0)
    names = [value.name for value in body.input]
    entered = dict(zip(names[:states], (_original(body, output.name) for output in body.output), strict=False))
    pieces = dict(zip(names[states:], scan.input[states:], strict=False))
    for node in body.node:
        for name in node.output:
            place = places.get(name)
            if name not in infos or (place is not None and place < states):
                continue
            stacked = scan.output[place] if place is not None else f"{scan.output[0]}/every/{name}"

            def show(name: str = name, place: int | None = place, stacked: str = stacked) -> None:
                if place is None:
                    body.output.append(infos[name])
                    scan.output.append(stacked)
                graph.output.append(_stacked(infos[name], stacked))

            yield Value(name, node, stacked, True, entered, pieces), show


def _original(body: GraphProto, name: str) -> str:
    """What a chain of Identity nodes passes on under ``name``."""
    copied = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity"}
    seen = set()
    while name in copied and name not in seen:
        seen.add(name)
        name = copied[name]
    return name


def body_of(node: NodeProto) -> GraphProto | None:
    """The body of a Scan."""
    return next((a.g for a in node.attribute if a.name == "body"), None) if node.op_type == "Scan" else None


def _infos(graph: GraphProto) -> Infos:
    """Types and shapes of a graph's values, as far as they are numbers."""
    infos = (*graph.value_info, *graph.output)
    return {info.name: info for info in infos if info.type.tensor_type.elem_type}


def _stacked(info: ValueInfoProto, name: str) -> ValueInfoProto:
    """The same over all steps; of its shape only the rank is said."""
    result = ValueInfoProto(name=name)
    result.type.tensor_type.elem_type = info.type.tensor_type.elem_type
    if info.type.tensor_type.HasField("shape"):
        for i in range(len(info.type.tensor_type.shape.dim) + 1):
            result.type.tensor_type.shape.dim.add().dim_param = f"{name}/{i}"
    return result

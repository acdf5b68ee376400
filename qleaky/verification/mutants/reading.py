"""A graph from qleaky as an operator looks at it: nodes by what they make, constants, and which neurons a node works for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from qleaky.errors import ArtefactError, QleakyError
from qleaky.export import twin
from qleaky.fixed import QFormat

PRODUCTS = ("MatMulInteger", "MatMul", "ConvInteger", "Conv", "Gemm")
PASSING = ("Cast", "Identity", "Reshape", "Split", "Gather", "DequantizeLinear", "AveragePool", "Mul")


Place = tuple[str, int | None]


class Anchor(NamedTuple):
    """A value that holds a layer's membrane ("mem"), current ("syn") or spikes ("spk"), of one step where they are unrolled."""

    layer: str
    kind: str
    step: int | None


@dataclass(frozen=True)
class Site:
    """A node, named by its first output, with the layer it works for and the step where steps are unrolled."""

    node: NodeProto
    layer: str
    step: int | None
    scan: str | None  # the Scan whose body holds it

    @property
    def name(self) -> str:
        """Its first output."""
        return str(self.node.output[0])


class Reading:
    """What a model holds.

    Raises:
        ArtefactError: it was not exported by qleaky from an IntegerNetwork.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.metadata = twin.metadata(model)
        self.form = self.metadata.get("qleaky.form", "")
        if self.metadata.get("qleaky.contract") != "integer" or self.form not in ("unrolled", "scan", "step"):
            raise ArtefactError(
                "The model is none that qleaky exported from an integer network; mutants are made of those alone."
            )
        try:
            self.num_steps = int(self.metadata["qleaky.num_steps"])
            states = msgspec.json.decode(self.metadata["qleaky.states"], type=dict[str, str])
            self.states = {name: QFormat.parse(text) for name, text in states.items()}
        except (KeyError, ValueError, QleakyError) as error:
            raise ArtefactError(f"what the model says of itself makes no sense: {error}. Export it again.") from error
        self.offsets = twin.membrane_offsets(model)
        self.tensors: dict[str, TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.sites = list(self._sites())
        self.by_name = {output: site for site in self.sites for output in site.node.output}

    @cached_property
    def users(self) -> dict[str, list[tuple[Site, int]]]:
        """Who takes a value, and at which place of its inputs."""
        found: dict[str, list[tuple[Site, int]]] = {}
        for site in self.sites:
            for slot, value in enumerate(site.node.input):
                found.setdefault(value, []).append((site, slot))
        return found

    def anchor(self, value: str) -> Anchor | None:
        """What a value is the membrane or the spikes of, by its name."""
        return self._anchors.get(value)

    @cached_property
    def _anchors(self) -> dict[str, Anchor]:
        layers = "|".join(sorted(map(re.escape, self.states), key=len, reverse=True))
        pattern = re.compile(rf"({layers})/(mem|syn|spk)(?:/(\d+))?")
        values = (output for _, node in self._nodes() for output in node.output)
        found = ((value, pattern.fullmatch(value)) for value in values)
        return {v: Anchor(m[1], m[2], None if m[3] is None else int(m[3])) for v, m in found if m}

    def _nodes(self) -> Iterator[tuple[str | None, NodeProto]]:
        for node in self.model.graph.node:
            yield None, node
            body = body_of(node)
            if body is not None:
                yield from ((str(node.output[0]), inner) for inner in body.node)

    def _sites(self) -> Iterator[Site]:
        """Every node works for the layer and step of the nearest membrane or spikes behind it; the rest makes outputs."""
        nodes = list(self._nodes())
        owners: dict[str, Place] = {}
        for _, node in reversed(nodes):
            anchors = [self.anchor(output) for output in node.output]
            places = [(a.layer, a.step) for a in anchors if a] or [owners[o] for o in node.output if o in owners]
            taken = [(value, place) for value in node.input for place in places]
            if (body := body_of(node)) is not None:
                pairs = zip(node.input, body.input, strict=False)
                taken = [(outer, owners[inner.name]) for outer, inner in pairs if inner.name in owners]
                places = [place for _, place in taken]
            owners.update((value, _shared(places)) for value in node.output if places)
            for value, place in taken:
                owners[value] = _shared([place, owners[value]] if value in owners else [place])
        for scan, node in nodes:
            layer, step = owners.get(node.output[0], ("", None))
            yield Site(node, layer, step, scan)

    @cached_property
    def types(self) -> dict[str, Any]:
        """Element type and shape of the values that the file describes."""
        graphs = [self.model.graph, *(body for node in self.model.graph.node if (body := body_of(node)) is not None)]
        return {info.name: info.type.tensor_type for graph in graphs for info in (*graph.value_info, *graph.output)}

    def constant(self, value: str) -> NDArray[Any] | None:
        """The numbers of an initializer, as they are stored."""
        tensor = self.tensors.get(value)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def number(self, value: str) -> float | None:
        """The one number of an initializer that holds one."""
        found = self.constant(value)
        return None if found is None or found.size != 1 or found.dtype.kind not in "iuf" else float(found.reshape(-1)[0])

    def ends(self, site: Site) -> tuple[float, float] | None:
        """Between which two numbers a Clip brings."""
        node = site.node
        if node.op_type != "Clip" or len(node.input) != 3:
            return None
        low, high = self.number(node.input[1]), self.number(node.input[2])
        return None if low is None or high is None else (low, high)

    def is_gate(self, site: Site) -> bool:
        """Whether a Clip makes a spike: between two neighbouring numbers, or between zero and the threshold it is scaled by."""
        ends = self.ends(site)
        if ends is None:
            return False
        if ends[1] - ends[0] == 1:
            return True
        source = self.by_name.get(site.node.input[0])
        scaled = source is not None and source.node.op_type == "DequantizeLinear" and len(source.node.input) == 3
        return bool(scaled and source and ends[0] == 0 and self.number(source.node.input[1]) == ends[1])

    def neurons(self, kind: str | None = None) -> list[Site]:
        """Nodes that work for a layer of neurons, and of these those of one kind."""
        return [site for site in self.sites if site.layer and (kind is None or site.node.op_type == kind)]

    def state_of(self, value: str) -> str | None:
        """The layer whose membrane from the step before a value is, else None."""
        while (
            (site := self.by_name.get(value)) is not None
            and not self.anchor(value)
            and site.node.op_type in ("Cast", "Identity")
        ):
            value = site.node.input[0]
        anchor = self.anchor(value)
        if anchor is not None:
            return anchor.layer if anchor.kind in ("mem", "syn") else None
        return self.state_inputs.get(value)

    @cached_property
    def state_inputs(self) -> dict[str, str]:
        """The membranes and currents that come from the step before, in a body or a step graph, by their names there."""
        found = {f"{layer}.{kind}": layer for layer in self.states for kind in ("mem", "syn")}
        for given, made in self.loops:
            anchor = self.anchor(made)
            if anchor is not None and anchor.kind in ("mem", "syn"):
                found[given] = anchor.layer
        return found

    @cached_property
    def loops(self) -> list[tuple[str, str]]:
        """Of every Scan and state, its name in the body and what the body hands on, before the Identity that does."""
        found = []
        for node in self.model.graph.node:
            if (body := body_of(node)) is not None:
                sources = {inner.output[0]: inner.input[0] for inner in body.node if inner.op_type == "Identity"}
                pairs = zip(list(body.input)[: state_count(node)], body.output, strict=False)
                found += [(given.name, sources.get(made.name, made.name)) for given, made in pairs]
        return found

    def comes_from_product(self, value: str) -> Site | None:
        """The product that a value was made of with nothing but scales, shapes and types in between."""
        for _ in range(8):
            site = self.by_name.get(value)
            if site is None or site.node.op_type in PRODUCTS:
                return site
            both = site.node.op_type == "Add" and all(self.constant(name) is None for name in site.node.input)
            if site.node.op_type not in PASSING and not both:
                return None
            value = site.node.input[0]
        return None

    def divisor(self, site: Site) -> int:
        """The power of two that a node's result is divided by to become a membrane: its unit; 1 where there is none."""
        value = site.name
        for _ in range(4):
            users = self.users.get(value, [])
            if not users or self.anchor(value):
                return 1
            node = users[0][0].node
            if node.op_type == "Div" and (number := self.number(node.input[1])):
                return int(number)
            value = node.output[0]
        return 1


def _shared(places: list[Place]) -> Place:
    """The place of what several use: the layer of the first, at no step where they have not the same."""
    first = places[0]
    return first if all(place == first for place in places) else (first[0], None)


def body_of(node: NodeProto) -> Any:
    """The body of a Scan, else None."""
    return next((a.g for a in node.attribute if a.name == "body"), None) if node.op_type == "Scan" else None


def state_count(node: NodeProto) -> int:
    """How many of a Scan's inputs are states."""
    return len(node.input) - int(next(a.i for a in node.attribute if a.name == "num_scan_inputs"))

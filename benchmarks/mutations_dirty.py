"""What a fault can change in a graph, up to the values that both graphs name: these are to be proved equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mutations_terms as terms
import numpy as np
from mutations_terms import NoProofError
from onnx import NodeProto, TensorProto

from qleaky.verification.mutants.reading import PRODUCTS, Reading, body_of, state_count

ELEMENTWISE = {*terms.ELEMENTWISE, "Cast", "QuantizeLinear", "DequantizeLinear", "Reshape", "Split"}
Silent = Callable[[str, int, Any], bool]


class Dirty:
    """What a fault can change, up to the values that both graphs name, which are to be proved equal."""

    def __init__(self, original: Reading, mutant: Reading, silent: Silent) -> None:
        self.original, self.mutant, self.silent = original, mutant, silent
        self.obligations: list[str] = []
        values: set[str] = {
            name for name, tensor in mutant.tensors.items() if not _same_tensor(original.tensors.get(name), tensor)
        }
        values -= {name for name in values if name not in original.tensors}
        outputs = {output.name for output in mutant.model.graph.output}
        handed_on = _handed_on(mutant)
        for site in mutant.sites:
            node = site.node
            changed = not _same_node(original, mutant, node)
            if not changed and not values & set(node.input):
                continue
            if not changed and (body := body_of(node)) is not None:
                self._enter(body, node, values)
                continue
            if node.op_type in PRODUCTS or (node.op_type not in ELEMENTWISE and not changed):
                self._require_inputs(node, values, changed)
                continue
            if node.op_type not in ELEMENTWISE:
                raise NoProofError(f"{node.op_type} was changed")
            for value in node.output:
                if original.anchor(value) or value in outputs or value in handed_on:
                    self.obligations.append(value)
                else:
                    values.add(value)
        self.obligations = list(dict.fromkeys(self.obligations))

    def _enter(self, body: Any, node: NodeProto, values: set[str]) -> None:
        """A Scan: its first states are to be equal, the steps that it takes apart are not equal in its body either."""
        for place, (outer, inner) in enumerate(zip(node.input, body.input, strict=False)):
            if outer in values and place < state_count(node):
                self.obligations.append(outer)
            elif outer in values:
                values.add(inner.name)

    def _only_silent(self, node: NodeProto) -> bool:
        """Whether weights differ only where they meet neurons that never fire."""
        before, after = (weights(reading, node.input[1]) for reading in (self.original, self.mutant))
        source = spikes_behind(self.mutant, node.input[0])
        if before is None or after is None or source is None or before.shape != after.shape:
            return False
        axis = 1 if before.ndim > 2 else 0
        touched = np.flatnonzero((before != after).any(axis=tuple(i for i in range(before.ndim) if i != axis)))
        return self.silent(source, before.shape[axis], touched)

    def _require_inputs(self, node: NodeProto, values: set[str], changed: bool) -> None:
        if not changed and node.op_type in PRODUCTS and values & set(node.input[1:2]) and self._only_silent(node):
            return
        if changed or values & set(node.input[1:]):
            raise NoProofError(f"{node.op_type} has other numbers")
        self.obligations += [value for value in node.input if value in values]


def _handed_on(reading: Reading) -> set[str]:
    """States that a body hands on to the next step."""
    bodies = [(node, body) for node in reading.model.graph.node if (body := body_of(node)) is not None]
    return {value.name for node, body in bodies for value in body.output}


def _same_tensor(a: TensorProto | None, b: TensorProto) -> bool:
    return a is not None and a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def _same_node(original: Reading, mutant: Reading, node: NodeProto) -> bool:
    site = original.by_name.get(node.output[0])
    if site is None:
        return False
    if body_of(node) is not None:  # its body is compared node by node
        return list(site.node.input) == list(node.input) and list(site.node.output) == list(node.output)
    return bool(site.node.SerializeToString(deterministic=True) == node.SerializeToString(deterministic=True))


def weights(reading: Reading, name: str) -> Any:
    """Integer weights, through casts; None where they are no constant."""
    while (site := reading.by_name.get(name)) is not None and site.node.op_type == "Cast":
        name = site.node.input[0]
    numbers = reading.constant(name)
    return None if numbers is None else numbers.astype(np.int64)


def spikes_behind(reading: Reading, name: str) -> str | None:
    """The layer whose spikes a value is, in other types and shapes; None where it is something else."""
    for _ in range(12):
        anchor, site = reading.anchor(name), reading.by_name.get(name)
        if anchor is not None:
            return anchor.layer if anchor.kind == "spk" else None
        if site is None or site.node.op_type not in ("Cast", "Reshape", "Concat", "Identity", "Clip", "QuantizeLinear", "Scan"):
            return None
        if site.node.op_type == "Scan":
            return recorded_layer(reading, site.node, name)
        name = site.node.input[0]
    return None


def recorded_layer(reading: Reading, node: NodeProto, name: str) -> str | None:
    """The one layer of a Scan whose spikes it stacks; None where it has several, or stacks a membrane."""
    body = body_of(node)
    layers = {anchor.layer for inner in body.node if (anchor := reading.anchor(inner.output[0])) is not None}
    made = body.output[list(node.output).index(name)].name
    return None if len(layers) != 1 or made.endswith(("/mem", "/syn")) else layers.pop()

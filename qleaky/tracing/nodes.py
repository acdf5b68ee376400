"""The nodes of a step graph: what one time step computes, each different computation once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qleaky.tracing.tensors import version


@dataclass(frozen=True, eq=False)
class Node:
    """One computation within a step; equal computations are the same object, so nodes compare by identity.

    Leaves are ``input`` (attribute ``name``), ``spikes`` and ``membrane`` (attribute ``chain``, of the same step), ``zero``
    (what forward starts a state with), and ``delay``, its input ``steps`` steps before. ``shape`` is that of one sample;
    ``path`` and ``where`` tell the module and the line that computed it first.
    """

    kind: str
    inputs: tuple[Node, ...]
    attributes: tuple[tuple[str, Any], ...]
    constants: tuple[Tensor | None, ...]
    shape: tuple[int, ...]
    path: str = ""
    where: str = ""

    def __getitem__(self, name: str) -> Any:
        return dict(self.attributes)[name]


class Nodes:
    """Makes nodes, and gives back the one there is for a computation that was met before."""

    def __init__(self) -> None:
        self._nodes: dict[Any, Node] = {}
        self._constants: dict[Any, list[Tensor]] = {}
        self._met: dict[int, tuple[Tensor, int, Tensor]] = {}
        self._delayed: dict[tuple[Node, int], Node] = {}

    def make(
        self,
        kind: str,
        *inputs: Node,
        shape: tuple[int, ...],
        constants: tuple[Tensor | None, ...] = (),
        path: str = "",
        where: str = "",
        **attributes: Any,
    ) -> Node:
        """The node of this computation; ``path`` and ``where`` do not tell two apart."""
        held = tuple(None if c is None else self._constant(c) for c in constants)
        settings = tuple(sorted(attributes.items()))
        key = (kind, inputs, settings, tuple(map(id, held)), shape)
        if key not in self._nodes:
            self._nodes[key] = Node(kind, inputs, settings, held, shape, path, where)
        return self._nodes[key]

    def _constant(self, tensor: Tensor) -> Tensor:
        """The one tensor that stands for all of the same numbers."""
        met, count, held = self._met.get(id(tensor), (None, 0, tensor))
        if met is not tensor or count != version(tensor):
            held = self._equal(tensor)
            self._met[id(tensor)] = tensor, version(tensor), held
        return held

    def _equal(self, tensor: Tensor) -> Tensor:
        known = self._constants.setdefault((tensor.shape, tensor.dtype), [])
        for other in known:
            if torch.equal(other, tensor):
                return other
        known.append(tensor.detach().clone())
        return known[-1]

    def delayed(self, node: Node, steps: int) -> Node:
        """What ``node`` computed ``steps`` steps before: delays stand at the leaves, f(x[t-1]) is f applied to x[t-1]."""
        if steps == 0 or node.kind == "zero" or (node.kind == "input" and node["static"]):
            return node
        if (node, steps) not in self._delayed:
            self._delayed[node, steps] = self._delay(node, steps)
        return self._delayed[node, steps]

    def _delay(self, node: Node, steps: int) -> Node:
        if node.kind == "delay":
            return self.delayed(node.inputs[0], steps + node["steps"])
        if not node.inputs:
            return self.make("delay", node, shape=node.shape, path=node.path, where=node.where, steps=steps)
        return self.replaced(node, tuple(self.delayed(each, steps) for each in node.inputs))

    def replaced(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        """``node`` on other inputs."""
        return self.make(
            node.kind,
            *inputs,
            shape=node.shape,
            constants=node.constants,
            path=node.path,
            where=node.where,
            **dict(node.attributes),
        )

    def substituted(self, node: Node, leaves: dict[Node, Node]) -> Node:
        """``node`` with some of its leaves replaced by other nodes."""
        return self._substituted(node, leaves, {})

    def _substituted(self, node: Node, leaves: dict[Node, Node], done: dict[Node, Node]) -> Node:
        if node not in done:
            if node in leaves:
                done[node] = leaves[node]
            elif node.kind == "delay" and node.inputs[0] in leaves:
                done[node] = self.delayed(leaves[node.inputs[0]], node["steps"])
            else:
                inputs = tuple(self._substituted(each, leaves, done) for each in node.inputs)
                done[node] = node if inputs == node.inputs else self.replaced(node, inputs)
        return done[node]


def leaves_of(node: Node, seen: set[Node] | None = None) -> set[Node]:
    """The leaves and delays that a node reads; nodes in ``seen`` are passed over, and added to it."""
    seen = set() if seen is None else seen
    found: set[Node] = set()
    stack = [node]
    while stack:
        each = stack.pop()
        if each in seen:
            continue
        seen.add(each)
        if each.kind == "delay" or not each.inputs:
            found.add(each)
        else:
            stack.extend(each.inputs)
    return found

"""Whether every step of a network did the same."""

from __future__ import annotations

from qleaky.tracing.nodes import Node

LONGEST = 200


class Repetition:
    """Compares what a network computed at one step with the pattern of all; before the first step everything is zero."""

    def __init__(self, step: int) -> None:
        self.step = step
        self._vanishing: dict[Node, bool] = {}
        self._same: dict[tuple[Node, Node], bool] = {}

    def vanishes(self, node: Node) -> bool:
        """Whether a node is zero because all that it reads is older than the run."""
        if node not in self._vanishing:
            self._vanishing[node] = self._vanishes(node)
        return self._vanishing[node]

    def _vanishes(self, node: Node) -> bool:
        if node.kind == "delay":
            return bool(self.step < node["steps"])
        if node.kind in ("linear", "conv", "affine"):
            bias = node.constants[1]
            return self.vanishes(node.inputs[0]) and (bias is None or not bool(bias.any()))
        return node.kind == "zero" or (bool(node.inputs) and all(self.vanishes(each) for each in node.inputs))

    def same(self, node: Node, pattern: Node) -> bool:
        """Whether what was computed at the step is what ``pattern`` says."""
        if node is pattern:
            return True
        if (node, pattern) not in self._same:
            self._same[node, pattern] = self._alike(node, pattern)
        return self._same[node, pattern]

    def _alike(self, node: Node, pattern: Node) -> bool:
        if node.shape != pattern.shape:
            return False
        if node.kind == "zero" and self.vanishes(pattern):
            return True
        alike = (node.kind, node.attributes) == (pattern.kind, pattern.attributes) and _same_constants(node, pattern)
        if alike and len(node.inputs) == len(pattern.inputs) > 0:
            return all(self.same(mine, theirs) for mine, theirs in zip(node.inputs, pattern.inputs, strict=True))
        return pattern.kind == "add" and self._left_out(node, pattern)

    def _left_out(self, node: Node, pattern: Node) -> bool:
        """A sum's term may be missing while it is zero."""
        terms = list(zip(pattern.inputs, pattern["signs"], strict=True))
        return any(
            sign == 1 and self.vanishes(other) and self.same(node, term) for (term, sign), (other, _) in (terms, terms[::-1])
        )


def _same_constants(node: Node, other: Node) -> bool:
    return all(mine is theirs for mine, theirs in zip(node.constants, other.constants, strict=True))


def difference(node: Node, pattern: Node) -> tuple[str, str]:
    """Both in words, told apart by their settings and constants where the operations are the same."""
    mine, theirs = describe(node), describe(pattern)
    while mine == theirs and node.inputs and len(node.inputs) == len(pattern.inputs):
        if node.attributes != pattern.attributes:
            return f"{mine} with {_settings(node)}", f"{theirs} with {_settings(pattern)}"
        if not _same_constants(node, pattern):
            return _constants(mine, node, theirs, pattern)
        if node.shape != pattern.shape:
            return f"{mine} of shape {node.shape}", f"{theirs} of shape {pattern.shape}"
        node, pattern = next((a, b) for a, b in zip(node.inputs, pattern.inputs, strict=True) if a is not b)
        mine, theirs = describe(node), describe(pattern)
    return mine, theirs


def _settings(node: Node) -> str:
    return ", ".join(f"{name}={value}" for name, value in node.attributes)


def _constants(mine: str, node: Node, theirs: str, pattern: Node) -> tuple[str, str]:
    """The first number in which the constants of two nodes differ."""
    a, b = next(pair for pair in zip(node.constants, pattern.constants, strict=True) if pair[0] is not pair[1])
    if a is None or b is None or a.shape != b.shape:
        words = ("no constants" if c is None else f"constants of shape {tuple(c.shape)}" for c in (a, b))
        return f"{mine} with {next(words)}", f"{theirs} with {next(words)}"
    place = (a != b).nonzero()[0].tolist()
    here = f" at {place} of its constants" if place else ""
    return f"{mine} with {a[tuple(place)].item():g}{here}", f"{theirs} with {b[tuple(place)].item():g}"


def describe(node: Node) -> str:
    """A node in words, for messages."""
    words = _describe(node)
    return words if len(words) <= LONGEST else words[:LONGEST] + " ..."


def _describe(node: Node, depth: int = 6) -> str:
    if node.kind in ("spikes", "membrane"):
        return f"the {node.kind} of {node['chain']!r}"
    if node.kind == "delay":
        return f"{_describe(node.inputs[0])} of {node['steps']} step(s) before"
    if node.kind == "input":
        return "the input" if node["name"] == "input" else f"input {node['name']!r}"
    if node.kind == "zero":
        return "zeros"
    inside = ", ".join(_describe(each, depth - 1) for each in node.inputs) if depth else "..."
    name = f"{node.kind} {node.path!r}" if node.path else node.kind
    return f"{name} of ({inside})"

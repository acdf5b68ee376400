"""What is chosen together: a neuron layer, and the weighted layers whose sums it integrates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from qleaky.neuron import Leaky
from qleaky.tracing import Neurons, Node, StepGraph, leaves_of

_HOMOGENEOUS = ("add", "reshape", "transpose", "average_pool", "max_pool", "concat", "pad")
"""What maps c * x to c * f(x) for every c > 0."""


@dataclass(frozen=True)
class Block:
    """A Leaky, the neurons that it stands for, and the weighted layers decided together with it, by path.

    ``scaled`` are the layers which may be multiplied by one factor together with the threshold without changing a spike;
    empty where that would change something.
    """

    path: str
    module: Leaky
    neurons: tuple[Neurons, ...]
    weighted: tuple[str, ...]
    scaled: tuple[str, ...]


def blocks_of(graph: StepGraph, weighted: Mapping[str, nn.Module]) -> tuple[Block, ...]:
    """The blocks of a network in order of execution; ``weighted`` are the layers to be quantized, by path."""
    trees = {neurons.name: tree_of(neurons.input) for neurons in graph.neurons}
    owners = Counter(node for tree in trees.values() for node in tree)
    paths = Counter(node.path for node in owners if is_weighted(node, weighted))
    decided: set[str] = set()
    blocks = []
    for path in dict.fromkeys(neurons.path for neurons in graph.neurons):
        members = tuple(n for n in graph.neurons if n.path == path)
        nodes = [node for n in members for node in trees[n.name] if is_weighted(node, weighted)]
        new = tuple(p for p in dict.fromkeys(node.path for node in nodes) if p not in decided)
        decided.update(new)
        module = members[0].module
        assert isinstance(module, Leaky)
        top = _topmost(members[0].input, weighted) if len(members) == 1 and scales(module) else None
        alone = top is not None and all(owners[n] == 1 and paths[n.path] == 1 and n.path in new for n in top)
        blocks.append(Block(path, module, members, new, tuple(sorted({n.path for n in top})) if top and alone else ()))
    return tuple(blocks)


def scales(module: Leaky) -> bool:
    """Whether currents and threshold times c > 0 give the same spikes: no graded ones, a positive threshold."""
    return bool((module.graded_spikes_factor == 1).all()) and bool((module.threshold > 0).all())


def is_weighted(node: Node, weighted: Mapping[str, nn.Module]) -> bool:
    """Whether a node is computed by one of the weighted layers, with that layer's own weights."""
    if node.kind not in ("linear", "conv") or node.path not in weighted:
        return False
    weight, held = weighted[node.path].weight, node.constants[0]
    assert isinstance(weight, Tensor)
    return held is not None and held.shape == weight.shape and bool((held == weight).all())


def tree_of(node: Node) -> set[Node]:
    """A node and all that it reads within the step."""
    seen: set[Node] = set()
    leaves_of(node, seen)
    return seen


def _topmost(node: Node, weighted: Mapping[str, nn.Module]) -> list[Node] | None:
    """The weighted nodes nearest to a root, one on every path to a leaf and only homogeneous nodes above; None otherwise."""
    found = list(_walk(node, weighted))
    return None if None in found or not found else [n for n in found if n is not None]


def _walk(node: Node, weighted: Mapping[str, nn.Module]) -> Iterator[Node | None]:
    if is_weighted(node, weighted):
        yield node
    elif node.kind in _HOMOGENEOUS and node.inputs:
        for each in node.inputs:
            yield from _walk(each, weighted)
    elif node.kind != "zero":
        yield None

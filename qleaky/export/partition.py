"""Which layers run for all time steps at once, and which step by step together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """Layers in the order of execution within a step. ``stepped``: they have states, or lie in a loop with a layer that has."""

    layers: tuple[Any, ...]
    stepped: bool

    @property
    def names(self) -> frozenset[str]:
        """Of its layers."""
        return frozenset(layer.name for layer in self.layers)


def stages(layers: Iterable[Any], stateful: frozenset[str]) -> list[Stage]:
    """Every strongly connected component of the network is a stage, behind all stages that feed it."""
    ordered = tuple(layers)
    place = {layer.name: i for i, layer in enumerate(ordered)}
    found = []
    for component in components({layer.name: [s for s in layer.inputs if s in place] for layer in ordered}):
        members = tuple(ordered[i] for i in sorted(place[name] for name in component))
        found.append(Stage(members, any(layer.name in stateful for layer in members)))
    return found


def components(sources: dict[str, list[str]]) -> list[list[str]]:
    """Tarjan's strongly connected components of a graph given by the sources of every node; sources come first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for root in sources:
        work = [(root, iter(sources[root]))] if root not in index else []
        while work:
            node, rest = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
            for source in rest:
                if source not in index:
                    work.append((source, iter(sources[source])))
                    break
                if source in stack:
                    low[node] = min(low[node], index[source])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = stack.index(node)
                    found.append(stack[cut:])
                    del stack[cut:]
    return found

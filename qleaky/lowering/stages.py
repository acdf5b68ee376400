"""The layers of a step graph in order of execution, each with a name and the names of what feeds it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from qleaky.layers import QuantizedLayer
from qleaky.tracing import Neurons, Node, StepGraph, leaves_of
from qleaky.tracing.events import place
from qleaky.tracing.problems import Problems

_NAMES = {"affine": "scale", "average_pool": "pool", "max_pool": "pool", "concat": "cat"}
_LAYER_PACKAGES = ("torch.nn.", "qleaky.layers.", "brevitas.")


@dataclass(frozen=True)
class Stage:
    """One layer: its name, what it computes (a node, or neurons), and the names of what feeds it.

    ``accumulator_bits`` is the width that a quantized layer was trained to keep its sums in.
    """

    name: str
    sources: tuple[str, ...]
    node: Node
    neurons: Neurons | None = None
    accumulator_bits: int | None = None


def stages(net: nn.Module, graph: StepGraph) -> tuple[Stage, ...]:
    """All layers of a graph.

    Raises:
        LoweringError: with everything that has no layer.
    """
    arranger = _Arranger(net, graph)
    for neurons in graph.neurons:
        source = arranger.place(neurons.input)
        arranger.stages.append(Stage(neurons.name, (source,), neurons.input, neurons))
    arranger.problems.raise_all()
    return tuple(arranger.stages)


def ends(graph: StepGraph) -> tuple[Neurons, ...]:
    """The neurons whose spikes feed no others; all of them in a graph where each feeds another."""
    fed = {
        leaf["chain"] if leaf.kind == "spikes" else leaf.inputs[0]["chain"]
        for neurons in graph.neurons
        for leaf in leaves_of(neurons.input)
        if (leaf.kind == "spikes" or (leaf.kind == "delay" and leaf.inputs[0].kind == "spikes"))
        and neurons.spikes not in (leaf, *leaf.inputs)
    }
    return tuple(n for n in graph.neurons if n.name not in fed) or graph.neurons


@dataclass
class _Arranger:
    net: nn.Module
    graph: StepGraph
    stages: list[Stage] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)

    def __post_init__(self) -> None:
        self._names: dict[Node, str] = {i.node: i.name for i in self.graph.inputs}
        self._names |= {n.spikes: n.name for n in self.graph.neurons}
        self._taken = set(self._names.values())

    def place(self, node: Node) -> str:
        """The name of what computes a node, its layer and those before it placed if they are not yet."""
        if node not in self._names:
            self._check(node)
            sources = tuple(self.place(each) for each in node.inputs)
            self._names[node] = self._delays(node, sources[0]) if node.kind == "delay" else self._layer(node, sources)
        return self._names[node]

    def _layer(self, node: Node, sources: tuple[str, ...]) -> str:
        name = self._unique(self._wanted(node))
        self.stages.append(Stage(name, sources, node, accumulator_bits=self._accumulator_bits(node)))
        return name

    def _accumulator_bits(self, node: Node) -> int | None:
        """What the module that computes a product declares."""
        module = self.net.get_submodule(node.path) if node.kind in ("linear", "conv") else None
        return module.accumulator_bits if isinstance(module, QuantizedLayer) else None

    def _delays(self, node: Node, source: str) -> str:
        """One delay for each step that a value is older."""
        for _ in range(node["steps"]):
            name = self._unique(f"{source.removesuffix('_delayed')}_delayed")
            self.stages.append(Stage(name, (source,), node))
            source = name
        return source

    def _wanted(self, node: Node) -> str:
        """The path of the layer that computes a node; in code of the user's own with the kind behind it."""
        kind = _NAMES.get(node.kind, node.kind)
        module = self.net.get_submodule(node.path)
        if node.path and f"{type(module).__module__}.".startswith(_LAYER_PACKAGES) and not isinstance(module, nn.Sequential):
            return node.path
        return f"{node.path}.{kind}".lstrip(".")

    def _unique(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def _check(self, node: Node) -> None:
        where = place(node.path, node.where)
        leaf = node.inputs[0] if node.kind == "delay" else node
        if leaf.kind == "membrane":
            self.problems.add(f"the membrane of {leaf['chain']!r} is data of another layer; pass its spikes.")
        elif node.kind in ("time_sum", "time_mean"):
            self.problems.add(f"{where}: a sum over all steps feeds a layer; only a readout sums over time.")
        elif node.kind == "pad":
            self.problems.add(f"{where}: zero padding stands before no convolution or average pool; use their own padding.")
        elif node.kind == "filled":
            self.problems.add(f"{where}: a sequence is used before all of its steps were written.")

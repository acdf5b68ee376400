"""What every operation of a generated model needs to know of its network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from qleaky.export.c.arrays import Array, array_of, input_array, is_spikes
from qleaky.export.c.names import identifiers
from qleaky.integer import IntegerNetwork
from qleaky.integer.layers import LIF, Delay, Layer
from qleaky.integer.proof import LayerBounds
from qleaky.integer.shaping import Reshape


@dataclass(frozen=True, eq=False)
class Source:
    """Where an operation reads: the ``key`` of what was stored, and the array, in the shape that the reader sees."""

    key: str
    array: Array


class Context:
    """A network, the names of its parts in C, and how each of its signals is stored.

    A signal is stored under the name of the layer that computes it, its *root*: a Reshape only looks at it differently. A
    static input that later steps read too is kept, under :func:`kept_key`.
    """

    def __init__(self, network: IntegerNetwork, prefix: str, *, dsp: bool = False) -> None:
        self.network, self.prefix, self.dsp = network, prefix, dsp
        self.ids = _apart(identifiers([*(i.name for i in network.inputs), *(layer.name for layer in network.layers)]))

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """All layers by name, in order."""
        return {layer.name: layer for layer in self.network.layers}

    @cached_property
    def bounds(self) -> dict[str, LayerBounds]:
        """The proof's bounds of every layer that computes."""
        return {bounds.layer: bounds for bounds in self.network.proof.layers}

    @cached_property
    def inputs(self) -> dict[str, Array]:
        """The arrays that the step function is given."""
        return {source.name: input_array(source) for source in self.network.inputs}

    @cached_property
    def needed(self) -> frozenset[str]:
        """Names of the signals that reach a neuron: nothing else is computed."""
        found: set[str] = set()
        waiting = [lif.name for lif in self.network.lif_layers]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.layers[name].inputs if name in self.layers else ()
        return frozenset(found)

    @cached_property
    def consumers(self) -> dict[str, list[Layer]]:
        """The needed layers that read each root; a Reshape reads nothing itself."""
        found: dict[str, list[Layer]] = {}
        for layer in self.network.layers:
            if layer.name in self.needed and not isinstance(layer, Reshape):
                for root in dict.fromkeys(self.root(name) for name in layer.inputs):
                    found.setdefault(root, []).append(layer)
        return found

    def root(self, name: str) -> str:
        """The layer or input whose integers ``name`` shows."""
        layer = self.layers.get(name)
        return self.root(layer.input) if isinstance(layer, Reshape) else name

    def moving(self, name: str) -> bool:
        """Whether a signal has a value for each time step."""
        return name in self.network.moving

    def kept(self, root: str) -> bool:
        """Whether a signal that is the same in all steps is read in each of them."""
        return not self.moving(root) and any(self.moving(layer.name) for layer in self.consumers.get(root, ()))

    def source(self, name: str, *, moving: bool) -> Source:
        """Where an operation which runs in every step, or (``moving`` False) in the first, reads ``name``."""
        root, shape = self.root(name), self.network.signals[name].shape
        if root in self.inputs:
            if moving and not self.moving(root):
                return Source(kept_key(root), replace(self.result(root), shape=shape))
            return Source(root, replace(self.inputs[root], shape=shape))
        return Source(root, replace(self.result(root), shape=shape))

    def result(self, name: str) -> Array:
        """How what a layer computes is stored."""
        return array_of(self.network.signals[name])

    def name(self, layer: str) -> str:
        """The prefix of the C names of a layer."""
        return f"{self.prefix}_{self.ids[layer]}"

    def emission(self, layer: LIF) -> Array:
        """How what a layer's neurons emit is stored."""
        return self.result(layer.name)

    @property
    def delays(self) -> tuple[Delay, ...]:
        """The delays that something reads."""
        return tuple(layer for layer in self.network.layers if isinstance(layer, Delay) and layer.name in self.needed)

    @property
    def all_spikes(self) -> bool:
        """Whether every input is spikes."""
        return all(is_spikes(source.format) for source in self.network.inputs)


def _apart(ids: dict[str, str]) -> dict[str, str]:
    """No name of a layer ends as parts of other layers' names begin: with layers ``a`` and ``a_neuron``, whose is
    ``a_neuron_step``?
    """
    taken = set(ids.values())
    for name, own in ids.items():
        if own.rpartition("_")[2] in ("neuron", "synapse", "membrane", "last"):
            while own in taken:
                own += "_layer"
            taken.add(own)
            ids[name] = own
    return ids


def kept_key(name: str) -> str:
    """The key of the copy of a static input; no layer is called so."""
    return f"{name}\n"

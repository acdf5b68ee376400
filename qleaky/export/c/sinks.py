"""Where the numbers of a layer go: into an array, or straight into the neurons that integrate them."""

from __future__ import annotations

from qleaky.export.c.arrays import Array
from qleaky.export.c.context import Context
from qleaky.export.c.interface import ConstArray
from qleaky.export.c.neuron import NeuronCode, neuron_code
from qleaky.export.c.text import block
from qleaky.integer.layers import LIF


class ArraySink:
    """y[k] = value."""

    uses_state = False
    helpers: tuple[str, ...] = ()
    constants: tuple[ConstArray, ...] = ()

    def __init__(self, result: Array) -> None:
        self.result = result

    def before(self, *, ordered: bool) -> list[str]:
        """Nothing."""
        return []

    def take(self, index: str, value: str, *, ordered: bool) -> list[str]:
        """The store."""
        return [self.result.store("y", index, value)]


class NeuronSink:
    """The update of neuron k by the current ``value``; what it emits goes into the state."""

    uses_state = True
    result: Array | None = None

    def __init__(self, context: Context, layer: LIF) -> None:
        self.layer, self.id = layer, context.ids[layer.name]
        self.emission = context.emission(layer)
        x = context.network.signals[layer.input]
        self.neuron: NeuronCode = neuron_code(layer, x, context.bounds[layer.name], prefix=f"{context.name(layer.name)}_neuron")
        self.helpers = (self.neuron.functions,)
        self.constants = self.neuron.constants

    def before(self, *, ordered: bool) -> list[str]:
        """A word in which spikes are collected, where they come in order."""
        return ["uint32_t word = 0u;"] if ordered and self.emission.bits else []

    def take(self, index: str, value: str, *, ordered: bool) -> list[str]:
        """The update, and the store of what is emitted."""
        mem, spikes = f"state->{self.id}_mem[{index}]", f"state->{self.id}_spk"
        syn = None if self.layer.synapse is None else f"state->{self.id}_syn[{index}]"
        lines = self.neuron.update(mem=mem, syn=syn, current=value, index=index, emitted="emitted")
        if not self.emission.bits:
            return [*lines, self.emission.store(spikes, index, "emitted")]
        if not ordered:
            return [*lines, f"qleaky_set_bit({spikes}, {index}, (uint32_t)emitted);"]
        last = self.emission.elements - 1
        full = f"{index} % 32u == 31u" + (f" || {index} == {last}u" if last % 32 != 31 else "")
        flush = block(f"if ({full})", [f"{spikes}[{index} / 32u] = word;", "word = 0u;"])
        return [*lines, f"word |= (uint32_t)emitted << ({index} % 32u);", *flush]


Sink = ArraySink | NeuronSink


def sink_of(context: Context, name: str, lif: LIF | None) -> Sink:
    """The neurons of ``lif``, or the array of the signal ``name``."""
    return ArraySink(context.result(name)) if lif is None else NeuronSink(context, lif)

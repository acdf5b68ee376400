"""What layers emit at each step of a recorded run: computed from the recorded spikes, so no state is computed again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.integer import Add, AveragePool, Concat, Delay, FloatNetwork, IntegerNetwork, MaxPool, Reshape, Transpose
from qleaky.integer.graph import samples as pick
from qleaky.reference.array_layers import prepare, windows
from qleaky.reference.recording import Recording

Network = IntegerNetwork | FloatNetwork
Array = NDArray[Any]
Values = dict[str, Array]
CHUNK = 256
FLOAT_LAYERS = (AveragePool, MaxPool, Reshape, Transpose, Add, Concat)


class Emissions:
    """What the layers named in ``wanted`` emit, and all that these are made of, step by step.

    For an :class:`~qleaky.integer.IntegerNetwork` integers on the grids of its signals. For a
    :class:`~qleaky.integer.FloatNetwork` floats; sums with weights are not computed again, since their rounding would be that
    of another summation: :attr:`unknown` names the wanted layers that need one.
    """

    def __init__(self, network: Network, recording: Recording, codes: Mapping[str, Array], wanted: Collection[str]) -> None:
        if set(codes) != {source.name for source in network.inputs} or set(recording.spikes) != {
            lif.name for lif in network.lif_layers
        }:
            raise InputError(
                f"the recording holds the layers {sorted(recording.spikes)} and the inputs {sorted(codes)}, which are not "
                f"those of the network; pass a recording of this network with the codes that it ran on."
            )
        self._network, self._recording, self._codes = network, recording, dict(codes)
        self._maps = _float_maps(network) if isinstance(network, FloatNetwork) else _integer_maps(network)
        self._needed, self.unknown = _ancestors(network, wanted, self._maps)

    def __iter__(self) -> Iterator[tuple[int, Values]]:
        """(step, values (b, ...) by layer), for b samples at a time; what does not change over time comes with step 0 alone."""
        batch = next(iter(self._recording.spikes.values())).shape[1]
        for start in range(0, batch, CHUNK):
            yield from self._steps(np.arange(start, min(start + CHUNK, batch)))

    def _steps(self, picked: NDArray[np.intp]) -> Iterator[tuple[int, Values]]:
        network = self._network
        inputs = _integers(network, pick(network.inputs, self._codes, picked))
        moving = {source.name for source in network.inputs if source.time == "sequence"}
        still = {name: array for name, array in inputs.items() if name not in moving}
        self._evaluate(still, lambda name: name not in network.moving)
        before: Values = {}
        for t in range(network.num_steps):
            values = still | {name: inputs[name][t] for name in moving}
            values |= {name: spikes[t, picked] for name, spikes in self._recording.spikes.items()}
            values |= {layer.name: self._delayed(layer, before, len(picked)) for layer in self._delays()}
            self._evaluate(values, lambda name: name in network.moving)
            yield t, {name: array for name, array in values.items() if t == 0 or name in network.moving}
            before = values

    def _delays(self) -> Iterator[Delay]:
        return (layer for layer in self._network.layers if isinstance(layer, Delay) and layer.name in self._needed)

    def _delayed(self, layer: Delay, before: Values, batch: int) -> Array:
        return before[layer.input] if before else np.zeros((batch, *layer.shape), np.int64)

    def _evaluate(self, values: Values, when: Callable[[str], bool]) -> None:
        for layer in self._network.layers:
            if layer.name in self._needed and layer.name in self._maps and layer.name not in values and when(layer.name):
                values[layer.name] = self._maps[layer.name](*(values[name] for name in layer.inputs))


def _integers(network: Network, codes: Values) -> Values:
    """Codes -> the integers c - zero_point that the first layers see; floats stay."""
    if isinstance(network, FloatNetwork):
        return codes
    offsets = {source.name: source.format.zero_point for source in network.inputs}
    return {name: array.astype(np.int64) - offsets[name] for name, array in codes.items()}


def _integer_maps(network: IntegerNetwork) -> dict[str, Callable[..., Array]]:
    sums = {bounds.layer: bounds.accumulate for bounds in network.proof.layers}
    names = {lif.name for lif in network.lif_layers}
    return {
        layer.name: prepare(layer, [network.signals[name] for name in layer.inputs], sums.get(layer.name, 0))  # type: ignore[arg-type]
        for layer in network.layers
        if layer.name not in names and not isinstance(layer, Delay)
    }


def _float_maps(network: FloatNetwork) -> dict[str, Callable[..., Array]]:
    return {layer.name: _float_map(layer) for layer in network.layers if isinstance(layer, FLOAT_LAYERS)}


def _float_map(layer: AveragePool | MaxPool | Reshape | Transpose | Add | Concat) -> Callable[..., Array]:
    match layer:
        case Reshape():
            return lambda x: x.reshape(len(x), *layer.shape)
        case Transpose():
            return lambda x: x.transpose(0, *(axis + 1 for axis in layer.axes))
        case Add():
            return lambda *xs: np.asarray(sum(sign * x.astype(float) for sign, x in zip(layer.signs, xs, strict=True)))
        case Concat():
            axis = layer.axis + 1 if layer.axis >= 0 else layer.axis
            return lambda *xs: np.concatenate(xs, axis)
        case AveragePool():
            axes = tuple(range(-len(layer.kernel), 0))
            return lambda x: windows(x.astype(float), layer.window, 0).sum(axes) / layer.divisor
        case MaxPool():
            axes = tuple(range(-len(layer.kernel), 0))
            lowest: Any = -np.inf
            return lambda x: windows(x.astype(float), layer.window, lowest).max(axes)


def _ancestors(network: Network, wanted: Collection[str], maps: Mapping[str, Any]) -> tuple[set[str], frozenset[str]]:
    """All that the wanted layers are made of, down to inputs and spikes, and the wanted ones that cannot be computed."""
    layers = {layer.name: layer for layer in network.layers}
    known = {source.name for source in network.inputs} | {lif.name for lif in network.lif_layers}
    needed: set[str] = set()
    unknown = set()
    for name in wanted:
        found, open_ends = set[str](), [name]
        while open_ends:
            each = open_ends.pop()
            if each not in found:
                found.add(each)
                open_ends += [] if each in known else list(layers[each].inputs)
        if all(each in known or each in maps or isinstance(layers[each], Delay) for each in found):
            needed |= found
        else:
            unknown.add(name)
    return needed, frozenset(unknown)

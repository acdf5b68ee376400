"""``IntegerNetwork``: the contract between training and every artefact, and its file format."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from qleaky._files import write_atomically
from qleaky.errors import InputError
from qleaky.integer import storage
from qleaky.integer.bounds import Proof, prove
from qleaky.integer.float_network import FloatNetwork
from qleaky.integer.graph import Ends, by_name, check_batches, check_structure, is_stateful, moving, whole
from qleaky.integer.layers import LIF, Delay, Input, Layer, Readout, Signal

Codes = np.ndarray[Any, Any]


class IntegerNetwork(msgspec.Struct, Ends[Input], frozen=True, kw_only=True, tag="integer", dict=True, eq=False):
    """A spiking network as integers: what it computes is defined bit for bit by :mod:`qleaky.reference`.

    Args:
        inputs: shape, format and time mode of what comes in.
        num_steps: time steps T of one inference.
        layers: in the order of execution within a step; each names the inputs and layers that feed it. A
            :class:`~qleaky.integer.Delay` may name a later layer: it emits what that layer emitted one step before.
        readouts: what goes out.

    Raises:
        InputError: names that repeat or do not exist, shapes that do not fit, T < 1.
    """

    inputs: tuple[Input, ...]
    num_steps: int
    layers: tuple[Layer, ...]
    readouts: tuple[Readout, ...]

    def __post_init__(self) -> None:
        check_structure(self.num_steps, self.inputs, self.layers, self.readouts, (lif.name for lif in self.lif_layers))
        signals = self.signals  # computing them checks every layer
        for layer in self.layers:
            if isinstance(layer, Delay):
                layer.check_source(signals[layer.input])
        for readout in self.readouts:
            if readout.argmax and not signals[readout.layer].shape:
                raise InputError(f"layer {readout.layer!r} is one neuron without an axis; there is no class to choose.")

    @cached_property
    def signals(self) -> dict[str, Signal]:
        """What every layer emits, and every input: shape, grid and worst-case range."""
        signals = {source.name: source.signal for source in self.inputs}
        for layer in self.layers:
            sources = () if isinstance(layer, Delay) else layer.inputs
            signals[layer.name] = layer.output(*(signals[name] for name in sources))
        return signals

    @property
    def lif_layers(self) -> tuple[LIF, ...]:
        """The layers with a membrane, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, LIF))

    @cached_property
    def moving(self) -> frozenset[str]:
        """Names of the signals that have a value for each time step; the others are the same in all of them."""
        return moving(self.inputs, self.layers, (layer.name for layer in self.layers if is_stateful(layer)))

    @cached_property
    def proof(self) -> Proof:
        """The bounds of every layer, and whether bit-for-bit is a theorem."""
        return prove(self.layers, self.signals, self.readouts)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole contract, lowercase hex: equal for equal networks on every machine."""
        return storage.digest(self)

    def encode(self, values: Any) -> Any:
        """Float inputs -> integer codes of their formats; integer arrays are taken as codes.

        Shapes: (T, B, ...) for a sequence input, (B, ...) for a static one. A network with several inputs takes a dict by
        name, or a tuple in their order, and gives a dict.

        Raises:
            InputError: a wrong shape, an empty batch, a float off the grid, a code out of range, NaN or infinity.
        """
        return whole(self.encode_all(values))

    def encode_all(self, values: Any) -> dict[str, Codes]:
        """As :meth:`encode`, always a dict."""
        arrays = by_name(self.inputs, values)
        named = {i.name: "inputs" if len(self.inputs) == 1 else f"inputs of {i.name!r}" for i in self.inputs}
        codes = {i.name: i.format.encode(arrays[i.name], where=named[i.name]) for i in self.inputs}
        check_batches(self.inputs, codes, self.num_steps)
        return codes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file: safetensors with a JSON header, no pickle, same bytes for the same network."""
        write_atomically(path, storage.to_bytes(self, self.digest))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> IntegerNetwork:
        """Read a network that :meth:`save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged, of another version, or not an IntegerNetwork.
        """
        return storage.load(cls, path)


def load_network(path: str | os.PathLike[str]) -> IntegerNetwork | FloatNetwork:
    """Read a ``.qleaky`` file of either kind.

    Raises:
        ArtefactError: the file is missing, damaged or of another version.
    """
    network: IntegerNetwork | FloatNetwork = storage.load(IntegerNetwork | FloatNetwork, path)  # type: ignore[arg-type]
    return network

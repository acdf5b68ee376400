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
from qleaky.integer.layers import LIF, READOUTS, Input, Layer, Readout, Signal, check_batch

MAX_STEPS = 1_000_000


class IntegerNetwork(msgspec.Struct, frozen=True, kw_only=True, tag="integer", dict=True, eq=False):
    """A spiking network as integers: what it computes is defined bit for bit by :mod:`qleaky.reference`.

    Args:
        input: shape, format and time mode of what comes in.
        num_steps: time steps T of one inference.
        layers: in the order of execution; each names the layer (or ``"input"``) that feeds it.
        readout: what goes out.

    Raises:
        InputError: names that repeat or do not exist, shapes that do not fit, T < 1.
    """

    input: Input
    num_steps: int
    layers: tuple[Layer, ...]
    readout: Readout

    def __post_init__(self) -> None:
        if not 1 <= self.num_steps <= MAX_STEPS:
            raise InputError(f"num_steps={self.num_steps}; a network runs for 1 to {MAX_STEPS:,} time steps.")
        if self.readout.kind not in READOUTS:
            raise InputError(f"readout {self.readout.kind!r} is unknown; choose one of {', '.join(READOUTS)}.")
        names = [layer.name for layer in self.layers]
        if doubles := {name for name in names if names.count(name) > 1 or name == "input" or not name}:
            raise InputError(f"Layer names must be unique, non-empty and not 'input'; found {sorted(doubles)}.")
        if self.readout.layer not in {layer.name for layer in self.lif_layers}:
            raise InputError(f"The readout names layer {self.readout.layer!r}, which is no LIF layer of the network.")
        if self.readout.argmax and not self.signals[self.readout.layer].shape:
            raise InputError(f"layer {self.readout.layer!r} is one neuron without an axis; there is no class to choose.")
        self.signals  # noqa: B018  computing them checks every shape

    @cached_property
    def signals(self) -> dict[str, Signal]:
        """What every layer emits (and ``"input"``): shape, grid and worst-case range."""
        signals = {"input": self.input.signal}
        for layer in self.layers:
            if layer.input not in signals:
                raise InputError(f"layer {layer.name!r} takes its input from {layer.input!r}, which is no layer before it.")
            signals[layer.name] = layer.output(signals[layer.input])
        return signals

    @property
    def lif_layers(self) -> tuple[LIF, ...]:
        """The layers with a membrane, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, LIF))

    @cached_property
    def proof(self) -> Proof:
        """The bounds of every layer, and whether bit-for-bit is a theorem."""
        return prove(self.layers, self.signals)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole contract, lowercase hex: equal for equal networks on every machine."""
        return storage.digest(self)

    def encode(self, values: Any) -> np.ndarray[Any, Any]:
        """Float inputs -> integer codes of ``input.format``; integer arrays are taken as codes.

        Shapes: (T, B, ...) for a sequence input, (B, ...) for a static one.

        Raises:
            InputError: a wrong shape, an empty batch, a float off the grid, a code out of range, NaN or infinity.
        """
        codes = self.input.format.encode(values, where="inputs")
        check_batch(codes.shape, self.input.shape, self.num_steps if self.input.time == "sequence" else None)
        return codes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file: safetensors with a JSON header, no pickle, same bytes for the same network."""
        write_atomically(path, storage.to_bytes(self, self.digest))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> IntegerNetwork:
        """Read a network that :meth:`save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged, of a later version, or not an IntegerNetwork.
        """
        return storage.load(cls, path)


def load_network(path: str | os.PathLike[str]) -> IntegerNetwork | FloatNetwork:
    """Read a ``.qleaky`` file of either kind.

    Raises:
        ArtefactError: the file is missing, damaged or of a later version.
    """
    network: IntegerNetwork | FloatNetwork = storage.load(IntegerNetwork | FloatNetwork, path)  # type: ignore[arg-type]
    return network

"""``FloatNetwork``: what cannot be integers, and why. It takes the same road, and is measured instead of proved."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky._files import write_atomically
from qleaky.dynamics import Compare, Decay, ResetMechanism, ResetTiming, RoundingSite
from qleaky.errors import InputError
from qleaky.fixed import Overflow, QFormat, Rounding, as_array
from qleaky.integer import storage
from qleaky.integer.bounds import Proof
from qleaky.integer.layers import Readout, TimeMode, check_batch

FloatArray = NDArray[Any]


class FloatInput(msgspec.Struct, frozen=True):
    """The input: per-sample shape, time mode, and the format of its codes if one was declared."""

    shape: tuple[int, ...]
    format: QFormat | None = None
    time: TimeMode = "sequence"


class FloatLinear(msgspec.Struct, frozen=True, kw_only=True, tag="float_linear", eq=False):
    """I = W x + b in float32; ``weight`` (out, in), ``bias`` (out,) or None."""

    name: str
    input: str
    weight: FloatArray
    bias: FloatArray | None = None


class FloatLIF(msgspec.Struct, frozen=True, kw_only=True, tag="float_lif", eq=False):
    """One LIF layer in float32; its state is free, on a fixed-point grid (``state``), or on ``levels``."""

    name: str
    input: str
    beta: FloatArray
    theta: FloatArray
    graded: FloatArray
    state: QFormat | None = None
    levels: FloatArray | None = None
    decay: Decay | None = None
    reset_mechanism: ResetMechanism = ResetMechanism.SUBTRACT
    reset_timing: ResetTiming = ResetTiming.DELAYED
    compare: Compare = Compare.STRICT
    rounding: Rounding = Rounding.HALF_UP
    rounding_site: RoundingSite = RoundingSite.SUM
    overflow: Overflow = Overflow.SATURATE


class Golden(msgspec.Struct, frozen=True, eq=False):
    """What the torch network computed when it was lowered: inputs, and spikes and membranes (T, B, ...) of every layer."""

    inputs: FloatArray
    spikes: dict[str, FloatArray]
    membranes: dict[str, FloatArray]


class FloatNetwork(msgspec.Struct, frozen=True, kw_only=True, tag="float", dict=True, eq=False):
    """A spiking network in float32; ``reasons`` say why. Its reference is what torch computed, recorded in ``golden``."""

    input: FloatInput
    num_steps: int
    layers: tuple[FloatLinear | FloatLIF, ...]
    readout: Readout
    reasons: tuple[str, ...]
    golden: Golden

    @property
    def lif_layers(self) -> tuple[FloatLIF, ...]:
        """The layers with a membrane, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, FloatLIF))

    @property
    def proof(self) -> Proof:
        """No theorem: the reasons."""
        return Proof((), self.reasons, ())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole network, lowercase hex."""
        return storage.digest(self)

    def encode(self, values: Any) -> NDArray[np.float32]:
        """Inputs as float32 (T, B, ...) or (B, ...); integer arrays are codes of ``input.format``, if it has one.

        Raises:
            InputError: a wrong shape, an empty batch, NaN or infinity, or codes without a format.
        """
        array = as_array(values, "inputs")
        if array.dtype.kind in "biu":
            if self.input.format is None:
                raise InputError("inputs are integers, but the network declares no input format; pass floats.")
            array = self.input.format.decode(self.input.format.encode(array, where="inputs"))
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise InputError(f"inputs of dtype {array.dtype} must be finite numbers; these hold NaN, infinity or no numbers.")
        check_batch(array.shape, self.input.shape, self.num_steps if self.input.time == "sequence" else None)
        return array.astype(np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file; see :meth:`IntegerNetwork.save`."""
        write_atomically(path, storage.to_bytes(self, self.digest))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FloatNetwork:
        """Read a network that :meth:`save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged, of a later version, or not a FloatNetwork.
        """
        return storage.load(cls, path)

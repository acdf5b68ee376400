"""What an :class:`~qleaky.integer.IntegerNetwork` is made of: inputs, layers, and what leaves it."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from qleaky.errors import InputError
from qleaky.fixed import QFormat
from qleaky.integer.lif import LIF, Synapse
from qleaky.integer.shaping import Add, AveragePool, Concat, Delay, MaxPool, Reshape, Transpose
from qleaky.integer.signals import Signal
from qleaky.integer.weighted import Affine, Conv, Linear

__all__ = [
    "LIF", "Add", "Affine", "AveragePool", "Concat", "Conv", "Delay", "Input", "Layer", "Linear", "MaxPool", "Readout",
    "Reshape", "Shaping", "Signal", "Synapse", "Transpose",
]  # fmt: skip

TimeMode = Literal["sequence", "static"]
ReadoutKind = Literal["spikes", "spike_count", "membrane_mean", "last_membrane"]
READOUTS: tuple[ReadoutKind, ...] = ("spikes", "spike_count", "membrane_mean", "last_membrane")

Shaping = AveragePool | MaxPool | Reshape | Transpose | Add | Concat | Delay
Layer = Linear | Conv | Affine | Shaping | LIF


class Input(msgspec.Struct, frozen=True):
    """An input of the network: its per-sample shape, its format, whether it changes with time, and its name.

    A code c enters the arithmetic as the integer c - zero_point.
    """

    shape: tuple[int, ...]
    format: QFormat
    time: TimeMode = "sequence"
    name: str = "input"

    @property
    def signal(self) -> Signal:
        """The integers c - zero_point that the first layer sees."""
        fmt = self.format
        return Signal(self.shape, fmt.frac_bits, np.array(fmt.lowest - fmt.zero_point), np.array(fmt.highest - fmt.zero_point))


class Readout(msgspec.Struct, frozen=True):
    """What leaves the network.

    ``spikes`` (T, B, ...) of ``layer``; ``spike_count`` their sum over time; ``membrane_mean`` the sum of the membrane
    codes over time (the division by T and the scale are outside the contract); ``last_membrane`` the final codes.
    With ``argmax`` the class too: the lowest index of the largest value over the last axis.
    """

    layer: str
    kind: ReadoutKind = "spikes"
    argmax: bool = False

    @property
    def output_name(self) -> str:
        """Name of the output tensor that holds the integers, in a network with one readout."""
        return OUTPUT_NAMES[self.kind]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all outputs, in order."""
        return (self.output_name, "class") if self.argmax else (self.output_name,)


OUTPUT_NAMES: dict[ReadoutKind, str] = {
    "spikes": "spikes",
    "spike_count": "spike_count",
    "membrane_mean": "membrane_sum",
    "last_membrane": "last_membrane",
}


def check_batch(shape: tuple[int, ...], sample: tuple[int, ...], num_steps: int | None, name: str = "inputs") -> None:
    """Refuse a batch of inputs that is not (T, B, *sample), or (B, *sample) where ``num_steps`` is None, with B >= 1.

    Raises:
        InputError: it is not.
    """
    lead = () if num_steps is None else (num_steps,)
    axis = len(lead)
    wanted = f"({', '.join(str(d) for d in (*lead, 'B', *sample))})"
    if len(shape) != axis + 1 + len(sample) or shape[axis + 1 :] != sample or shape[:axis] != lead:
        raise InputError(f"{name} have shape {shape}; this network takes {wanted}, time first.")
    if shape[axis] == 0:
        raise InputError(f"{name} have shape {shape}: an empty batch. Pass at least one sample, {wanted}.")

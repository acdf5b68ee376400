"""The contract: :class:`IntegerNetwork`, its layers, and the proof that its arithmetic is exact."""

from qleaky.integer.bounds import LayerBounds, Proof
from qleaky.integer.float_network import FloatInput, FloatLIF, FloatLinear, FloatNetwork, Golden
from qleaky.integer.layers import LIF, Input, Linear, Readout
from qleaky.integer.network import IntegerNetwork, load_network

__all__ = [
    "LIF",
    "FloatInput",
    "FloatLIF",
    "FloatLinear",
    "FloatNetwork",
    "Golden",
    "Input",
    "IntegerNetwork",
    "LayerBounds",
    "Linear",
    "Proof",
    "Readout",
    "load_network",
]

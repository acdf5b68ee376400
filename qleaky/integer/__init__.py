"""The contract: :class:`IntegerNetwork`, its layers, and the proof that its arithmetic is exact."""

from qleaky.integer.bounds import LayerBounds, Proof
from qleaky.integer.layers import LIF, Input, Linear, Readout
from qleaky.integer.network import IntegerNetwork

__all__ = ["LIF", "Input", "IntegerNetwork", "LayerBounds", "Linear", "Proof", "Readout"]

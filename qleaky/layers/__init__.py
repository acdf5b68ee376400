"""Quantized layers to train with: Brevitas' linear and convolution layers on power-of-two grids that follow the weights."""

from qleaky.layers.conv import QuantConv1d, QuantConv2d
from qleaky.layers.linear import QuantLinear
from qleaky.layers.quantized_layer import QuantizedLayer, freeze_scales

__all__ = ["QuantConv1d", "QuantConv2d", "QuantLinear", "QuantizedLayer", "freeze_scales"]

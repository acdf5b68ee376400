"""Choosing formats from data: quantizing a trained network in one call, and which layer's bits cost accuracy."""

from qleaky.calibration.post_training import quantize
from qleaky.calibration.report import QuantizationReport, StateRow, WeightRow

__all__ = ["QuantizationReport", "StateRow", "WeightRow", "quantize"]

"""Choosing formats from data: quantizing a trained network in one call, and which layer's bits cost accuracy."""

from qleaky.calibration.post_training import quantize
from qleaky.calibration.report import QuantizationReport, StateRow, WeightRow
from qleaky.calibration.scanning import sensitivity
from qleaky.calibration.sensitivity_table import Sensitivity, SensitivityRow
from qleaky.calibration.snapping import Snap, SnapReport, snap_to_grid

__all__ = [
    "QuantizationReport",
    "Sensitivity",
    "SensitivityRow",
    "Snap",
    "SnapReport",
    "StateRow",
    "WeightRow",
    "quantize",
    "sensitivity",
    "snap_to_grid",
]

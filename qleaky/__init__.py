"""qleaky: leaky integrate-and-fire networks that compute the same integers in training, in ONNX and on the device.

Every public name is imported on first use (PEP 562), so ``import qleaky`` loads neither torch nor ONNX Runtime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qleaky._version import VERSION as __version__
from qleaky.errors import missing

_HOMES = {
    "Leaky": "neuron",
    "backend": "kernels.library",
    "FixedPoint": "quantizers",
    "LearnedFixedPoint": "quantizers",
    "Levels": "quantizers",
    "state_quant": "quantizers",
    "from_brevitas": "brevitas_adapter",
    "from_snntorch": "snntorch_adapter",
    "fold_batch_norm": "batch_norm",
    "QuantConv1d": "layers",
    "QuantConv2d": "layers",
    "QuantLinear": "layers",
    "quantize": "calibration",
    "sensitivity": "calibration",
    "lower": "lowering",
    "FloatNetwork": "integer",
    "IntegerNetwork": "integer",
    "MulShift": "dynamics",
    "ShiftDecay": "dynamics",
    "QFormat": "fixed",
    "Rounding": "fixed",
    "Overflow": "fixed",
    "run": "reference",
    "export_onnx": "exporting",
    "export_bundle": "bundling",
    "export_c": "c_export",
    "Runner": "verification",
    "verify": "verification",
    "QleakyError": "errors",
}
_MODULES = ("surrogate", "datasets", "models")

__all__ = [*_HOMES, *_MODULES, "__version__"]

if TYPE_CHECKING:
    from qleaky import datasets, models, surrogate
    from qleaky.batch_norm import fold_batch_norm
    from qleaky.brevitas_adapter import from_brevitas
    from qleaky.bundling import export_bundle
    from qleaky.c_export import export_c
    from qleaky.calibration import quantize, sensitivity
    from qleaky.dynamics import MulShift, ShiftDecay
    from qleaky.errors import QleakyError
    from qleaky.exporting import export_onnx
    from qleaky.fixed import Overflow, QFormat, Rounding
    from qleaky.integer import FloatNetwork, IntegerNetwork
    from qleaky.kernels.library import backend
    from qleaky.layers import QuantConv1d, QuantConv2d, QuantLinear
    from qleaky.lowering import lower
    from qleaky.neuron import Leaky
    from qleaky.quantizers import FixedPoint, LearnedFixedPoint, Levels, state_quant
    from qleaky.reference import run
    from qleaky.snntorch_adapter import from_snntorch
    from qleaky.verification import Runner, verify


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"qleaky.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'qleaky' has no attribute {name!r}; it has {', '.join(sorted(__all__))}.")
    try:
        value = getattr(import_module(f"qleaky.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        raise missing(f"qleaky.{name}", error) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""State quantizers: modules mem -> mem that keep a membrane on the levels a device has.

``FixedPoint`` is the one that lowers to integers; ``LearnedFixedPoint`` learns its step and lowers too. ``Levels`` and
``state_quant`` reproduce snntorch's grids. Any other callable works in :class:`~qleaky.Leaky` too, and is measured rather
than proved.
"""

from qleaky.quantizers.base import StateQuantizer
from qleaky.quantizers.fixed_point import FixedPoint
from qleaky.quantizers.grids import inside, quantize_, refuse_nan, round_to_grid_
from qleaky.quantizers.learned import LearnedFixedPoint
from qleaky.quantizers.levels import Levels, LevelsSpec
from qleaky.quantizers.snntorch_grid import state_quant
from qleaky.quantizers.spec import GRADIENTS, FixedPointSpec, Gradient

__all__ = [
    "GRADIENTS",
    "FixedPoint",
    "FixedPointSpec",
    "Gradient",
    "LearnedFixedPoint",
    "Levels",
    "LevelsSpec",
    "StateQuantizer",
    "inside",
    "quantize_",
    "refuse_nan",
    "round_to_grid_",
    "state_quant",
]

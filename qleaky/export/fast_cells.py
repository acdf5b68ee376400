"""Faster forms of the most common layer: delayed subtracting reset, one spike a step, a saturating state, a sum rounded once.

No ``Where`` with a tensor among its choices and no table: both cost more than several elementwise operators (ONNX Runtime
1.32, CPU). Every form computes the same integers as :class:`~qleaky.export.cells.Cell`, and checks its preconditions.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from qleaky.dynamics import MulShift, ResetMechanism, ResetTiming, RoundingSite
from qleaky.export.carriers import Carrier
from qleaky.export.cells import Cell, Clip, Names
from qleaky.export.graph import Graph
from qleaky.export.numbers import TooWide
from qleaky.export.wires import Wire
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import LIF
from qleaky.integer.layers import Signal

FLOAT32, UINT8 = np.dtype(np.float32), np.dtype(np.uint8)
ROWS: int | str | None = None  # as many as all steps have samples


def is_common(layer: LIF, source: Signal) -> bool:
    """Whether the fast forms may compute a layer, as far as its settings go."""
    return (
        layer.reset_mechanism is ResetMechanism.SUBTRACT
        and layer.reset_timing is ResetTiming.DELAYED
        and layer.max_spikes == 1
        and layer.graded is None
        and layer.synapse is None
        and layer.overflow is Overflow.SATURATE
        and (layer.decay is None or (isinstance(layer.decay, MulShift) and layer.rounding_site is RoundingSite.SUM))
        and (layer.rounding in (Rounding.HALF_UP, Rounding.FLOOR) or layer.extra_bits(source) == 0)
    )


def scalar(codes: Any) -> int | None:
    """The one number of an array that holds one, else None."""
    return int(codes.reshape(-1)[0]) if codes.size == 1 else None


class FastCell(Cell):
    """What the fast forms share: no synapse, and the states that :meth:`resume` begins with."""

    carrier: ClassVar[type[Carrier]]
    has_first = True

    def __init__(self, graph: Graph, layer: LIF, source: Signal, clip: Clip, *, scan: bool) -> None:
        if not is_common(layer, source):
            raise TooWide
        super().__init__(graph, layer, source, self.carrier, clip)
        self.scan = scan
        self.theta = scalar(layer.theta)
        self.bits = layer.decay.n if isinstance(layer.decay, MulShift) else 0
        self.m = np.array(1) if self.numbers.multiplier is None else self.numbers.multiplier
        self._prepare_constants()
        wire = Wire("", np.dtype(np.int64), source)
        self.charge = self.carrier(Graph()).take(wire, self.shift, self.unit, self.half, clip)
        self._check()

    def _prepare_constants(self) -> None:
        """Set ``unit`` and ``half``, the constant that is added to the current."""
        raise NotImplementedError

    def _check(self) -> None:
        """Write a step into a graph of no use.

        Raises:
            TooWide: a number may leave the carrier.
        """
        graph = Graph()
        self.ops, kept = self.carrier(graph), self.ops
        self.step(graph, self.resume(graph, "mem", None), ("x",), Names())
        self.ops = kept

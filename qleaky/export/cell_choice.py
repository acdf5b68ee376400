"""Which form computes a LIF layer: the fastest whose preconditions hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from qleaky.errors import LoweringError
from qleaky.export import dynamics_ops as rules
from qleaky.export.carriers import Carrier
from qleaky.export.cells import Cell, Clip, Names
from qleaky.export.float_carrier import Float32, PlainFloat32
from qleaky.export.graph import Graph
from qleaky.export.integer_carriers import Int32, Integers
from qleaky.export.numbers import TooWide
from qleaky.export.offset_cell import OffsetCell
from qleaky.export.plain_cell import PlainCell
from qleaky.export.quantized_cells import QuantizedCell, VectorQuantizedCell
from qleaky.export.wires import Wire
from qleaky.integer import LIF
from qleaky.integer.layers import Signal

NARROW = 256

Maker = Callable[[Clip], Cell]


@dataclass(frozen=True)
class Style:
    """What a form of the graph asks of its cells.

    ``form`` as in :func:`qleaky.export_onnx`; ``stacked`` names the layers whose spikes are made of all steps at once;
    ``hoisted``: products stand outside the time loop, as is best for few samples.
    """

    form: str
    stacked: frozenset[str] = frozenset()
    hoisted: bool = True


def new_cell(graph: Graph, layer: LIF, source: Signal, style: Style, carrier: str) -> Cell:
    """The first form that has room for every number; where none has, of a current clipped to what does not saturate anyway.

    Raises:
        LoweringError: not even 64-bit integers have.
    """
    clip = rules.clip_range(layer, source)
    for carried in dict.fromkeys((carrier, "integer")):
        for makers in (_fast(graph, layer, source, style, carried), _general(graph, layer, source, carried)):
            for make, ends in itertools.product(makers, [None] if clip is None else [None, clip]):
                try:
                    return make(ends)
                except TooWide:
                    continue
    raise LoweringError(f"layer {layer.name!r}: its sums need more than 64-bit integers; use fewer bits.")


def _fast(graph: Graph, layer: LIF, source: Signal, style: Style, carrier: str) -> list[Maker]:
    """Forms in float32 or in int32, the fastest first; graphs of one step spend their time elsewhere."""
    if style.form == "step":
        return []
    scan, stacked = style.form == "scan", layer.name in style.stacked
    if carrier == "float":
        return [partial(PlainCell, graph, layer, source, scan=scan)]
    if carrier == "integer":
        return [
            partial(OffsetCell, graph, layer, source, scan=scan, stacked=stacked, from_lowest=from_lowest)
            for from_lowest in (True, False)
        ]
    makers: list[Maker] = [partial(kind, graph, layer, source, scan=scan) for kind in (QuantizedCell, VectorQuantizedCell)]
    narrow = stacked and not scan and math.prod(source.shape) <= NARROW
    return [partial(QuantizedCell, graph, layer, source, scan=scan, stacked=True), *makers] if narrow else makers


def _general(graph: Graph, layer: LIF, source: Signal, carrier: str) -> list[Maker]:
    kinds: dict[str, list[type[Carrier]]] = {"float": [PlainFloat32], "quantized": [Float32], "integer": [Int32, Integers]}
    return [partial(_checked, graph, layer, source, kind) for kind in kinds[carrier]]


def _checked(graph: Graph, layer: LIF, source: Signal, kind: type[Carrier], clip: Clip) -> Cell:
    """The general form, after a step in a graph of no use.

    Raises:
        TooWide: a number may leave the carrier.
    """
    trial = Cell(scratch := Graph(), layer, source, kind, clip)
    pieces = trial.prepare(scratch, Wire("x", np.dtype(np.int64), source))
    trial.step(scratch, trial.resume(scratch, "mem", "syn" if layer.synapse else None), pieces, Names())
    return Cell(graph, layer, source, kind, clip)

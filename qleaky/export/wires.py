"""What the emitters pass to each other: a tensor of the graph that holds a layer's integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.export.graph import Graph
from qleaky.integer.layers import Signal

FLOAT32_EXACT, INT32_MAX, INT64_MAX = 1 << 24, (1 << 31) - 1, (1 << 63) - 1
LIMITS = {np.dtype(np.float32): FLOAT32_EXACT, np.dtype(np.int32): INT32_MAX, np.dtype(np.int64): INT64_MAX}


@dataclass(frozen=True, eq=False)
class Wire:
    """A tensor (N, *sample) of type ``dtype``; the layer's integers are what it holds, times 2**exponent, plus ``pending``.

    ``pending``, integers that broadcast to a sample, has not been added yet: whoever reads the wire folds it into a constant
    of its own, or adds it. An ``exponent`` only float32 wires have. A ``charged`` wire is a current as its LIF layer's step
    takes it. ``signal`` says what the integers can be.
    """

    name: str
    dtype: np.dtype[Any]
    signal: Signal
    pending: NDArray[Any] | None = None
    exponent: int = 0
    charged: bool = False

    def at(self, name: str) -> Wire:
        """The same in another tensor."""
        return replace(self, name=name)

    @property
    def offset(self) -> int | None:
        """What is pending if that is one number for all elements, else None."""
        return 0 if self.pending is None else int(self.pending) if self.pending.ndim == 0 else None


def smallest_type(low: int, high: int) -> np.dtype[Any]:
    """uint8 or the smallest signed type that holds the integers from ``low`` to ``high``."""
    if low >= 0 and high <= 255:
        return np.dtype(np.uint8)
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)


def holds(dtype: Any, low: int, high: int) -> bool:
    """Whether a type holds all integers from ``low`` to ``high`` exactly."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        limit = 1 << (24 if dtype == np.float32 else 53)
        return -limit <= low and high <= limit
    return bool(np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)


def wide(wire: Wire) -> np.dtype[Any]:
    """The type to compute a wire's integers in: int32 where it holds them, with and without what is pending, else int64."""
    low, high = stored_range(wire)
    return np.dtype(np.int32 if holds(np.int32, min(low, wire.signal.low), max(high, wire.signal.high)) else np.int64)


def stored_range(wire: Wire) -> tuple[int, int]:
    """The smallest and largest integer that the tensor itself holds, times 2**exponent."""
    if wire.pending is None:
        return wire.signal.low, wire.signal.high
    least, most = int(wire.pending.min()), int(wire.pending.max())
    return wire.signal.low - most, wire.signal.high - least


def integers(graph: Graph, wire: Wire, dtype: Any) -> str:
    """The layer's integers in ``dtype``, which holds them; what is pending is added in a type that has room for it."""
    dtype = np.dtype(dtype)
    if wire.exponent:
        scaled = graph.op("Mul", wire.name, graph.constant(2.0**wire.exponent, wire.dtype))
        wire = replace(wire, name=scaled, exponent=0)
    if wire.pending is None:
        return wire.name if wire.dtype == dtype else graph.cast(wire.name, dtype)
    low, high = stored_range(wire)
    ends = min(low, int(wire.pending.min())), max(high, int(wire.pending.max()))
    room = dtype if dtype.itemsize >= 4 and holds(dtype, *ends) else wide(wire)
    value = wire.name if wire.dtype == room else graph.cast(wire.name, room)
    value = graph.op("Add", value, graph.constant(wire.pending, room))
    return value if room == dtype else graph.cast(value, dtype)

"""Sliding windows by their positions: one slice of the padded input for each element of a kernel, in any type."""

from __future__ import annotations

from typing import Any

import numpy as np

from qleaky.export.graph import Graph
from qleaky.integer.windows import Window


def taps(
    graph: Graph, value: str, dtype: Any, window: Window, shape: tuple[int, ...], spatial: tuple[int, ...], padding: float
) -> list[str]:
    """What every position of the kernel sees, (N, C, *spatial) each, in row-major order; pads hold ``padding``."""
    befores, afters = zip(*window.pads, strict=True)
    if any((*befores, *afters)):
        pads = graph.constant([0, 0, *befores, 0, 0, *afters], np.int64)
        value = graph.op("Pad", value, pads, graph.constant(padding, dtype))
    axes = graph.constant(list(range(2, 2 + len(spatial))), np.int64)
    steps = graph.constant(list(window.stride), np.int64)
    pieces = []
    for place in np.ndindex(*window.kernel):
        starts = [i * dilation for i, dilation in zip(place, window.dilation, strict=True)]
        ends = [s + (n - 1) * stride + 1 for s, n, stride in zip(starts, spatial, window.stride, strict=True)]
        bounds = (graph.constant(numbers, np.int64) for numbers in (starts, ends))
        pieces.append(graph.op("Slice", value, *bounds, axes, steps))
    return pieces

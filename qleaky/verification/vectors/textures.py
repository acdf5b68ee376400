"""Inputs that look like images: fields of few cells, hard or smooth, at all brightnesses, whole or within a rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import Input
from qleaky.verification.vectors.candidates import Batch, Draw, Inputs, picked

Ints = NDArray[Any]
CELLS, SIDE = 4, 4


def spatial(shape: tuple[int, ...]) -> bool:
    """Whether an input has channels and spatial axes that are worth a texture."""
    return len(shape) > 1 and max(shape[1:]) >= SIDE


def textured(inputs: Inputs, count: int, draw: Draw) -> Batch:
    """``count`` samples where an input has spatial axes (C, ...), else none: fields that stand still, or move at every step."""
    images = [source for source in inputs.sources if spatial(source.shape)]
    batch = inputs.filled(count if images else 0, "zero_point")
    for source in images:
        for codes in batch[source.name]:
            field, by = _field(source, draw), int(draw.integers(0, 2))
            codes[...] = np.stack([np.roll(field, t * by, axis=-1) for t in range(len(codes))])
    return batch


def _field(source: Input, draw: Draw) -> Ints:
    """Codes (C, ...) of one field, the same in all channels or another in each."""
    fmt, shape = source.format, source.shape
    smooth, style, framed, alike = (int(n) for n in draw.integers(0, (2, 3, 2, 2)))
    cells = [int(n) for n in draw.integers(1, np.minimum(CELLS, shape[1:]) + 1)]
    values = draw.integers(fmt.lowest, fmt.highest + 1, (1 if alike else shape[0], *cells))
    if style:
        other = fmt.highest if style == 1 else int(draw.integers(fmt.lowest, fmt.highest + 1))
        values = np.where(draw.integers(0, 2, values.shape) == 1, other, fmt.zero_point)
    for axis, size in enumerate(shape[1:], start=1):
        values = stretched(values, axis, size, smooth == 1)
    return np.broadcast_to(_framed(values, fmt.zero_point, draw) if framed else values, shape)


def stretched(values: Ints, axis: int, size: int, smooth: bool) -> Ints:
    """An axis of few cells drawn out to ``size`` elements: cells repeated, or between two cells what lies on the line."""
    cells = values.shape[axis]
    if not smooth or cells == 1:
        repeated: Ints = np.take(values, np.arange(size) * cells // size, axis=axis)
        return repeated
    left, part = np.divmod(np.arange(size) * (cells - 1), size - 1)
    part = part.reshape(-1, *(1,) * (values.ndim - 1 - axis))
    first, second = (np.take(values, np.minimum(left + by, cells - 1), axis=axis) for by in (0, 1))
    drawn: Ints = (first * (size - 1 - part) + second * part) // (size - 1)
    return drawn


def _framed(values: Ints, rest: int, draw: Draw) -> Ints:
    """At rest outside a rectangle."""
    inside = rectangle(values.shape[1:], draw)
    framed = np.full_like(values, rest)
    framed[:, *inside] = values[:, *inside]
    return framed


def rectangle(sizes: Sequence[int], draw: Draw) -> tuple[slice, ...]:
    """At least one element of every axis."""
    ends = (sorted(int(n) for n in draw.integers(0, size + 1, 2)) for size in sizes)
    return tuple(slice(min(first, size - 1), max(last, first + 1)) for (first, last), size in zip(ends, sizes, strict=True))


def patched(inputs: Inputs, batch: Batch, parents: NDArray[np.intp], draw: Draw) -> Batch:
    """One child of each parent: a rectangle of another parent's, of one code, or at rest; of inputs with spatial axes."""
    children = picked(batch, parents)
    for child in range(len(parents)):
        how, mate = (int(n) for n in draw.integers(0, (4, len(parents))))
        for source in filter(lambda each: spatial(each.shape), inputs.sources):
            codes, other, fmt = children[source.name][child], batch[source.name][parents[mate]], source.format
            inside = (slice(None), slice(None), *rectangle(source.shape[1:], draw))
            values = (other[inside], fmt.highest, fmt.zero_point, int(draw.integers(fmt.lowest, fmt.highest + 1)))
            codes[inside] = values[how]
    return children

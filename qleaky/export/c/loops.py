"""Nested loops over a sample, in which every array has strides of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from qleaky.export.c.text import loop, place

Strides = tuple[int, ...]


def strides_of(shape: Sequence[int], target: Sequence[int] | None = None) -> Strides:
    """How far apart the elements along each axis lie in C order; 0 along axes that broadcast to ``target``.

    >>> strides_of((2, 3, 4)), strides_of((3, 1), (2, 3, 4))
    ((12, 4, 1), (0, 1, 0))
    """
    found, step = [], 1
    for size in reversed(shape):
        found.append(0 if size == 1 and target is not None else step)
        step *= size
    lead = 0 if target is None else len(target) - len(shape)
    return (0,) * lead + tuple(reversed(found))


def over_elements(
    shape: Sequence[int], arrays: Sequence[Strides], body: Callable[..., list[str]], *, starts: Sequence[int] | None = None
) -> list[str]:
    """``body`` of the indices of one element in every array, for all elements of ``shape``.

    Axes along which no array jumps become one loop.
    """
    sizes, strides = _merged(shape, arrays)
    names = ["k"] if len(sizes) == 1 else [f"i{axis}" for axis in range(len(sizes))]
    starts = starts or [0] * len(arrays)
    indices = [place(zip(names, own, strict=True), start) for own, start in zip(strides, starts, strict=True)]
    lines = body(*indices)
    for name, size in reversed(list(zip(names, sizes, strict=True))):
        lines = loop(name, size, lines)
    return lines


def _merged(shape: Sequence[int], arrays: Sequence[Strides]) -> tuple[list[int], list[list[int]]]:
    """The shape and strides without axes of one element, and with axes joined that every array goes through in one stride."""
    axes = [(size, [own[axis] for own in arrays]) for axis, size in enumerate(shape) if size > 1]
    if not axes:
        return [1], [[0] for _ in arrays]
    joined = [axes[0]]
    for (_, _), (size, steps) in pairwise(axes):
        outer_size, outer = joined[-1]
        if all(before == step * size for before, step in zip(outer, steps, strict=True)):
            joined[-1] = (outer_size * size, steps)
        else:
            joined.append((size, steps))
    return [size for size, _ in joined], [[steps[i] for _, steps in joined] for i in range(len(arrays))]

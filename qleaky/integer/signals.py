"""What travels between layers: bounded integers on one power-of-two grid, with a worst-case interval for every element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError

IntArray = NDArray[Any]
INT64_SAFE = 1 << 62
MAX_ELEMENTS = 1 << 25
MAX_GRID_BITS = 256
_BLOCK = 1 << 17


@dataclass(frozen=True, eq=False)
class Signal:
    """Integers x of a per-sample ``shape``, of value x * 2**-frac_bits, with ``lows`` <= x <= ``highs`` in every step.

    ``lows`` and ``highs`` broadcast to ``shape``: one number for all elements, one per channel, or one per element.
    """

    shape: tuple[int, ...]
    frac_bits: int
    lows: IntArray
    highs: IntArray

    def __post_init__(self) -> None:
        check_size(self.shape)
        for name in ("lows", "highs"):
            object.__setattr__(self, name, as_integers(getattr(self, name)))

    @property
    def low(self) -> int:
        """The smallest integer of all elements."""
        return int(self.lows.min())

    @property
    def high(self) -> int:
        """The largest integer of all elements."""
        return int(self.highs.max())

    @property
    def magnitude(self) -> int:
        """The largest absolute integer."""
        return max(abs(self.low), abs(self.high))

    def full(self) -> tuple[IntArray, IntArray]:
        """The intervals of every element, each of the signal's shape."""
        return np.broadcast_to(self.lows, self.shape), np.broadcast_to(self.highs, self.shape)

    def per_channel(self) -> tuple[IntArray, IntArray]:
        """The widest interval of every channel (axis 0), each of shape (C, 1, ...)."""
        lows, highs = self.full()
        axes = tuple(range(1, len(self.shape)))
        return lows.min(axis=axes, keepdims=True), highs.max(axis=axes, keepdims=True)


def printed(number: int) -> str:
    """A number for a message; a power of two near it where nobody would read its digits."""
    return str(number) if number.bit_length() <= 256 else f"about 2**{number.bit_length()}"


def check_size(shape: tuple[int, ...]) -> None:
    """Refuse samples that no memory would hold."""
    if (size := math.prod(shape)) > MAX_ELEMENTS:
        raise InputError(f"A sample of shape {shape} has {printed(size)} elements, more than {MAX_ELEMENTS:,}; use less.")


def check_grid(name: str, **bits: int) -> None:
    """Refuse a grid so fine or coarse that shifting numbers to it takes more than any use of them does."""
    for what, value in bits.items():
        if not -MAX_GRID_BITS <= value <= MAX_GRID_BITS:
            raise InputError(f"layer {name!r}: {what}={value}; a grid has -{MAX_GRID_BITS} to {MAX_GRID_BITS} fractional bits.")


def as_integers(values: Any) -> IntArray:
    """Integers as int64 where all of them are far from its limits, else as unbounded Python integers."""
    array = np.asarray(values)
    if array.dtype != object and array.dtype.itemsize < 8:
        return array.astype(np.int64)
    if array.size == 0 or max(abs(int(array.min())), abs(int(array.max()))) < INT64_SAFE:
        return array.astype(np.int64)
    return array.astype(object)


def shifted(values: IntArray, bits: int) -> IntArray:
    """values * 2**bits, exactly."""
    return as_integers(as_integers(values).astype(object) * (1 << bits)) if bits else as_integers(values)


def magnitudes(lows: IntArray, highs: IntArray) -> IntArray:
    """The largest absolute integer of each interval."""
    lows, highs = as_integers(lows), as_integers(highs)
    if object in (lows.dtype, highs.dtype):  # without an axis NumPy gives Python integers, and takes them for int64
        return as_integers(np.maximum(*(np.asarray(np.abs(ends), object) for ends in (lows, highs))))
    return np.maximum(np.abs(lows), np.abs(highs))


def absolute_sums(weight: IntArray) -> IntArray:
    """sum|w| of every output channel (axis 0), exactly."""
    return magnitude_product(weight.reshape(weight.shape[0], -1), np.ones(1, np.int64))


def split_signs(weight: IntArray) -> tuple[IntArray, IntArray]:
    """Per output channel (axis 0) the sums of the positive weights and of the absolute negative ones."""
    low, high = interval_product(weight.reshape(weight.shape[0], -1), np.array([0]), np.array([1]))
    return high, -low


def interval_product(weight: IntArray, lows: IntArray, highs: IntArray) -> tuple[IntArray, IntArray]:
    """The interval of W x for x in [lows, highs]: ``weight`` (out, in), bounds broadcastable to (..., in) -> (..., out).

    ::

        2 * low  = W (lows + highs) - |W| (highs - lows)
        2 * high = W (lows + highs) + |W| (highs - lows)

    The worst case of an output drives its positive weights with one end and its negative weights with the other.
    """
    lows, highs = (_wide(bound, weight.shape[1]) for bound in (lows, highs))
    centres, spans = _products(weight, lows + highs, highs - lows)
    return as_integers((centres - spans) // 2), as_integers((centres + spans) // 2)


def magnitude_product(weight: IntArray, magnitude: IntArray) -> IntArray:
    """|W| x: the bound of every partial sum of W x, where ``magnitude`` (..., in) bounds |x|."""
    wide = _wide(magnitude, weight.shape[1])
    return as_integers(_products(weight, None, wide)[1])


def _wide(bound: IntArray, width: int) -> IntArray:
    bound = as_integers(bound)
    return np.broadcast_to(bound, (*bound.shape[:-1], width))


def _products(weight: IntArray, signed: IntArray | None, unsigned: IntArray) -> tuple[IntArray, IntArray]:
    """W ``signed`` and |W| ``unsigned``, exactly, in blocks of rows that stay in the cache."""
    kind = _carrier(weight, *([] if signed is None else [signed]), unsigned)
    rows = max(1, _BLOCK // weight.shape[1])
    first = unsigned if signed is None else signed
    first, second = first.astype(kind), unsigned.astype(kind)
    left, right = (np.empty((*unsigned.shape[:-1], weight.shape[0]), kind) for _ in range(2))
    for start in range(0, weight.shape[0], rows):
        block = weight[start : start + rows].astype(kind)
        if signed is not None:
            left[..., start : start + rows] = first @ block.T
        right[..., start : start + rows] = second @ np.abs(block, out=block).T
    exact: Any = object if kind is object else np.int64
    return left.astype(exact) if signed is not None else right.astype(exact), right.astype(exact)


def _carrier(weight: IntArray, *others: IntArray) -> Any:
    """The fastest type in which the product is exact: floats (BLAS) while every sum is an integer that they hold."""
    largest = max(abs(int(weight.min())), abs(int(weight.max())), 1) * weight.shape[1]
    reach = max(1, *(abs(int(end)) for other in others for end in (other.min(), other.max())))
    sizes = ((24, np.float32), (53, np.float64), (62, np.int64))
    return next((kind for bits, kind in sizes if largest * reach < 1 << bits), object)

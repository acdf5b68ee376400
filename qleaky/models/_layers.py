"""From a list such as ["16C5", "AP2", 10] to layers with all their sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qleaky.errors import InputError

WORDS = 'a layer is a number of neurons, "16C5" (16 channels, kernel 5), "AP2" or "MP2" (pools)'


@dataclass(frozen=True)
class Dense:
    """A dense layer; ``flatten`` where what comes in has more than one dimension."""

    inputs: int
    outputs: int
    flatten: bool


@dataclass(frozen=True)
class Conv:
    """A convolution in ``dimensions`` dimensions, stride 1, without padding."""

    inputs: int
    outputs: int
    kernel: int
    dimensions: int


@dataclass(frozen=True)
class Pool:
    """A pool, "A" average or "M" maximum, whose windows do not overlap."""

    kind: str
    window: int
    dimensions: int


def plan(layers: Sequence[int | str], input_shape: Sequence[int] | None) -> tuple[tuple[int, ...], list[Dense | Conv | Pool]]:
    """The input's shape, and the layers with their sizes.

    Raises:
        InputError: a word that is no layer, sizes that do not fit, a convolution or pool behind a dense layer, or no dense
            layer at the end.
    """
    rest = list(layers)
    if input_shape is None:
        if len(rest) < 2 or not _whole(rest[0]):
            raise InputError(
                f"layers={rest}: without an input shape the first one is the size of the input; pass the sizes, such as "
                f"[64, 64, 10], or the input's shape."
            )
        input_shape = (int(rest.pop(0)),)
    shape = tuple(int(size) for size in input_shape)
    if not 1 <= len(shape) <= 3 or not all(_whole(size) for size in input_shape):
        raise InputError(f"input shape {list(input_shape)}: it is (N,), (C, L) or (C, H, W), of whole numbers from 1.")
    if not rest or not _whole(rest[-1]):
        raise InputError(f"layers={rest}: the last one is dense, with a neuron for each class.")
    whole, planned = shape, []
    for layer in rest:
        parsed, shape = _next(layer, shape, f"layer {layer!r} of {list(layers)}")
        planned.append(parsed)
    return whole, planned


def _next(layer: int | str, shape: tuple[int, ...], where: str) -> tuple[Dense | Conv | Pool, tuple[int, ...]]:
    """One layer, and the shape that comes out of it."""
    if _whole(layer):
        return Dense(math.prod(shape), int(layer), len(shape) > 1), (int(layer),)
    convolution, pool = (re.fullmatch(form, str(layer)) for form in (r"([1-9]\d*)C([1-9]\d*)", r"([AM])P([1-9]\d*)"))
    if convolution is None and pool is None:
        raise InputError(f"{where}: {WORDS}.")
    channels, *sizes = shape
    if not sizes:
        raise InputError(f"{where}: it needs (C, L) or (C, H, W), but gets {shape}. Put it before the dense layers.")
    if convolution is not None:
        outputs, kernel = (int(number) for number in convolution.groups())
        if min(sizes) < kernel:
            raise InputError(
                f"{where}: its kernel {kernel} is larger than what it gets, {shape}. Take a smaller one, or fewer pools."
            )
        return Conv(channels, outputs, kernel, len(sizes)), (outputs, *(size - kernel + 1 for size in sizes))
    assert pool is not None
    kind, window = pool[1], int(pool[2])
    if any(size % window for size in sizes):
        raise InputError(
            f"{where}: windows of {window} do not divide what it gets, {shape}, without a rest. Take another window."
        )
    return Pool(kind, window, len(sizes)), (channels, *(size // window for size in sizes))


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 1

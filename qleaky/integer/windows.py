"""Sliding windows: the geometry that convolutions and pools share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qleaky.errors import InputError
from qleaky.integer.signals import MAX_ELEMENTS, IntArray

Pads = tuple[tuple[int, int], ...]


class Window(NamedTuple):
    """Kernel, stride, padding (before, after) and dilation, one number or pair for each spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]


def check_rank(name: str, window: Window, shape: tuple[int, ...]) -> None:
    """Refuse a window whose axes are not those of a sample (C, L) or (C, H, W), or whose numbers make no sense."""
    axes = len(window.kernel)
    if len(shape) != axes + 1 or axes not in (1, 2):
        wanted = "(C, L)" if axes == 1 else "(C, H, W)"
        raise InputError(
            f"layer {name!r}: a window with {axes} axes cannot slide over a sample of shape {shape}; pass {wanted}."
        )
    sizes = [*window.kernel, *window.stride, *window.dilation]
    if any(len(part) != axes for part in window) or min(sizes) < 1 or any(p < 0 for pair in window.pads for p in pair):
        raise InputError(
            f"layer {name!r}: kernel {window.kernel}, stride {window.stride}, padding {window.pads}, dilation "
            f"{window.dilation}; give one number of at least 1 (padding: at least 0) for each of {axes} axes."
        )


def window_output(name: str, window: Window, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """floor((in + before + after - dilation * (kernel - 1) - 1) / stride) + 1 for each spatial axis."""
    lengths = []
    for size, kernel, stride, (before, after), dilation in zip(sizes, *window, strict=True):
        room = size + before + after - dilation * (kernel - 1) - 1
        if room < 0:
            raise InputError(
                f"layer {name!r}: a kernel of {window.kernel} does not fit into {sizes} with padding {window.pads}."
            )
        if size + before + after > MAX_ELEMENTS:
            raise InputError(
                f"layer {name!r}: padding {window.pads} makes an axis longer than {MAX_ELEMENTS:,}; use less of it."
            )
        lengths.append(room // stride + 1)
    return tuple(lengths)


def meets_input(window: Window, sizes: tuple[int, ...]) -> bool:
    """Whether every window has a tap inside the input, and not padding alone."""
    for size, kernel, stride, (before, after), dilation in zip(sizes, *window, strict=True):
        starts = np.arange(0, size + before + after - dilation * (kernel - 1), stride) - before
        first = np.maximum(-(starts // dilation), 0)  # the first tap that is not before the input
        if not ((first < kernel) & (starts + first * dilation < size)).all():
            return False
    return True


def padded_to_zero(window: Window, lows: IntArray, highs: IntArray) -> tuple[IntArray, IntArray]:
    """Intervals that include the zeros which padding adds."""
    if not any(p for pair in window.pads for p in pair):
        return lows, highs
    return np.minimum(lows, 0), np.maximum(highs, 0)

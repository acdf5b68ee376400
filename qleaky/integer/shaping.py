"""Layers without weights: pools, sums, joins, changes of shape, and the delay that closes a recurrent loop."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from qleaky.errors import InputError
from qleaky.integer.signals import Signal, check_grid, printed, shifted
from qleaky.integer.windows import Pads, Window, check_rank, meets_input, padded_to_zero, window_output


class _OneInput(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    input: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one layer that feeds it."""
        return (self.input,)


class AveragePool(_OneInput, frozen=True, kw_only=True, tag="average_pool"):
    """The sum over each window, divided by ``divisor``: exact where that is a power of two, which only moves the grid.

    Shapes: x (C, L) or (C, H, W); zeros are padded and counted.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: Pads
    divisor: int

    @property
    def window(self) -> Window:
        """Kernel, stride and padding."""
        return Window(self.kernel, self.stride, self.pads, (1,) * len(self.kernel))

    @property
    def divisor_bits(self) -> int | None:
        """log2 of the divisor, or None where it is no power of two."""
        return self.divisor.bit_length() - 1 if self.divisor > 0 and self.divisor.bit_count() == 1 else None

    def output(self, x: Signal) -> Signal:
        """Shape, grid (finer by the divisor) and range of the sums."""
        check_rank(self.name, self.window, x.shape)
        if self.divisor_bits is None:
            raise InputError(f"layer {self.name!r}: divisor {self.divisor} is no power of two, so averages leave the grid.")
        check_grid(self.name, divisor_bits=self.divisor_bits)
        lows, highs = padded_to_zero(self.window, *x.per_channel())
        shape = (x.shape[0], *window_output(self.name, self.window, x.shape[1:]))
        taps = math.prod(self.kernel)
        return Signal(shape, x.frac_bits + self.divisor_bits, lows.astype(object) * taps, highs.astype(object) * taps)


class MaxPool(_OneInput, frozen=True, kw_only=True, tag="max_pool"):
    """The largest integer of each window; padding is never the largest."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]

    @property
    def window(self) -> Window:
        """Kernel, stride, padding and dilation."""
        return Window(self.kernel, self.stride, self.pads, self.dilation)

    def output(self, x: Signal) -> Signal:
        """Shape and range; the grid stays."""
        check_rank(self.name, self.window, x.shape)
        shape = (x.shape[0], *window_output(self.name, self.window, x.shape[1:]))
        if not meets_input(self.window, x.shape[1:]):
            raise InputError(f"layer {self.name!r}: padding {self.pads} makes windows without an input; use less of it.")
        return Signal(shape, x.frac_bits, *x.per_channel())


class Reshape(_OneInput, frozen=True, kw_only=True, tag="reshape"):
    """The same integers in the same order as a sample of another ``shape``."""

    shape: tuple[int, ...]

    def output(self, x: Signal) -> Signal:
        """The new shape; grid and ranges stay."""
        if math.prod(self.shape) != math.prod(x.shape) or min(self.shape, default=1) < 1:
            raise InputError(f"layer {self.name!r}: a sample of shape {x.shape} cannot be reshaped to {self.shape}.")
        lows, highs = (bound.reshape(self.shape) for bound in x.full())
        return Signal(self.shape, x.frac_bits, lows, highs)


class Transpose(_OneInput, frozen=True, kw_only=True, tag="transpose"):
    """Axes of a sample in another order: axis i of the result is axis ``axes[i]`` of the input."""

    axes: tuple[int, ...]

    def output(self, x: Signal) -> Signal:
        """The new shape; grid and ranges stay."""
        if sorted(self.axes) != list(range(len(x.shape))):
            raise InputError(f"layer {self.name!r}: axes {self.axes} are no order of the axes of a sample of shape {x.shape}.")
        lows, highs = (bound.transpose(self.axes) for bound in x.full())
        return Signal(lows.shape, x.frac_bits, lows, highs)


class Add(msgspec.Struct, frozen=True, kw_only=True, tag="add"):
    """The sum of several signals, each on its own grid and with its own sign, on the finest of their grids.

    Samples broadcast against each other.
    """

    name: str
    inputs: tuple[str, ...]
    signs: tuple[int, ...]

    def output(self, *signals: Signal) -> Signal:
        """Shape, the finest grid, and the sum of the ranges."""
        if len(signals) != len(self.signs) or not signals or any(sign not in (1, -1) for sign in self.signs):
            raise InputError(f"layer {self.name!r}: {len(signals)} inputs with signs {self.signs}; give 1 or -1 for each.")
        try:
            shape = np.broadcast_shapes(*(s.shape for s in signals))
        except ValueError:
            shapes = ", ".join(str(s.shape) for s in signals)
            raise InputError(f"layer {self.name!r}: samples of shapes {shapes} cannot be added.") from None
        low, high = np.zeros((), object), np.zeros((), object)
        for sign, x, shift in zip(self.signs, signals, self.shifts(*signals), strict=True):
            ends = [shifted(bound, shift).astype(object) * sign for bound in (x.lows, x.highs)]
            low, high = low + ends[sign < 0], high + ends[sign > 0]
        return Signal(shape, max(s.frac_bits for s in signals), low, high)

    def shifts(self, *signals: Signal) -> tuple[int, ...]:
        """How many bits each input moves up to the finest grid."""
        finest = max(s.frac_bits for s in signals)
        return tuple(finest - s.frac_bits for s in signals)


class Concat(msgspec.Struct, frozen=True, kw_only=True, tag="concat"):
    """Several signals one behind the other along ``axis`` of a sample, on the finest of their grids."""

    name: str
    inputs: tuple[str, ...]
    axis: int

    def output(self, *signals: Signal) -> Signal:
        """Shape, the finest grid, and each input's own range."""
        try:
            ends = [
                np.concatenate(
                    [shifted(s.full()[i], shift) for s, shift in zip(signals, self.shifts(*signals), strict=True)], self.axis
                )
                for i in (0, 1)
            ]
        except ValueError:
            shapes = ", ".join(str(s.shape) for s in signals)
            raise InputError(
                f"layer {self.name!r}: samples of shapes {shapes} cannot be joined along axis {self.axis}."
            ) from None
        return Signal(ends[0].shape, max(s.frac_bits for s in signals), *ends)

    def shifts(self, *signals: Signal) -> tuple[int, ...]:
        """How many bits each input moves up to the finest grid."""
        finest = max(s.frac_bits for s in signals)
        return tuple(finest - s.frac_bits for s in signals)


class Delay(_OneInput, frozen=True, kw_only=True, tag="delay"):
    """What ``input`` emitted one step before, and zero in the first step; ``input`` may be a later layer.

    Since a loop has no first layer, the signal is declared: ``shape``, ``frac_bits``, and the range ``low`` to ``high``, which
    must hold what the source emits, and zero.
    """

    shape: tuple[int, ...]
    frac_bits: int
    low: int
    high: int

    def output(self) -> Signal:
        """The declared signal."""
        check_grid(self.name, frac_bits=self.frac_bits)
        if min(self.shape, default=1) < 1:
            raise InputError(f"layer {self.name!r}: shape {self.shape}; every axis of a sample has at least one element.")
        if not self.low <= 0 <= self.high:
            raise InputError(f"layer {self.name!r}: the range {self.low} to {self.high} lacks the zero it begins with.")
        return Signal(self.shape, self.frac_bits, np.array(self.low), np.array(self.high))

    def check_source(self, source: Signal) -> None:
        """Refuse a source that emits something else than was declared."""
        same = (source.shape, source.frac_bits) == (self.shape, self.frac_bits)
        if not same or source.low < self.low or source.high > self.high:
            raise InputError(
                f"layer {self.name!r}: it declares shape {self.shape}, {self.frac_bits} fractional bits and {self.low} to "
                f"{self.high}, but {self.input!r} emits {source.shape}, {source.frac_bits} and "
                f"{printed(source.low)} to {printed(source.high)}."
            )

"""Layers with weights: linear maps, convolutions, and elementwise affine maps, every number an integer code."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from qleaky.errors import InputError
from qleaky.integer.signals import IntArray, Signal, as_integers, check_grid, interval_product, shifted
from qleaky.integer.windows import Pads, Window, check_rank, padded_to_zero, window_output


class Linear(msgspec.Struct, frozen=True, kw_only=True, tag="linear", eq=False):
    """I = W x + b on integers.

    Shapes: x (..., in), ``weight`` (out, in), ``bias`` (out,) or None; the result (..., out) has
    frac_bits = weight_frac_bits + that of x, and so has the bias. ``accumulator_bits`` declares the width of the signed
    register that sums; None takes what the bounds ask for.
    """

    name: str
    input: str
    weight: IntArray
    bias: IntArray | None = None
    weight_frac_bits: int
    accumulator_bits: int | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one layer that feeds it."""
        return (self.input,)

    def output(self, x: Signal) -> Signal:
        """Shape, grid and range of the result, from the worst case of every output channel."""
        check_codes(self.name, weight=self.weight, bias=self.bias)
        check_grid(self.name, weight_frac_bits=self.weight_frac_bits)
        if not x.shape or self.weight.ndim != 2 or x.shape[-1] != self.weight.shape[1]:
            raise InputError(
                f"layer {self.name!r}: weight of shape {self.weight.shape} cannot take an input of shape {x.shape}; "
                f"the weight is (out, in) and the input ends in `in`."
            )
        check_bias(self.name, self.bias, self.weight.shape[0])
        lows, highs = x.full()
        low, high = interval_product(self.weight, lows, highs)
        bias = 0 if self.bias is None else as_integers(self.bias)
        shape = (*x.shape[:-1], self.weight.shape[0])
        return Signal(shape, x.frac_bits + self.weight_frac_bits, low + bias, high + bias)


class Conv(msgspec.Struct, frozen=True, kw_only=True, tag="conv", eq=False):
    """Cross-correlation in one or two dimensions, as torch's Conv1d and Conv2d, on integers.

    Shapes: x (C, L) or (C, H, W), ``weight`` (out, C / groups, *kernel), ``bias`` (out,) or None. ``pads`` are the zeros
    before and after each spatial axis; out = floor((in + before + after - dilation * (kernel - 1) - 1) / stride) + 1.
    """

    name: str
    input: str
    weight: IntArray
    bias: IntArray | None = None
    weight_frac_bits: int
    stride: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]
    groups: int = 1
    accumulator_bits: int | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one layer that feeds it."""
        return (self.input,)

    @property
    def window(self) -> Window:
        """Kernel, stride, padding and dilation."""
        return Window(self.weight.shape[2:], self.stride, self.pads, self.dilation)

    def output(self, x: Signal) -> Signal:
        """Shape, grid and range of the result, from the worst case of every output channel; padding adds zeros."""
        check_codes(self.name, weight=self.weight, bias=self.bias)
        check_grid(self.name, weight_frac_bits=self.weight_frac_bits)
        check_rank(self.name, self.window, x.shape)
        out, per_group = self.weight.shape[:2]
        if self.groups < 1 or out % self.groups or per_group * self.groups != x.shape[0]:
            raise InputError(
                f"layer {self.name!r}: weight of shape {self.weight.shape} with {self.groups} groups cannot take "
                f"{x.shape[0]} channels; it takes {per_group} per group."
            )
        check_bias(self.name, self.bias, out)
        low, high = self.channel_bounds(x)
        bias = np.zeros(out, np.int64) if self.bias is None else as_integers(self.bias)
        shape = (out, *window_output(self.name, self.window, x.shape[1:]))
        columns = (out, *(1 for _ in shape[1:]))
        frac_bits = x.frac_bits + self.weight_frac_bits
        return Signal(shape, frac_bits, (low + bias).reshape(columns), (high + bias).reshape(columns))

    def channel_bounds(self, x: Signal) -> tuple[IntArray, IntArray]:
        """The interval of every output channel (out,), without the bias."""
        lows, highs = padded_to_zero(self.window, *x.per_channel())
        taps = math.prod(self.weight.shape[2:])
        per_group, rows = self.weight.shape[1], self.weight.shape[0] // self.groups
        parts = []
        for group in range(self.groups):
            channels = slice(group * per_group, (group + 1) * per_group)
            weight = self.weight[group * rows : (group + 1) * rows].reshape(rows, -1)
            ends = (np.repeat(bound[channels].reshape(-1), taps) for bound in (lows, highs))
            parts.append(interval_product(weight, *ends))
        low, high = (as_integers(np.concatenate([part[i] for part in parts])) for i in (0, 1))
        return low, high


class Affine(msgspec.Struct, frozen=True, kw_only=True, tag="affine", eq=False):
    """y = scale * x + bias, element by element, on integers.

    ``scale`` and ``bias`` broadcast to one sample; None is 1, or 0. The result has frac_bits = scale_frac_bits + that of x,
    and so has the bias.
    """

    name: str
    input: str
    scale: IntArray | None = None
    bias: IntArray | None = None
    scale_frac_bits: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one layer that feeds it."""
        return (self.input,)

    def output(self, x: Signal) -> Signal:
        """Shape, grid and range of the result."""
        check_codes(self.name, scale=self.scale, bias=self.bias)
        check_grid(self.name, scale_frac_bits=self.scale_frac_bits)
        if self.scale is None and self.scale_frac_bits < 0:
            raise InputError(
                f"layer {self.name!r}: scale_frac_bits={self.scale_frac_bits} without a scale; a scale of 1 has no code on a "
                f"grid coarser than that. Pass 0 or more."
            )
        for what, codes in (("scale", self.scale), ("bias", self.bias)):
            if codes is not None and not fits(codes.shape, x.shape):
                raise InputError(
                    f"layer {self.name!r}: {what} of shape {codes.shape} does not fit a sample of shape {x.shape}."
                )
        scale = as_integers(1 if self.scale is None else self.scale).astype(object)
        bias = as_integers(0 if self.bias is None else self.bias).astype(object)
        if self.scale is None:
            scale = shifted(np.array(1), self.scale_frac_bits).astype(object)
        ends = [np.asarray(scale * bound.astype(object) + bias, object) for bound in (x.lows, x.highs)]
        low, high = np.minimum(*ends), np.maximum(*ends)
        return Signal(x.shape, x.frac_bits + self.scale_frac_bits, as_integers(low), as_integers(high))


def check_codes(name: str, **arrays: IntArray | None) -> None:
    """Refuse numbers that are no integer codes."""
    for what, codes in arrays.items():
        if codes is not None and (codes.dtype.kind not in "iu" or codes.size == 0):
            raise InputError(f"layer {name!r}: {what} must be a non-empty array of integer codes.")


def check_bias(name: str, bias: IntArray | None, channels: int) -> None:
    """Refuse a bias that is not one number per output channel."""
    if bias is not None and bias.shape != (channels,):
        raise InputError(f"layer {name!r}: bias of shape {bias.shape}, expected ({channels},).")


def fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether ``shape`` broadcasts to ``target``."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(mine in (1, theirs) for mine, theirs in pairs)

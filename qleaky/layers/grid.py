"""The grid of a layer's weights and biases: numbers on it, for given exponents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qleaky.layers.accumulator import Accumulator, within
from qleaky.layers.codes import CODE_BITS, Codes
from qleaky.layers.exponents import power_of_two, round_to_codes

FLOAT32_EXACT = 1 << 24


@dataclass(frozen=True)
class Grid:
    """W = codes * 2**e per tensor or output channel, b on the grid of the sum, for inputs of ``input_frac_bits``.

    ``fan_in`` is the number of weights of one output. Exponents are int32, of shape () or (out,); weights come as rows, one
    for each output.
    """

    codes: Codes
    fan_in: int
    input_frac_bits: int
    accumulator: Accumulator | None

    @property
    def spread(self) -> int:
        """By how much the exponents of channels may differ.

        On the grid of the finest channel, which a contract has for all, codes then fit 8 bits, those of 8-bit weights 16; and
        an accumulator, which counts on that grid too, holds a weight of the coarsest channel.
        """
        widest = self.codes.room or CODE_BITS
        if self.accumulator is None:
            return widest
        return min(widest, (self.accumulator.limit // self._least(self.accumulator)).bit_length() - 1)

    def _least(self, accumulator: Accumulator) -> int:
        """What the accumulator must hold in any case: one weight, or all of them where none can be 0."""
        return self.codes.largest * accumulator.reach * (1 if self.codes.has_zero else self.fan_in)

    def limited(self, exponent: Tensor) -> Tensor:
        """Exponents of which none is finer than the coarsest allows."""
        return torch.maximum(exponent, exponent.amax() - self.spread)

    def weight(self, rows: Tensor, exponent: Tensor, bias: Tensor | None) -> Tensor:
        """Rows of weights on the grid, so that they and ``bias``, which is on it, keep within the accumulator."""
        step = power_of_two(exponent).reshape(-1, 1).to(rows.dtype)
        codes = round_to_codes(rows, step, self.codes)
        if self.accumulator is not None and self.codes.has_zero:
            clipped = (rows / step).clamp(self.codes.lowest, self.codes.highest)
            codes = within(clipped, codes, self._room(self.accumulator, exponent, bias).expand(rows.shape[0]))
        return codes.mul_(step)

    def _room(self, accumulator: Accumulator, exponent: Tensor, bias: Tensor | None) -> Tensor:
        """The largest sum|code| of every channel."""
        taken = 0 if bias is None else (bias.abs() / self.bias_step(exponent)).to(torch.int64)
        return torch.as_tensor((accumulator.limit - taken) // accumulator.reach) >> (exponent - exponent.amin())

    def bias_step(self, exponent: Tensor) -> Tensor:
        """The step of b: as fine as codes of 8 bits allow; with an accumulator that of the finest channel's products."""
        finest = exponent.amax() - self.codes.room if self.accumulator is None else exponent.amin()
        return power_of_two(finest - self.input_frac_bits)

    def bias(self, bias: Tensor, exponent: Tensor) -> Tensor:
        """b on the grid of the sum; with an accumulator it takes half of it at most, or what binary weights leave."""
        step = self.bias_step(exponent).to(bias.dtype)
        codes = torch.round(bias / step)
        if self.accumulator is not None:
            most = self._largest_bias(self.accumulator, exponent)
            codes = torch.minimum(torch.maximum(codes, -most), most)
        return codes * step

    def _largest_bias(self, accumulator: Accumulator, exponent: Tensor) -> Tensor:
        """In codes, and no more than float32 holds."""
        shifts = exponent - exponent.amin()
        if self.codes.has_zero:
            return torch.full_like(shifts, min(accumulator.limit // 2, FLOAT32_EXACT))
        return (accumulator.limit - (self._least(accumulator) << shifts)).clamp(max=FLOAT32_EXACT)

"""Exact arithmetic in int64 and int32: shifts, and rounding by clearing bits."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from qleaky.export.carriers import Carrier
from qleaky.export.numbers import Num
from qleaky.fixed import QFormat, Rounding


class Integers(Carrier):
    """int64; :class:`Int32` for 32 bits."""

    dtype: ClassVar[Any] = np.int64
    limit = (1 << 63) - 1
    scaled = True

    def aligned(self, a: Num, bits: int) -> Num:
        """Shifted left."""
        if bits <= a.bits:
            return a
        return self.mul(a, self.number(1 << (bits - a.bits), bits - a.bits))

    def divided(self, a: Num, bits: int) -> Num:
        """The same integers in another unit."""
        return Num(a.name, a.low, a.high, a.bits + bits)

    def _round(self, a: Num, rounding: Rounding) -> str:
        op, bits = self.graph.op, a.bits
        if rounding is Rounding.TOWARD_ZERO:
            return op("Div", a.name, self.number(1 << bits).name)
        value = a.name
        if rounding is Rounding.HALF_EVEN:
            odd = op("BitwiseAnd", self._floor(value, bits), self.number(1).name)
            most = (1 << (bits - 1)) - 1
            self.num("", a.low, a.high + most + 1, bits)
            value = op("Add", op("Add", value, self.number(most).name), odd)
        return self._floor(value, bits)

    def _floor(self, value: str, bits: int) -> str:
        """Clearing the low bits first makes Div, which truncates, exact (BitShift lacks signed types below opset 28)."""
        cleared = self.graph.op("BitwiseAnd", value, self.number(-(1 << bits)).name)
        return self.graph.op("Div", cleared, self.number(1 << bits).name)

    def _wrapped(self, a: Num, fmt: QFormat, name: str | None) -> str:
        op, offset = self.graph.op, self.number(-fmt.lowest)
        self.num("", a.low - fmt.lowest, a.high - fmt.lowest)
        value = op("Add", a.name, offset.name) if fmt.lowest else a.name
        last = {} if fmt.lowest else {"name": name}
        value = op("BitwiseAnd", value, self.number((1 << fmt.bits) - 1).name, **last)
        return op("Sub", value, offset.name, name=name) if fmt.lowest else value


class Int32(Integers):
    """int32."""

    dtype: ClassVar[Any] = np.int32
    limit = (1 << 31) - 1

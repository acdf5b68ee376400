"""Exact arithmetic on integers and binary fractions in float32."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from qleaky.export.carriers import Carrier
from qleaky.export.numbers import Num, TooWide, exact
from qleaky.export.wires import Wire, stored_range
from qleaky.fixed import QFormat, Rounding

QUANTIZED = tuple(np.dtype(t) for t in (np.int8, np.uint8, np.int16, np.uint16, np.int32))


class Float32(Carrier):
    """Integers and their binary fractions in float32, exact up to 2**24 units."""

    dtype: ClassVar[Any] = np.float32
    limit = 1 << 24
    scaled = False
    dequantizes: ClassVar[bool] = True

    def _raw(self, wire: Wire, bits: int, added_to: bool) -> Num:
        """Cast, or scaled by DequantizeLinear, which is one node less; what float32 does not hold is at least 2**24.

        Not before a Reshape: ONNX Runtime 1.32 would move the DequantizeLinear behind it, to a QuantizeLinear that it lacks.
        """
        low, high = stored_range(wire)
        scale = self.graph.constant(2.0 ** (wire.exponent - bits), self.dtype)
        if self.dequantizes and wire.dtype in QUANTIZED and bits and added_to:
            value = self.graph.op("DequantizeLinear", wire.name, scale)
        else:
            value = wire.name if wire.dtype == self.dtype else self.graph.cast(wire.name, self.dtype)
            value = self.graph.op("Mul", value, scale) if bits != wire.exponent else value
        return self.num(value, low, high, bits, None if max(-low, high) <= self.limit else self.limit)

    def aligned(self, a: Num, bits: int) -> Num:
        """The same value, still exact: floats need no shift."""
        if bits <= a.bits:
            return a
        shift = bits - a.bits
        return Num(a.name, a.low << shift, a.high << shift, bits, None if a.solid is None else a.solid << shift)

    def _solid(self, a: Num, added: Num, magnitude: int) -> int | None:
        solid = [] if a.solid is None else [a.solid - added.magnitude]
        return min([*solid, self.limit]) if solid or magnitude > self.limit else None

    def _op(self, kind: str, a: Num, b: Num, low: int, high: int, bits: int, name: str | None = None) -> Num:
        """A sum beyond 2**24 is solid up to there, or as far as a solid term and the largest other one allow."""
        solid = [x.solid - y.magnitude for x, y in ((a, b), (b, a)) if x.solid is not None]
        if kind == "Mul" or (not solid and max(-low, high) <= self.limit):
            return super()._op(kind, a, b, low, high, bits, name)
        if len(solid) == 2 or min([*solid, 1]) < 1:
            raise TooWide
        return self.num(self.graph.op(kind, a.name, b.name, name=name), low, high, bits, min([*solid, self.limit]))

    def divided(self, a: Num, bits: int) -> Num:
        """Multiplied by 2**-bits."""
        exact(a)
        return (
            a if not bits else self.num(self.graph.op("Mul", a.name, self.number(1, bits).name), a.low, a.high, a.bits + bits)
        )

    def _round(self, a: Num, rounding: Rounding) -> str:
        op = self.graph.op
        if rounding is Rounding.TOWARD_ZERO:
            return op("Mul", op("Floor", op("Abs", a.name)), op("Sign", a.name))
        return op("Round" if rounding is Rounding.HALF_EVEN else "Floor", a.name)

    def _floor_quotient(self, value: str, theta: Num) -> str:
        """Exact: a quotient of integers below 2**24 is rounded to an integer only if it is one."""
        return self.graph.op("Floor", super()._floor_quotient(value, theta))

    def _wrapped(self, a: Num, fmt: QFormat, name: str | None) -> str:
        op, span = self.graph.op, 1 << fmt.bits
        turns = op("Floor", op("Mul", self.sub(a, self.number(fmt.lowest)).name, self.number(1, fmt.bits).name))
        self.num("", 0, max(abs(a.low), abs(a.high)) + 2 * span)
        return op("Sub", a.name, op("Mul", turns, self.number(span).name), name=name)


class PlainFloat32(Float32):
    """The same without DequantizeLinear, which some runtimes lack, or fuse into arithmetic of their own."""

    dequantizes = False

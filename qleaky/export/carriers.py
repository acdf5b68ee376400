"""Exact arithmetic on fixed-point numbers in one type of the graph, every result with its worst-case interval.

A number that could leave the integers which its type holds exactly is never emitted: :class:`TooWide` is raised instead, and
the caller takes another type. So the arithmetic of a graph is proved while it is written.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qleaky.export.graph import Graph
from qleaky.export.numbers import Num, TooWide, exact, rounding_range, taken_range
from qleaky.export.wires import Wire, integers, stored_range, wide
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer.layers import Signal
from qleaky.integer.signals import shifted

MAX_EXPONENT = 100  # far inside the exponents of float32


class Carrier:
    """Operators on one type. ``scaled``: whether its tensors hold i itself, or (float32) i * 2**-bits."""

    dtype: ClassVar[Any]
    limit: ClassVar[int]
    scaled: ClassVar[bool]

    def __init__(self, graph: Graph, cache: dict[Any, Any] | None = None) -> None:
        self.graph = graph
        self._cache: dict[Any, Any] = {} if cache is None else cache

    def on(self, graph: Graph) -> Carrier:
        """The same carrier writing into another graph, such as a body."""
        return type(self)(graph, self._cache)

    def num(self, name: str, low: int, high: int, bits: int = 0, solid: int | None = None) -> Num:
        """A number, if this type holds it exactly, or below ``solid``.

        Raises:
            TooWide: it may not.
        """
        if (solid is None and max(-low, high) > self.limit) or abs(bits) > MAX_EXPONENT:
            raise TooWide
        return Num(name, low, high, bits, solid)

    def constant(self, codes: NDArray[Any], bits: int = 0) -> Num:
        """codes * 2**-bits."""
        key = id(codes), bits
        if key not in self._cache:
            values = codes if self.scaled else np.ldexp(codes.astype(np.float64), -bits)
            self._check(codes)
            name = self.graph.constant(values, self.dtype)
            self._cache[key] = codes, values, self.num(name, int(codes.min()), int(codes.max()), bits)
        found: Num = self._cache[key][2]
        return found

    def _check(self, codes: NDArray[Any]) -> None:
        if max(-int(codes.min()), int(codes.max())) > self.limit:
            raise TooWide

    def number(self, code: int, bits: int = 0) -> Num:
        """One number for all elements."""
        key = "number", code, bits
        if key not in self._cache:
            if abs(code) > self.limit:
                raise TooWide
            value = code if self.scaled else code * 2.0**-bits
            self._cache[key] = self.num(self.graph.constant(value, self.dtype), code, code, bits)
        found: Num = self._cache[key]
        return found

    def take(self, wire: Wire, bits: int, unit: int, add: int = 0, clip: tuple[int, int] | None = None) -> Num:
        """A wire's integers i as the number i * 2**-bits + add * 2**-unit, in the finer ``unit``.

        With ``clip`` the integers are brought between two ends first.
        """
        low, high = taken_range(wire.signal, unit - bits, add, clip)
        if clip is not None or not self._folds(wire, unit - bits, add):
            wire = self._plain(wire, clip)
        constant = self._sum(wire.pending, unit - bits, add)
        a = self.aligned(self._raw(wire, bits, constant is not None), unit)
        if constant is None:
            return a
        added = self.constant(constant, unit)
        return self.num(self.graph.op("Add", a.name, added.name), low, high, unit, self._solid(a, added, max(-low, high)))

    def _solid(self, a: Num, added: Num, magnitude: int) -> int | None:
        """Up to where a sum that can reach ``magnitude`` is exact; None: everywhere."""
        return None

    def _folds(self, wire: Wire, shift: int, add: int) -> bool:
        """Whether what is pending may be added last, in one constant with ``add``."""
        if wire.exponent and self.scaled:
            return False
        if wire.pending is None:
            return True
        constant = self._sum(wire.pending, shift, add)
        ends = [end << (shift if self.scaled else 0) for end in stored_range(wire)]
        ends += [] if constant is None else [int(constant.min()), int(constant.max())]
        return max(abs(end) for end in ends) <= self.limit

    def _plain(self, wire: Wire, clip: tuple[int, int] | None) -> Wire:
        """The wire with nothing pending, and clipped."""
        dtype = wide(wire)
        value, signal = integers(self.graph, wire, dtype), wire.signal
        if clip is not None:
            room = np.iinfo(dtype)
            ends = (min(max(end, int(room.min)), int(room.max)) for end in clip)
            value = self.graph.op("Clip", value, *(self.graph.constant(end, dtype) for end in ends))
            signal = Signal(signal.shape, signal.frac_bits, *(np.array(end) for end in taken_range(signal, 0, 0, clip)))
        return Wire(value, dtype, signal)

    def _sum(self, pending: NDArray[Any] | None, shift: int, add: int) -> NDArray[Any] | None:
        key = "sum", id(pending), shift, add
        if key not in self._cache:
            total = shifted(np.zeros((), np.int64) if pending is None else pending, shift).astype(object) + add
            self._cache[key] = pending, shifted(np.asarray(total), 0)
        found: NDArray[Any] = self._cache[key][1]
        return found if found.any() else None

    def _raw(self, wire: Wire, bits: int, added_to: bool) -> Num:
        """What the tensor holds, times 2**-bits; ``added_to``: a constant follows."""
        low, high = stored_range(wire)
        self.num("", low, high, bits)
        return self.num(wire.name if wire.dtype == self.dtype else self.graph.cast(wire.name, self.dtype), low, high, bits)

    def aligned(self, a: Num, bits: int) -> Num:
        """``a`` in a finer unit."""
        raise NotImplementedError

    def add(self, a: Num, b: Num, name: str | None = None) -> Num:
        """a + b."""
        bits = max(a.bits, b.bits)
        a, b = self.aligned(a, bits), self.aligned(b, bits)
        return self._op("Add", a, b, a.low + b.low, a.high + b.high, bits, name)

    def sub(self, a: Num, b: Num, name: str | None = None) -> Num:
        """a - b."""
        bits = max(a.bits, b.bits)
        a, b = self.aligned(a, bits), self.aligned(b, bits)
        return self._op("Sub", a, b, a.low - b.high, a.high - b.low, bits, name)

    def mul(self, a: Num, b: Num) -> Num:
        """a * b."""
        exact(a, b)
        ends = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
        return self._op("Mul", a, b, min(ends), max(ends), a.bits + b.bits)

    def where(self, condition: str, a: Num, b: Num) -> Num:
        """a where the condition holds, else b."""
        exact(a, b)
        bits = max(a.bits, b.bits)
        a, b = self.aligned(a, bits), self.aligned(b, bits)
        name = self.graph.op("Where", condition, a.name, b.name)
        return self.num(name, min(a.low, b.low), max(a.high, b.high), bits)

    def above(self, a: Num, b: Num, *, strict: bool, name: str | None = None) -> str:
        """Whether a > b, or a >= b."""
        exact(a, b)
        bits = max(a.bits, b.bits)
        a, b = self.aligned(a, bits), self.aligned(b, bits)
        return self.graph.op("Greater" if strict else "GreaterOrEqual", a.name, b.name, name=name)

    def sign(self, a: Num) -> Num:
        """-1, 0 or 1."""
        return self.num(self.graph.op("Sign", a.name), -1, 1)

    def is_zero(self, a: Num) -> str:
        """Whether a = 0."""
        return self.graph.op("Equal", a.name, self.number(0).name)

    def divided(self, a: Num, bits: int) -> Num:
        """a / 2**bits, without loss: only the unit changes."""
        raise NotImplementedError

    def rounded(self, a: Num, rounding: Rounding) -> Num:
        """An integer; for HALF_UP the caller has added one half already."""
        if a.bits <= 0:
            return self.aligned(a, 0)
        low, high = (rounding_range(end, a.bits, rounding) for end in (a.low, a.high))
        return self.num(self._round(a, rounding), low, high, 0, None if a.solid is None else (a.solid >> a.bits) - 1)

    def _round(self, a: Num, rounding: Rounding) -> str:
        raise NotImplementedError

    def fit(self, a: Num, fmt: QFormat, overflow: Overflow, name: str | None = None) -> Num:
        """Overflow handling of an integer."""
        if a.solid is not None and (overflow is Overflow.WRAP or a.solid <= max(-fmt.lowest, fmt.highest) + 1):
            raise TooWide
        if overflow is Overflow.WRAP:
            return self.num(self._wrapped(a, fmt, name), fmt.lowest, fmt.highest)
        ends = (self.number(end).name for end in (fmt.lowest, fmt.highest))
        return self.num(self.graph.op("Clip", a.name, *ends, name=name), fmt.lowest, fmt.highest)

    def _wrapped(self, a: Num, fmt: QFormat, name: str | None) -> str:
        raise NotImplementedError

    def quotient(self, a: Num, theta: NDArray[Any], strict: bool, most: int, name: str | None) -> str:
        """How often ``theta`` >= 1 can be taken off an integer that stays above (or at) it, at most so often."""
        least = self.number(1 if strict else 0)
        above = self.graph.op("Max", self.sub(a, least).name if strict else a.name, self.number(0).name)
        count = self._floor_quotient(above, self.constant(theta))
        return self.graph.op("Min", count, self.number(most).name, name=name)

    def _floor_quotient(self, value: str, theta: Num) -> str:
        return self.graph.op("Div", value, theta.name)

    def _op(self, kind: str, a: Num, b: Num, low: int, high: int, bits: int, name: str | None = None) -> Num:
        self.num("", low, high, bits)
        return self.num(self.graph.op(kind, a.name, b.name, name=name), low, high, bits)

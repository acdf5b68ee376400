"""How integers of a signal are stored in C, and the text that reads and writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qleaky.export.c.interface import BITS, SIZES, c_type
from qleaky.export.c.text import literal
from qleaky.fixed import QFormat
from qleaky.integer.layers import Input
from qleaky.integer.signals import Signal

SUFFIXES = {"int8_t": "i8", "uint8_t": "u8", "int16_t": "i16", "uint16_t": "u16", "int32_t": "i32", "uint32_t": "u32"}


@dataclass(frozen=True)
class Array:
    """A C array of a signal of per-sample ``shape``: elements are x + ``offset``, or bits.

    ``low`` and ``high`` bound x.
    """

    ctype: str
    shape: tuple[int, ...]
    low: int
    high: int
    offset: int = 0

    @property
    def bits(self) -> bool:
        """Whether it holds bits in words."""
        return self.ctype == BITS

    @property
    def element(self) -> str:
        """The C type of its elements, or of its words of bits."""
        return "uint32_t" if self.bits else self.ctype

    @property
    def elements(self) -> int:
        """How many integers it holds."""
        return math.prod(self.shape)

    @property
    def length(self) -> int:
        """Length of the C array."""
        return -(-self.elements // 32) if self.bits else self.elements

    def load(self, array: str, index: str) -> str:
        """x[index], an int32_t expression."""
        if self.bits:
            return f"(int32_t)qleaky_bit({array}, {index})"
        element = f"{array}[{index}]" if self.ctype == "int32_t" else f"(int32_t){array}[{index}]"
        if not self.offset:
            return element
        return f"({element} {'-' if self.offset > 0 else '+'} {literal(abs(self.offset))})"

    def store(self, array: str, index: str, value: str) -> str:
        """The statement x[index] = value, an int32_t expression that lies in the range of x."""
        if self.bits:
            return f"qleaky_set_bit({array}, {index}, (uint32_t)({value}));"
        return f"qleaky_put_{SUFFIXES[self.ctype]}({array}, {index}, {value});"


def array_of(signal: Signal) -> Array:
    """Bits where a signal is 0 or 1, else the smallest type."""
    low, high = signal.low, signal.high
    return Array(ctype_of(low, high), signal.shape, low, high)


def ctype_of(low: int, high: int) -> str:
    """Bits for 0 to 1, else the smallest C type."""
    return BITS if low >= 0 and high <= 1 else c_type(low, high)


def input_array(source: Input) -> Array:
    """The codes of an input, as the network encodes them."""
    fmt, signal = source.format, source.signal
    if is_spikes(fmt):
        return Array(BITS, source.shape, 0, 1)
    kind = f"{fmt.dtype.name}_t"
    if kind not in SIZES:
        raise AssertionError(f"{fmt} has codes of type {kind}")
    return Array(kind, source.shape, signal.low, signal.high, fmt.zero_point)


def is_spikes(fmt: QFormat) -> bool:
    """Whether codes are 0 and 1 and stand for themselves, so that bits carry them."""
    return fmt.bits == 1 and not fmt.signed and fmt.zero_point == 0


def row(shape: tuple[int, ...]) -> int:
    """Length of the last axis; 1 of a single number."""
    return shape[-1] if shape else 1

"""Fixed-point formats, rounding and overflow on exact integers.

A *code* is an integer; a :class:`QFormat` says which value it stands for. The scalar functions work on Python
integers and fractions, which cannot overflow: they are the specification. The array functions do the same on int64.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from qleaky.errors import FormatError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.integer[Any]]

MAX_BITS = 32


class Rounding(StrEnum):
    """How a real number x becomes an integer.

    ====================  =============================================
    ``FLOOR``             floor(x)
    ``HALF_UP``           floor(x + 1/2)
    ``HALF_EVEN``         nearest integer, ties to the even one
    ``TOWARD_ZERO``       sign(x) * floor(abs(x))
    ====================  =============================================

    >>> [Rounding.HALF_UP.of(Fraction(k, 2)) for k in (-3, -1, 1, 3)]
    [-1, 0, 1, 2]
    >>> [Rounding.HALF_EVEN.of(Fraction(k, 2)) for k in (-3, -1, 1, 3)]
    [-2, 0, 0, 2]
    """

    FLOOR = "floor"
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    TOWARD_ZERO = "toward_zero"

    def of(self, x: Fraction) -> int:
        """Round one exact number: the specification every other implementation is tested against."""
        match self:
            case Rounding.FLOOR:
                return math.floor(x)
            case Rounding.HALF_UP:
                return math.floor(x + Fraction(1, 2))
            case Rounding.HALF_EVEN:
                return round(x)
            case Rounding.TOWARD_ZERO:
                return math.trunc(x)


class Overflow(StrEnum):
    """What happens to a code outside its format's range.

    ``SATURATE`` clamps to the nearest end, ``WRAP`` keeps the low bits (two's complement), and ``PROVED_NONE``
    states that a static bound shows it cannot happen: a code outside the range is then an error.
    """

    SATURATE = "saturate"
    WRAP = "wrap"
    PROVED_NONE = "proved_none"


@dataclass(frozen=True)
class QFormat:
    """A fixed-point format: value = (code - zero_point) * 2**-frac_bits.

    Signed codes run from -2**(bits-1) to 2**(bits-1) - 1 (``narrow`` drops the lowest), unsigned ones from 0 to
    2**bits - 1. Printed ``Q<int>.<frac>`` with int + frac + 1 sign bit = bits (the TI convention), ``UQ`` when unsigned.
    A zero_point other than 0 is meant for network inputs, such as 8-bit sensor data around 128.

    Raises:
        FormatError: bits outside 1..32 (2..32 when signed), or a zero_point that is no code of the format.

    >>> QFormat(bits=8, frac_bits=5)
    Q2.5
    >>> QFormat(8, 6, signed=False, zero_point=128).decode([128, 192, 0]).tolist()
    [0.0, 1.0, -2.0]
    """

    bits: int
    frac_bits: int
    signed: bool = True
    zero_point: int = 0
    narrow: bool = False

    def __post_init__(self) -> None:
        for name in ("bits", "frac_bits", "zero_point"):
            if isinstance(value := getattr(self, name), bool) or not isinstance(value, int):
                raise FormatError(f"QFormat: {name}={value!r} is not an integer.")
        lowest = 2 if self.signed else 1
        if not lowest <= self.bits <= MAX_BITS:
            kind = "a signed" if self.signed else "an unsigned"
            raise FormatError(f"QFormat: bits={self.bits}; {kind} format has {lowest} to {MAX_BITS} bits.")
        if not -126 <= self.frac_bits <= 126:
            raise FormatError(f"QFormat: frac_bits={self.frac_bits}; the step 2**-frac_bits must be a float32, -126 to 126.")
        if self.narrow and not self.signed:
            raise FormatError("QFormat: narrow drops the lowest signed code; an unsigned format has none to drop.")
        if not self.lowest <= self.zero_point <= self.highest:
            raise FormatError(
                f"QFormat: zero_point={self.zero_point} is no code of {self} (codes {self.lowest} to {self.highest})."
            )

    @classmethod
    def parse(cls, text: str) -> QFormat:
        """The format that is printed as ``text``.

        Raises:
            FormatError: no format is.

        >>> QFormat.parse("Q2.5"), QFormat.parse("UQ2.6(zero_point=128)")
        (Q2.5, UQ2.6(zero_point=128))
        """
        found = re.fullmatch(r"(U?)Q(-?\d+)\.(-?\d+)(n?)(?:\(zero_point=(-?\d+)\))?", text.strip())
        if found is None:
            raise FormatError(f"{text!r} is no format; write Q<int>.<frac>, such as Q2.5, UQ0.8 or UQ2.6(zero_point=128).")
        unsigned, whole, frac, narrow, zero_point = found.groups()
        bits = int(whole) + int(frac) + (not unsigned)
        return cls(bits, int(frac), not unsigned, int(zero_point or 0), bool(narrow))

    @property
    def lowest(self) -> int:
        """The smallest code."""
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest code."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def step(self) -> float:
        """The value of one code step (the LSB), 2**-frac_bits."""
        return 2.0**-self.frac_bits

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest NumPy integer type that holds every code."""
        kind = "i" if self.signed else "u"
        return np.dtype(f"{kind}{next(b for b in (1, 2, 4) if 8 * b >= self.bits)}")

    def __repr__(self) -> str:
        name = f"{'Q' if self.signed else 'UQ'}{self.bits - self.frac_bits - self.signed}.{self.frac_bits}"
        offset = f"(zero_point={self.zero_point})" if self.zero_point else ""
        return name + ("n" if self.narrow else "") + offset

    def describe(self) -> str:
        """The format with its range and step, as error messages print it.

        >>> QFormat(16, 8).describe()
        'Q7.8 (range -128.0 to 127.99609375, step 0.00390625)'
        """
        low, high = (float(self.value(code)) for code in (self.lowest, self.highest))
        return f"{self} (range {low} to {high}, step {self.step})"

    def value(self, code: int) -> Fraction:
        """The exact value of one code."""
        return (code - self.zero_point) * Fraction(2) ** -self.frac_bits

    def decode(self, codes: Any) -> NDArray[np.float32]:
        """Codes as float32 values; exact for up to 24 bits."""
        offsets = np.asarray(codes, dtype=np.int64) - self.zero_point
        return np.ldexp(offsets.astype(np.float64), -self.frac_bits).astype(np.float32)

    def encode(self, values: Any, *, where: str = "values") -> IntArray:
        """Exact codes of ``values``: integer (and bool) arrays are codes already, floats must lie on the grid.

        Raises:
            FormatError: a code outside the range, a NaN or infinity, or a float between two codes.
        """
        array = as_array(values, where)
        if array.dtype.kind == "f":
            array = self._codes_of_floats(array, where)
        elif array.dtype.kind not in "biu":
            raise FormatError(f"{where} have dtype {array.dtype}; pass integer codes or floats on the grid of {self}.")
        if array.size and (array.min() < self.lowest or array.max() > self.highest):
            worst = array.min() if array.min() < self.lowest else array.max()
            raise FormatError(
                f"{where} hold code {worst}, outside {self.describe()}, whose codes are {self.lowest} to {self.highest}. "
                f"Rescale the data, saturate it with QFormat.quantize, or declare a wider format."
            )
        return array.astype(self.dtype)

    def _codes_of_floats(self, array: NDArray[Any], where: str) -> NDArray[Any]:
        if not np.isfinite(array).all():
            raise FormatError(f"{where} hold NaN or infinite numbers; remove them: a format has no code for them.")
        scaled = np.ldexp(array.astype(np.float64), self.frac_bits)
        off = scaled != np.rint(scaled)
        if off.any():
            raise FormatError(
                f"{where} hold {array[off].flat[0]!r}, which is not on the grid of {self.describe()}. "
                f"Floats must lie on the grid exactly: quantize them first (QFormat.quantize), or pass integer codes."
            )
        return scaled + self.zero_point

    def quantize(self, values: Any, rounding: Rounding = Rounding.HALF_UP, overflow: Overflow = Overflow.SATURATE) -> IntArray:
        """Codes of arbitrary float ``values``, rounded and brought into range; infinities saturate.

        Raises:
            FormatError: a NaN, for which a format has no code.
        """
        x = np.asarray(values, dtype=np.float64)
        if np.isnan(x).any():
            raise FormatError(f"NaN cannot be quantized to {self}: a format has no code for it.")
        codes = round_array(_scaled(x, self.frac_bits), rounding)
        limit = float(1 << 60)
        near = np.clip(codes, -limit, limit).astype(np.int64) + self.zero_point
        if overflow is Overflow.WRAP:
            finite = np.where(np.isfinite(codes), codes, 0.0)
            wrapped = np.mod(finite, 2.0**self.bits).astype(np.int64) + self.zero_point
            near = np.where(np.isinf(x), np.clip(near, self.lowest, self.highest), wrapped)
        return fit_array(near, self, overflow).astype(self.dtype)


def as_array(values: Any, where: str) -> NDArray[Any]:
    """Anything array-like, torch tensors included, as a NumPy array.

    Raises:
        InputError: it is none, for example a ragged list.
    """
    try:
        return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{where} cannot be read as an array: {error}. Pass a NumPy array or a tensor.") from error


def round_shift(value: int, shift: int, rounding: Rounding) -> int:
    """round(value / 2**shift) on unbounded integers."""
    return rounding.of(Fraction(value, 1 << shift))


def fit(code: int, fmt: QFormat, overflow: Overflow) -> int:
    """Bring one code into the range of ``fmt``.

    Raises:
        FormatError: an overflow where PROVED_NONE says there is none.

    >>> fit(130, QFormat(8, 0), Overflow.SATURATE), fit(130, QFormat(8, 0), Overflow.WRAP)
    (127, -126)
    """
    if fmt.lowest <= code <= fmt.highest:
        return code
    match overflow:
        case Overflow.SATURATE:
            return min(max(code, fmt.lowest), fmt.highest)
        case Overflow.WRAP:
            return (code - fmt.lowest) % _wrap_span(fmt) + fmt.lowest
        case Overflow.PROVED_NONE:
            raise FormatError(f"Code {code} overflows {fmt}, where overflow was proved impossible: the proof is wrong.")


def _wrap_span(fmt: QFormat) -> int:
    if fmt.narrow:
        raise FormatError(f"{fmt} cannot wrap: a narrow format has no two's complement to wrap in. Saturate instead.")
    return 1 << fmt.bits


def quantize(
    x: float | Fraction, fmt: QFormat, rounding: Rounding = Rounding.HALF_UP, overflow: Overflow = Overflow.SATURATE
) -> int:
    """The code of one real number: the scalar specification of a quantizer.

    code = overflow(round(x * 2**frac_bits) + zero_point); +inf and -inf saturate.

    Raises:
        FormatError: x is NaN.

    >>> [quantize(x, QFormat(4, 1)) for x in (0.24, 0.25, -0.25, 9.0, float("-inf"))]
    [0, 1, 0, 7, -8]
    """
    if isinstance(x, float) and math.isnan(x):
        raise FormatError(f"NaN cannot be quantized to {fmt}: a format has no code for it.")
    if isinstance(x, float) and math.isinf(x):
        return fmt.highest if x > 0 else fmt.lowest
    return fit(rounding.of(Fraction(x) * Fraction(2) ** fmt.frac_bits) + fmt.zero_point, fmt, overflow)


def _scaled(x: NDArray[np.float64], frac_bits: int) -> NDArray[np.float64]:
    """x * 2**frac_bits; a number that underflows keeps its sign, which is all that rounding asks of it."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(x, frac_bits)
    return np.where((scaled == 0) & (x != 0), np.copysign(np.finfo(np.float64).tiny, x), scaled)


def round_array(x: NDArray[np.float64], rounding: Rounding) -> NDArray[np.float64]:
    """Round float64 numbers to integers, exactly, still carried in float64."""
    match rounding:
        case Rounding.FLOOR:
            return np.floor(x)
        case Rounding.HALF_UP:
            whole = np.floor(x)
            with np.errstate(invalid="ignore"):
                return whole + (x - whole >= 0.5)
        case Rounding.HALF_EVEN:
            return np.rint(x)
        case Rounding.TOWARD_ZERO:
            return np.trunc(x)


def round_shift_array(values: NDArray[np.int64], shift: int, rounding: Rounding) -> NDArray[np.int64]:
    """round(values / 2**shift) in int64; the caller's bounds keep values + 2**(shift-1) below 2**63."""
    if shift == 0:
        return values
    half = np.int64(1 << (shift - 1))
    match rounding:
        case Rounding.FLOOR:
            return values >> shift
        case Rounding.HALF_UP:
            return (values + half) >> shift
        case Rounding.HALF_EVEN:
            return (values + (half - 1) + ((values >> shift) & 1)) >> shift
        case Rounding.TOWARD_ZERO:
            return np.where(values < 0, -(-values >> shift), values >> shift)


def fit_array(codes: NDArray[np.int64], fmt: QFormat, overflow: Overflow) -> NDArray[np.int64]:
    """Bring codes into the range of ``fmt``; see :func:`fit`."""
    match overflow:
        case Overflow.SATURATE:
            return np.clip(codes, fmt.lowest, fmt.highest)
        case Overflow.WRAP:
            return (codes - fmt.lowest) % _wrap_span(fmt) + fmt.lowest
        case Overflow.PROVED_NONE:
            if codes.size:
                fit(int(codes.min()), fmt, overflow)
                fit(int(codes.max()), fmt, overflow)
            return codes


def grid_of(values: Any, *, max_bits: int = MAX_BITS) -> tuple[NDArray[np.int64], int] | None:
    """The coarsest power-of-two grid on which all ``values`` lie exactly: (codes, frac_bits), values = codes * 2**-frac_bits.

    Returns None if a code would need more than ``max_bits`` signed bits, so float weights, which lie on *some* grid as
    every float does, are told from quantized ones.

    >>> codes, frac_bits = grid_of([0.5, -0.75])
    >>> codes.tolist(), frac_bits
    ([2, -3], 2)
    >>> grid_of([0.1]) is None
    True
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError("Only finite numbers lie on a grid; the values hold NaN or infinity.")
    mantissa, exponent = np.frexp(array)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    nonzero = whole != 0
    if not nonzero.any():
        return np.zeros(array.shape, dtype=np.int64), 0
    lowest_bit = np.where(nonzero, whole & -whole, 1)
    frac_bits = int((53 - exponent - np.log2(lowest_bit.astype(np.float64)).astype(np.int64))[nonzero].max())
    with np.errstate(over="ignore"):
        codes = np.ldexp(array, frac_bits)
    half_range = 2.0 ** (max_bits - 1)
    if codes.min() < -half_range or codes.max() >= half_range or not np.isfinite(codes).all():
        return None
    return codes.astype(np.int64), frac_bits

"""Formats, rounding and overflow: the scalar functions against exact fractions, the array functions against the scalar ones."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qleaky.errors import FormatError, InputError
from qleaky.fixed import (
    Overflow,
    QFormat,
    Rounding,
    fit,
    fit_array,
    grid_of,
    quantize,
    round_array,
    round_shift,
    round_shift_array,
)

HALF = Fraction(1, 2)
RUNS_OVER = [Overflow.SATURATE, Overflow.WRAP]
roundings = st.sampled_from(Rounding)
rationals = st.fractions(-1000, 1000, max_denominator=1 << 12) | st.integers(-2000, 2000).map(lambda k: k * HALF)


@st.composite
def formats(draw: st.DrawFn, max_bits: int = 32) -> QFormat:
    signed = draw(st.booleans())
    plain = QFormat(draw(st.integers(1 + signed, max_bits)), draw(st.integers(-8, 40)), signed)
    zero_point = draw(st.just(0) | st.integers(plain.lowest + 1, plain.highest))
    return QFormat(plain.bits, plain.frac_bits, signed, zero_point, signed and draw(st.booleans()))


@st.composite
def ranges(draw: st.DrawFn, max_bits: int = 32) -> tuple[QFormat, Overflow]:
    """A format, and what happens to codes outside it; narrow formats only saturate."""
    fmt = draw(formats(max_bits))
    return fmt, Overflow.SATURATE if fmt.narrow else draw(st.sampled_from(RUNS_OVER))


# Rounding


def half_even(x: Fraction) -> int:
    below, rest = math.floor(x), x - math.floor(x)
    return below + (rest > HALF or (rest == HALF and below % 2 == 1))


def toward_zero(x: Fraction) -> int:
    return math.floor(abs(x)) * (1 if x > 0 else -1)


FORMULAS: dict[Rounding, Callable[[Fraction], int]] = {
    Rounding.FLOOR: math.floor,
    Rounding.HALF_UP: lambda x: math.floor(x + HALF),
    Rounding.HALF_EVEN: half_even,
    Rounding.TOWARD_ZERO: toward_zero,
}


@given(rationals, roundings)
def test_a_rounding_is_its_formula(x: Fraction, rounding: Rounding) -> None:
    assert rounding.of(x) == FORMULAS[rounding](x)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.FLOOR, [-2, -2, -1, -1, 0, 0, 1, 1]),
        (Rounding.HALF_UP, [-2, -1, -1, 0, 0, 1, 1, 2]),
        (Rounding.HALF_EVEN, [-2, -2, -1, 0, 0, 0, 1, 2]),
        (Rounding.TOWARD_ZERO, [-2, -1, -1, 0, 0, 0, 1, 1]),
    ],
)
def test_halves_round_as_the_table_says(rounding: Rounding, expected: list[int]) -> None:
    halves = [Fraction(k, 2) for k in (-4, -3, -2, -1, 0, 1, 2, 3)]
    assert [rounding.of(x) for x in halves] == expected
    assert round_array(np.array(halves, float), rounding).tolist() == expected
    assert round_shift_array(np.arange(-4, 4), 1, rounding).tolist() == expected


@given(st.lists(st.integers(-(1 << 60), 1 << 60), min_size=1), st.integers(0, 40), roundings)
def test_shifts_of_arrays_round_as_the_scalar_shift(values: list[int], shift: int, rounding: Rounding) -> None:
    rounded = round_shift_array(np.array(values, np.int64), shift, rounding)
    assert rounded.tolist() == [round_shift(value, shift, rounding) for value in values]


@given(st.floats(-(2.0**61), 2.0**61), roundings)
@example(0.49999999999999994, Rounding.HALF_UP)
@example(-0.5000000000000001, Rounding.HALF_UP)
@example(2.0**52 + 1, Rounding.HALF_UP)
def test_floats_round_exactly(x: float, rounding: Rounding) -> None:
    assert round_array(np.array([x]), rounding).tolist() == [rounding.of(Fraction(x))]


# Range and overflow


@pytest.mark.parametrize(
    ("fmt", "lowest", "highest", "dtype"),
    [
        (QFormat(8, 0), -128, 127, np.int8),
        (QFormat(8, 0, narrow=True), -127, 127, np.int8),
        (QFormat(8, 0, signed=False), 0, 255, np.uint8),
        (QFormat(1, 0, signed=False), 0, 1, np.uint8),
        (QFormat(2, 7), -2, 1, np.int8),
        (QFormat(9, 4), -256, 255, np.int16),
        (QFormat(32, 31), -(1 << 31), (1 << 31) - 1, np.int32),
        (QFormat(32, 31, signed=False), 0, (1 << 32) - 1, np.uint32),
    ],
)
def test_bits_give_the_range(fmt: QFormat, lowest: int, highest: int, dtype: type[np.integer[Any]]) -> None:
    assert (fmt.lowest, fmt.highest, fmt.dtype) == (lowest, highest, np.dtype(dtype))


@pytest.mark.parametrize(
    ("fmt", "text"),
    [
        (QFormat(8, 5), "Q2.5"),
        (QFormat(16, 0), "Q15.0"),
        (QFormat(8, 10), "Q-3.10"),
        (QFormat(8, 5, signed=False), "UQ3.5"),
        (QFormat(8, 5, narrow=True), "Q2.5n"),
        (QFormat(8, 6, signed=False, zero_point=128), "UQ2.6(zero_point=128)"),
    ],
)
def test_names_count_the_sign_bit_apart(fmt: QFormat, text: str) -> None:
    assert repr(fmt) == text


@given(ranges(), st.lists(st.integers(-(1 << 40), 1 << 40)))
def test_arrays_overflow_as_scalars_and_into_the_range(into: tuple[QFormat, Overflow], codes: list[int]) -> None:
    fmt, overflow = into
    fitted = fit_array(np.array(codes, np.int64), fmt, overflow).tolist()
    assert fitted == [fit(code, fmt, overflow) for code in codes]
    assert all(fmt.lowest <= code <= fmt.highest for code in fitted)


@given(st.integers(-(1 << 40), 1 << 40), st.integers(2, 32), st.booleans())
def test_wrapping_keeps_the_low_bits(code: int, bits: int, signed: bool) -> None:
    assert (fit(code, QFormat(bits, 0, signed), Overflow.WRAP) - code) % (1 << bits) == 0


@pytest.mark.parametrize("code", [-129, 128])
@pytest.mark.parametrize("fitting", [fit, lambda code, *how: fit_array(np.array([0, code]), *how)])
def test_an_overflow_that_was_proved_impossible_is_an_error(fitting: Callable[..., Any], code: int) -> None:
    with pytest.raises(FormatError, match=rf"Code {code} overflows Q7\.0, where overflow was proved impossible"):
        fitting(code, QFormat(8, 0), Overflow.PROVED_NONE)


@pytest.mark.parametrize("fitting", [fit, lambda code, *how: fit_array(np.array([0, code]), *how)])
def test_a_narrow_format_does_not_wrap(fitting: Callable[..., Any]) -> None:
    with pytest.raises(FormatError, match=r"Q7\.0n cannot wrap: a narrow format has no two's complement"):
        fitting(-128, QFormat(8, 0, narrow=True), Overflow.WRAP)


# Quantizing


def assert_quantizes_as_the_scalar(fmt: QFormat, x: float, rounding: Rounding, overflow: Overflow) -> None:
    assert fmt.quantize([x], rounding, overflow).tolist() == [quantize(x, fmt, rounding, overflow)]


@given(ranges(), st.floats(-(2.0**20), 2.0**20) | st.sampled_from([math.inf, -math.inf]), roundings)
@example((QFormat(8, 0), Overflow.SATURATE), 0.49999997, Rounding.HALF_UP)
@example((QFormat(8, 0), Overflow.SATURATE), 0.49999999999999994, Rounding.HALF_UP)
def test_quantizing_an_array_is_quantizing_each_number(into: tuple[QFormat, Overflow], x: float, rounding: Rounding) -> None:
    assert_quantizes_as_the_scalar(into[0], x, rounding, into[1])


@given(formats(), st.floats(allow_nan=False, allow_subnormal=False), roundings)
def test_every_float_saturates_as_the_scalar_does(fmt: QFormat, x: float, rounding: Rounding) -> None:
    assert_quantizes_as_the_scalar(fmt, x, rounding, Overflow.SATURATE)


@pytest.mark.parametrize(
    ("fmt", "x"),
    [
        (QFormat(16, 0), 2.0**60 + 256),
        (QFormat(32, 31), 2.0**40 + 2.0**-12),
        (QFormat(8, 126), -1e300),
        (QFormat(8, -126), -5e-324),
        (QFormat(8, -126), 5e-324),
    ],
)
@pytest.mark.parametrize("overflow", RUNS_OVER)
def test_the_far_ends_of_the_floats_quantize_as_the_scalar_does(fmt: QFormat, x: float, overflow: Overflow) -> None:
    for rounding in Rounding:
        assert_quantizes_as_the_scalar(fmt, x, rounding, overflow)


@given(ranges(max_bits=24), st.floats(allow_nan=False), roundings)
def test_quantizing_twice_is_quantizing_once(into: tuple[QFormat, Overflow], x: float, rounding: Rounding) -> None:
    fmt, overflow = into
    code = quantize(x, fmt, rounding, overflow)
    assert quantize(fmt.value(code), fmt, rounding, overflow) == code


@given(ranges(), roundings)
def test_zero_is_a_level_and_infinities_saturate(into: tuple[QFormat, Overflow], rounding: Rounding) -> None:
    fmt, overflow = into
    codes = fmt.quantize([0.0, -0.0, math.inf, -math.inf], rounding, overflow).tolist()
    assert codes == [fmt.zero_point, fmt.zero_point, fmt.highest, fmt.lowest]
    assert codes == [quantize(x, fmt, rounding, overflow) for x in (0.0, -0.0, math.inf, -math.inf)]


@pytest.mark.parametrize("quantizing", [lambda fmt: fmt.quantize([0.0, math.nan]), lambda fmt: quantize(math.nan, fmt)])
def test_nan_is_an_error(quantizing: Callable[[QFormat], Any]) -> None:
    with pytest.raises(FormatError, match=r"NaN cannot be quantized to Q2\.5: a format has no code for it"):
        quantizing(QFormat(8, 5))


# Codes and values


@given(formats(max_bits=24), st.data())
def test_decoded_codes_encode_to_themselves(fmt: QFormat, data: st.DataObject) -> None:
    codes = np.array(data.draw(st.lists(st.integers(fmt.lowest, fmt.highest))), np.int64)
    values = fmt.decode(codes)
    assert values.dtype == np.float32
    assert [Fraction(float(value)) for value in values] == [fmt.value(int(code)) for code in codes]
    assert fmt.encode(values).tolist() == codes.tolist()


@pytest.mark.parametrize("codes", [np.array([3, -4]), np.array([3, -4], np.int8), [3, -4]])
def test_integer_arrays_are_codes(codes: Any) -> None:
    encoded = QFormat(8, 5).encode(codes)
    assert (encoded.tolist(), encoded.dtype) == ([3, -4], np.dtype(np.int8))
    assert QFormat(1, 0, signed=False).encode([True, False]).tolist() == [1, 0]


def test_zero_point_shifts_codes() -> None:
    fmt = QFormat(8, 6, signed=False, zero_point=128)
    assert fmt.encode([0.0, 1.0, -2.0]).tolist() == [128, 192, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 0.3], r"frames hold .*0\.3.*, which is not on the grid of Q2\.5 \(range -4\.0 to 3\.96875, step 0\.03125\)"),
        ([4.0], r"frames hold code 128.*, outside Q2\.5 .*whose codes are -128 to 127"),
        (np.array([-129, 0]), r"frames hold code -129, outside Q2\.5"),
        (np.array([2**63], np.uint64), r"frames hold code 9223372036854775808, outside Q2\.5"),
        ([math.nan], "frames hold NaN or infinite numbers"),
        ([math.inf], "frames hold NaN or infinite numbers"),
        (["1"], "frames have dtype <U1; pass integer codes or floats on the grid of Q2"),
        ([1j], "frames have dtype complex128; pass integer codes"),
    ],
)
def test_what_is_no_code_is_refused(values: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        QFormat(8, 5).encode(values, where="frames")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 1, "frac_bits": 0}, "bits=1; a signed format has 2 to 32 bits"),
        ({"bits": 0, "frac_bits": 0, "signed": False}, "bits=0; an? unsigned format has 1 to 32 bits"),
        ({"bits": 33, "frac_bits": 0}, "bits=33; a signed format has 2 to 32 bits"),
        ({"bits": 8.0, "frac_bits": 0}, r"bits=8\.0 is not an integer"),
        ({"bits": 8, "frac_bits": True}, "frac_bits=True is not an integer"),
        ({"bits": 8, "frac_bits": 127}, "frac_bits=127; the step"),
        ({"bits": 8, "frac_bits": -127}, "frac_bits=-127; the step"),
        ({"bits": 8, "frac_bits": 0, "signed": False, "narrow": True}, "narrow drops the lowest signed code"),
        ({"bits": 8, "frac_bits": 0, "zero_point": 128}, r"zero_point=128 is no code of Q7\.0.*\(codes -128 to 127\)"),
    ],
)
def test_impossible_formats_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        QFormat(**arguments)


# Grids


@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1), st.integers(-40, 60))
@example([-(1 << 31), 1], 0)
def test_the_grid_of_codes_is_the_coarsest_that_holds_them(codes: list[int], frac_bits: int) -> None:
    values = np.ldexp(np.array(codes, float), -frac_bits)
    found = grid_of(values)
    assert found is not None
    assert np.array_equal(np.ldexp(found[0].astype(float), -found[1]), values)
    assert (found[0] % 2).any() or (found[1] == 0 and not any(codes))


@pytest.mark.parametrize("values", [[0.1], [1.0, 2.0**-31], [2.0**31, 1.0], [5e-324, 1.0]])
def test_values_that_need_more_bits_have_no_grid(values: list[float]) -> None:
    assert grid_of(values) is None


def test_only_finite_numbers_have_a_grid() -> None:
    with pytest.raises(InputError, match="Only finite numbers lie on a grid"):
        grid_of([0.5, math.inf])

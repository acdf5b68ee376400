"""``FixedPoint`` against the scalar specification; what all quantizers keep in checkpoints, and refuse."""

import copy
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawn_numbers import INFINITIES, numbers
from hypothesis import example, given
from hypothesis import strategies as st

import qleaky
from qleaky import FixedPoint, Levels, fixed, state_quant
from qleaky.errors import FormatError, InputError
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.quantizers import FixedPointSpec, StateQuantizer


@st.composite
def quantizers(draw: st.DrawFn) -> FixedPoint:
    bits, frac_bits, signed = draw(st.integers(2, 24)), draw(st.integers(-8, 24)), draw(st.booleans())
    rounding, overflow = draw(st.sampled_from(Rounding)), draw(st.sampled_from(["saturate", "wrap"]))
    narrow = signed and overflow == "saturate" and draw(st.booleans())
    return FixedPoint(bits, frac_bits, signed, rounding, overflow, narrow=narrow)


def assert_is_the_scalar_quantizer(quantizer: FixedPoint, x: float, dtype: torch.dtype) -> None:
    spec: FixedPointSpec = quantizer.spec
    code = fixed.quantize(x, spec.format, spec.rounding, spec.overflow)
    quantized = quantizer(torch.tensor([x], dtype=dtype))
    assert (quantized.tolist(), quantized.dtype) == ([float(spec.format.value(code))], dtype)


# FixedPoint


@given(quantizers(), numbers(32, 2.0**60))
@example(FixedPoint(8, 0), 0.4999999701976776)
@example(FixedPoint(24, 0), 2.0**23 - 0.5)
def test_float32_quantizes_as_the_scalar_specification(quantizer: FixedPoint, x: float) -> None:
    assert_is_the_scalar_quantizer(quantizer, x, torch.float32)


@given(quantizers(), numbers(64, 2.0**900))
@example(FixedPoint(8, 0), 0.49999999999999994)
def test_float64_quantizes_as_the_scalar_specification(quantizer: FixedPoint, x: float) -> None:
    assert_is_the_scalar_quantizer(quantizer, x, torch.float64)


@given(st.integers(2, 24), st.integers(-8, 24), st.sampled_from(Rounding), numbers(32))
def test_every_float32_saturates_as_the_scalar_specification(bits: int, frac: int, rounding: Rounding, x: float) -> None:
    assert_is_the_scalar_quantizer(FixedPoint(bits, frac, rounding=rounding), x, torch.float32)


@pytest.mark.parametrize(
    ("bits", "frac_bits", "overflow", "x"),
    [
        (8, 5, "wrap", 2.0**127),
        (8, 120, "wrap", 2.0**20),
        (8, -1, "saturate", -(2.0**-149)),
        (8, -1, "saturate", 2.0**-149),
        (8, 126, "saturate", 2.0**-127),
        (8, -126, "saturate", 2.0**127),
    ],
)
def test_the_far_ends_of_float32_quantize_as_the_scalar_specification(
    bits: int, frac_bits: int, overflow: str, x: float
) -> None:
    for rounding in Rounding:
        assert_is_the_scalar_quantizer(FixedPoint(bits, frac_bits, True, rounding, overflow), x, torch.float32)


@given(quantizers(), numbers(32))
def test_quantizing_twice_is_quantizing_once(quantizer: FixedPoint, x: float) -> None:
    once = quantizer(torch.tensor([x]))
    assert torch.equal(quantizer(once), once)


@given(quantizers())
def test_zero_is_a_level(quantizer: FixedPoint) -> None:
    assert quantizer(torch.tensor([0.0, -0.0])).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_quantized_in_float32(dtype: torch.dtype) -> None:
    x = torch.linspace(-5, 5, 400).to(dtype)
    assert torch.equal(FixedPoint(8, 5)(x), FixedPoint(8, 5)(x.float()).to(dtype))


@pytest.mark.parametrize("others", [[], INFINITIES])
def test_nan_is_an_error(others: list[float]) -> None:
    with pytest.raises(FormatError, match=r"A quantized membrane is NaN: .* Its input current, threshold or decay is NaN"):
        FixedPoint(8, 5)(torch.tensor([*others, math.nan, 1.0]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0, 1, 1, 1, 0]),
        ({"gradient": "identity"}, [1, 1, 1, 1, 1]),
        ({"overflow": "wrap"}, [1, 1, 1, 1, 1]),
        ({"overflow": "wrap", "gradient": "clipped"}, [0, 1, 1, 1, 0]),
        ({"narrow": True}, [0, 0, 1, 1, 0]),
        ({"signed": False}, [0, 0, 1, 1, 1]),
    ],
)
def test_the_gradient_is_clipped_to_the_range_or_the_identity(settings: dict[str, Any], expected: list[float]) -> None:
    x = torch.tensor([-4.01, -4.0, 0.01, 3.96875, 3.97], requires_grad=True)
    (gradient,) = torch.autograd.grad(FixedPoint(8, 5, **settings)(x).sum(), x)
    assert gradient.tolist() == expected


# Persistence


OTHER = {"rounding": "floor", "overflow": "wrap", "signed": False, "gradient": "clipped"}


def test_a_checkpoint_restores_the_spec() -> None:
    loaded = FixedPoint(8, 5)
    loaded.load_state_dict(FixedPoint(6, 3, **OTHER).state_dict())
    assert loaded.spec == FixedPointSpec(QFormat(6, 3, signed=False), Rounding.FLOOR, Overflow.WRAP, "clipped")


@pytest.mark.parametrize("make", [lambda: FixedPoint(8, 5), lambda: Levels([-1.0, 0.0, 1.0])])
def test_a_float_checkpoint_loads_strictly_and_leaves_the_quantizer_alone(make: Callable[[], StateQuantizer]) -> None:
    quantized = qleaky.Leaky(0.5, state_quant=make())
    quantized.load_state_dict(qleaky.Leaky(0.75).state_dict(), strict=True)
    assert quantized.beta == 0.75
    assert quantized.state_quant.spec == make().spec


def test_a_checkpoint_restores_levels_of_another_count() -> None:
    loaded = Levels([0.0, 1.0])
    assert loaded(torch.tensor([3.0])) == 1
    loaded.load_state_dict(Levels([-1.0, 0.0, 2.0]).state_dict())
    assert loaded(torch.tensor([3.0])) == 2


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
@pytest.mark.parametrize("quantizer", [FixedPoint(6, 3, **OTHER), Levels([-1.0, 0.0, 1.5])])
def test_a_copy_quantizes_the_same(quantizer: StateQuantizer, clone: Callable[[Any], Any]) -> None:
    copied = clone(quantizer)
    assert copied.spec == quantizer.spec
    assert torch.equal(copied(torch.linspace(-9, 9, 99)), quantizer(torch.linspace(-9, 9, 99)))


def test_the_spec_is_shown() -> None:
    assert "format=Q2.5, rounding=<Rounding.HALF_UP" in repr(FixedPoint(8, 5))


# Errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FixedPoint(1, 0, signed=False), FormatError, "bits=1; a state has 2 to 24 bits"),
        (lambda: FixedPoint(25, 0), FormatError, "bits=25; a state has 2 to 24 bits"),
        (lambda: FixedPoint(8, 5, overflow="proved_none"), InputError, "choose 'saturate' or 'wrap'"),
        (lambda: FixedPoint(8, 5, overflow="wrap", narrow=True), InputError, "no two's complement to wrap in"),
        (lambda: FixedPoint(8, 5, overflow="clip"), InputError, "overflow='clip' is unknown. Choose one of 'saturate'"),
        (lambda: FixedPoint(8, 5, rounding="up"), InputError, "rounding='up' is unknown. Choose one of 'floor', 'half_up'"),
        (lambda: FixedPoint(8, 5, gradient="none"), InputError, "gradient='none' is unknown. Choose 'clipped' or 'identity'"),
        (lambda: Levels([1.0]), InputError, "at least two finite levels in ascending order"),
        (lambda: Levels([1.0, 0.0]), InputError, "at least two finite levels in ascending order"),
        (lambda: Levels([0.0, math.inf]), InputError, "at least two finite levels in ascending order"),
        (lambda: Levels([[0.0, 1.0]]), InputError, "at least two finite levels in ascending order"),
        (lambda: state_quant(0), InputError, "num_bits=0, threshold=1; they must be 1 to 16, and positive"),
        (lambda: state_quant(4, threshold=-1), InputError, "num_bits=4, threshold=-1; they must be"),
        (lambda: state_quant(4, uniform=False, multiplier=-1.0), InputError, "multiplier=-1.0 leave no room for levels"),
    ],
)
def test_impossible_quantizers_are_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()

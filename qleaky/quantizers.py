"""State quantizers: modules mem -> mem that keep a membrane on the levels a device has.

``FixedPoint`` is the one that lowers to integers. ``Levels`` and ``state_quant`` reproduce snntorch's grids. Any other
callable works in :class:`~qleaky.Leaky` too, and is measured rather than proved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from qleaky.dynamics import choice
from qleaky.errors import FormatError, InputError
from qleaky.fixed import Overflow, QFormat, Rounding

Gradient = Literal["clipped", "identity"]
GRADIENTS: tuple[Gradient, ...] = ("clipped", "identity")


@dataclass(frozen=True)
class FixedPointSpec:
    """All there is to a :class:`FixedPoint` quantizer."""

    format: QFormat
    rounding: Rounding = Rounding.HALF_UP
    overflow: Overflow = Overflow.SATURATE
    gradient: Gradient = "clipped"

    def __post_init__(self) -> None:
        if not 2 <= self.format.bits <= 24:
            raise FormatError(f"FixedPoint: bits={self.format.bits}; a state has 2 to 24 bits, which float32 holds exactly.")
        if self.overflow is Overflow.PROVED_NONE:
            raise InputError("FixedPoint: overflow='proved_none' is a finding of the proof; choose 'saturate' or 'wrap'.")
        if self.overflow is Overflow.WRAP and self.format.narrow:
            raise InputError("FixedPoint: a narrow format has no two's complement to wrap in; choose overflow='saturate'.")
        if self.gradient not in GRADIENTS:
            raise InputError(f"FixedPoint: gradient={self.gradient!r} is unknown. Choose 'clipped' or 'identity'.")

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and highest value."""
        return self.format.lowest * self.format.step, self.format.highest * self.format.step

    def dtype_for(self, dtype: torch.dtype) -> torch.dtype:
        """``dtype`` if it holds every code exactly, else float32 (a 12-bit state does not fit into bfloat16)."""
        info = torch.finfo(dtype)
        magnitude = max(-self.format.lowest, self.format.highest)
        fits = magnitude <= 2 / info.eps and magnitude * self.format.step <= info.max and self.format.step >= info.tiny
        return dtype if fits else torch.promote_types(dtype, torch.float32)

    def encode(self) -> list[int]:
        """The spec as integers, which a checkpoint holds."""
        fmt = self.format
        names = (list(Rounding).index(self.rounding), list(Overflow).index(self.overflow), GRADIENTS.index(self.gradient))
        return [fmt.bits, fmt.frac_bits, int(fmt.signed), int(fmt.narrow), *names]

    @classmethod
    def decode(cls, numbers: Sequence[int]) -> FixedPointSpec:
        """The spec that :meth:`encode` turned into ``numbers``."""
        bits, frac_bits, signed, narrow, rounding, overflow, gradient = numbers
        fmt = QFormat(bits, frac_bits, bool(signed), narrow=bool(narrow))
        return cls(fmt, list(Rounding)[rounding], list(Overflow)[overflow], GRADIENTS[gradient])


@dataclass(frozen=True)
class LevelsSpec:
    """All there is to a :class:`Levels` quantizer: its levels, ascending."""

    levels: tuple[float, ...]


class StateQuantizer(nn.Module):
    """Base of the quantizers that state what they do in ``spec``; applying one twice is applying it once."""

    spec: Any

    def extra_repr(self) -> str:
        return str(self.spec)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A checkpoint without quantizer entries (a float network's) leaves this one as it was constructed."""
        if any(key.startswith(prefix) for key in state_dict):
            super()._load_from_state_dict(state_dict, prefix, *args)


class FixedPoint(StateQuantizer):
    """Quantize to a fixed-point format.

    q(x) = overflow(round(x * 2**frac_bits)) * 2**-frac_bits. Zero is always a level, +inf and -inf saturate, and
    q(q(x)) = q(x). NaN is an error, which is looked for on the CPU; elsewhere, and under torch.compile, it goes on as NaN. The
    gradient passes straight through: clipped to the range (zero where q saturates), or as the identity. The result has the
    dtype of x, or float32 where that is too narrow for the codes. A checkpoint holds the spec; loading one restores it.

    Args:
        bits: width of the code, 2..24.
        frac_bits: fractional bits; the step is 2**-frac_bits.
        signed: two's complement, or unsigned.
        rounding: "floor", "half_up", "half_even" or "toward_zero" (:class:`~qleaky.fixed.Rounding`).
        overflow: "saturate" or "wrap".
        narrow: drop the lowest signed code (with "saturate" only).
        gradient: "clipped" or "identity"; None is "clipped" for saturate and "identity" for wrap.

    Raises:
        FormatError: bits outside 2..24, a step that float32 cannot hold, or (in the forward pass) a NaN.
        InputError: an unknown rounding, overflow or gradient.

    >>> FixedPoint(bits=4, frac_bits=1)(torch.tensor([0.24, 0.25, -0.75, 9.0])).tolist()
    [0.0, 0.5, -0.5, 3.5]
    """

    spec_code: Tensor

    def __init__(
        self,
        bits: int,
        frac_bits: int,
        signed: bool = True,
        rounding: str | Rounding = "half_up",
        overflow: str | Overflow = "saturate",
        *,
        narrow: bool = False,
        gradient: Gradient | None = None,
    ) -> None:
        super().__init__()
        kind = choice(Overflow, overflow, "FixedPoint", "overflow")
        default: Gradient = "clipped" if kind is Overflow.SATURATE else "identity"
        fmt = QFormat(bits, frac_bits, signed, narrow=narrow)
        self._set_spec(FixedPointSpec(fmt, choice(Rounding, rounding, "FixedPoint", "rounding"), kind, gradient or default))

    def _set_spec(self, spec: FixedPointSpec) -> None:
        self.spec = spec
        self.register_buffer("spec_code", torch.tensor(spec.encode(), dtype=torch.int32))

    @property
    def format(self) -> QFormat:
        """The fixed-point format."""
        fmt: QFormat = self.spec.format
        return fmt

    def forward(self, x: Tensor) -> Tensor:
        quantized: Tensor = _FixedPoint.apply(x.to(self.spec.dtype_for(x.dtype)), self.spec)  # type: ignore[no-untyped-call]
        refuse_nan(quantized)
        return quantized

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.spec = FixedPointSpec.decode(self.spec_code.tolist())


class _FixedPoint(torch.autograd.Function):
    """q(x), with the straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spec: FixedPointSpec) -> Tensor:
        if spec.gradient == "clipped":
            ctx.save_for_backward(inside(x, spec))
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        return quantize_(wide.clone(), spec).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        saved = ctx.saved_tensors
        return (gradients[0] * saved[0] if saved else gradients[0]), None


def inside(x: Tensor, spec: FixedPointSpec) -> Tensor:
    """Where x lies within the format's range: the mask of the clipped straight-through gradient."""
    low, high = spec.range
    return (x >= low) & (x <= high)


def quantize_(x: Tensor, spec: FixedPointSpec) -> Tensor:
    """q(x) in place, exact for every float32 (and float64 that scaling keeps in range); NaN stays NaN."""
    fmt = spec.format
    if x.dtype is torch.float32 and (spec.overflow is Overflow.WRAP or fmt.frac_bits < 0):
        return x.copy_(quantize_(x.double(), spec))  # scaled numbers that float32 could not hold would matter here
    codes = round_to_grid_(x, fmt.frac_bits, spec.rounding)
    if spec.overflow is Overflow.SATURATE:
        codes.clamp_(fmt.lowest, fmt.highest)
    else:
        wrapped = torch.remainder(codes, 1 << fmt.bits)
        wrapped = torch.where(wrapped > fmt.highest, wrapped - (1 << fmt.bits), wrapped)
        codes.copy_(torch.where(codes.isinf(), codes.clamp(fmt.lowest, fmt.highest), wrapped))
    return codes.mul_(fmt.step)


def round_to_grid_(x: Tensor, frac_bits: int, rounding: Rounding) -> Tensor:
    """round(x * 2**frac_bits) in place, still carried in floats.

    HALF_UP is ceil(floor(2v) / 2): floor(v + 0.5) would round v + 0.5 itself (0.49999997 -> 1).
    """
    if rounding is Rounding.HALF_UP:
        return x.mul_(2.0 ** (frac_bits + 1)).floor_().mul_(0.5).ceil_()
    x.mul_(2.0**frac_bits)
    match rounding:
        case Rounding.FLOOR:
            return x.floor_()
        case Rounding.HALF_EVEN:
            return x.round_()
        case Rounding.TOWARD_ZERO:
            return x.trunc_()


def refuse_nan(quantized: Tensor) -> None:
    """Raise if a quantized state holds NaN (on the CPU; elsewhere and under torch.compile the NaN goes on).

    Raises:
        FormatError: it does.
    """
    if quantized.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if bool(quantized.detach().isnan().any()):
        raise FormatError(
            "A quantized membrane is NaN: fixed-point formats have no code for it. Its input current, threshold or decay "
            "is NaN; look for a diverged loss, a learning rate that is too large, or missing values in the data."
        )


class Levels(StateQuantizer):
    """Quantize to the nearest of a sorted table of levels, the lower one on ties; the gradient is the identity.

    Distances are compared as floats, as snntorch 1.0.0 does, so numbers far above the table (and +inf, NaN), whose
    distances to all levels round to the same float, go to the lowest level.

    Args:
        values: the levels, ascending, finite; at least two.

    Raises:
        InputError: fewer than two levels, or not ascending and finite.

    >>> Levels([-1.0, 0.0, 1.0])(torch.tensor([-0.5, 0.4, 7.0])).tolist()
    [-1.0, 0.0, 1.0]
    """

    levels: Tensor

    def __init__(self, values: Sequence[float] | Tensor) -> None:
        super().__init__()
        levels = torch.as_tensor(values).detach().clone()
        levels = levels if levels.is_floating_point() else levels.float()
        if levels.ndim != 1 or len(levels) < 2 or not levels.isfinite().all() or (levels.diff() < 0).any():
            raise InputError(f"Levels: {values!r}; pass at least two finite levels in ascending order.")
        self.register_buffer("levels", levels)
        self._tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, float]] = {}

    @property
    def spec(self) -> LevelsSpec:
        """The levels, as a frozen dataclass."""
        return LevelsSpec(tuple(self.levels.tolist()))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        quantized: Tensor = _Levels.apply(wide, *self._table(wide))  # type: ignore[no-untyped-call]
        return quantized.to(x.dtype)

    def _table(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """For x's dtype and device: levels, the largest number that goes to each, and the |x| up to which that holds."""
        key = (x.dtype, x.device)
        if key not in self._tables:
            levels = np.unique(self.levels.to(x.dtype).cpu().numpy())
            limit = float(np.diff(levels).min()) / (2 * np.finfo(levels.dtype).eps) - float(np.abs(levels).max())
            table = torch.from_numpy(levels), torch.from_numpy(_boundaries(levels)), limit
            self._tables[key] = (table[0].to(x.device), table[1].to(x.device), limit)
        return self._tables[key]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self._tables.clear()
        if (stored := state_dict.get(prefix + "levels")) is not None and stored.shape != self.levels.shape:
            self.levels = stored.detach().clone()
        super()._load_from_state_dict(state_dict, prefix, *args)


class _Levels(torch.autograd.Function):
    """The nearest level, with the identity as gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: Tensor, boundaries: Tensor, limit: float) -> Tensor:
        quantized = levels[torch.bucketize(x, boundaries)].clone()  # of a scalar x it is a view of the table
        far = ~(x.abs() <= limit)
        if far.any():
            quantized[far] = levels[(levels - x[far].unsqueeze(-1)).abs().min(dim=-1).indices]
        return quantized

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0], None, None, None


def _boundaries(levels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Between each two neighbours a < b the largest float x with fl(x - a) <= fl(b - x), found by bisection over floats."""
    a, b = levels[:-1], levels[1:]
    low, high = _ordered(a), _ordered(b)
    for _ in range(levels.dtype.itemsize * 8):
        middle = low + (high - low) // 2
        x = _from_ordered(middle, levels.dtype)
        nearer_a = x - a <= b - x
        low, high = np.where(nearer_a, middle, low), np.where(nearer_a, high, middle)
    return _from_ordered(low, levels.dtype)


def _ordered(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Integers in the order of the floats: the bits, mirrored for negative numbers."""
    bits = (x + 0.0).view(f"i{x.dtype.itemsize}").astype(object)
    return np.where(bits >= 0, bits, -(1 << (8 * x.dtype.itemsize - 1)) - bits)


def _from_ordered(keys: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    bits = np.where(keys >= 0, keys, -(1 << (8 * dtype.itemsize - 1)) - keys)
    return bits.astype(f"i{dtype.itemsize}").view(dtype)


_MULTIPLIERS = {1: 0.05, 2: 0.1, 3: 0.3, 4: 0.5, 5: 0.7, 6: 0.9, 7: 0.925}


def state_quant(
    num_bits: int = 8,
    uniform: bool = True,
    thr_centered: bool = True,
    threshold: float = 1,
    lower_limit: float = 0,
    upper_limit: float = 0.2,
    multiplier: float | None = None,
) -> Levels:
    """The grid of snntorch 1.0.0's ``functional.quant.state_quant``, equal to it bit for bit and without its cost.

    2**num_bits levels from -threshold * (1 + lower_limit) to threshold * (1 + upper_limit): equidistant if ``uniform``,
    else exponentially dense around the threshold (``thr_centered``) or zero, with ``multiplier`` as the base.

    Raises:
        InputError: num_bits outside 1..16, a threshold that is not positive, or limits that leave no levels.
    """
    if not 1 <= num_bits <= 16 or not threshold > 0:
        raise InputError(f"state_quant: num_bits={num_bits}, threshold={threshold}; they must be 1 to 16, and positive.")
    low, high = -threshold - threshold * lower_limit, threshold + threshold * upper_limit
    if uniform:
        return Levels(torch.linspace(low, high, 1 << num_bits))
    base = _MULTIPLIERS.get(num_bits, 0.95) if multiplier is None else multiplier
    low = -(threshold + (threshold * lower_limit))
    try:
        return Levels(torch.tensor(_exponential_levels(1 << num_bits, base, low, threshold if thr_centered else 0, high)))
    except (ZeroDivisionError, OverflowError):
        raise InputError(
            f"state_quant: upper_limit={upper_limit} and multiplier={multiplier} leave no room for levels; enlarge upper_limit."
        ) from None


def _exponential_levels(count: int, base: float, low: float, centre: float, high: float) -> list[float]:
    """Levels whose distances shrink by ``base`` toward the centre, in snntorch's order of float operations."""
    below = math.floor(count * ((centre - low) / (high - low)))
    above = count - below
    levels: list[float] = []
    if below:
        room = _power_sum(base, below) / (centre - low)
        level = low
        for j in range(below):
            levels.append(level)
            level += base**j / room
    if above:
        room = _power_sum(base, above) / (high - centre)
        level = centre
        for j in reversed(range(above)):
            level += base**j / room
            levels.append(level)
    return levels


def _power_sum(base: float, count: int) -> float:
    """base**(count-1) + ... + base**0, added in this order."""
    total: float = 0
    for j in reversed(range(count)):
        total += base**j
    return total

"""Fixed-point quantizing of float tensors: exact, in place, shared by the modules and the fused sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from qleaky.errors import FormatError
from qleaky.fixed import Overflow, Rounding
from qleaky.quantizers.spec import FixedPointSpec


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

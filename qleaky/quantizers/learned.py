"""``LearnedFixedPoint``: a fixed-point quantizer whose step, a power of two, is learned with the network."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.errors import FormatError
from qleaky.fixed import Rounding
from qleaky.quantizers.fixed_point import FixedPoint
from qleaky.quantizers.grids import quantize_, refuse_nan, round_to_grid_
from qleaky.quantizers.spec import FixedPointSpec

DEAD_ZONE = 0.6
"""How far log2_step must be from the exponent in use, in octaves, before that moves; 0.5 would be plain rounding."""
LARGEST_EXPONENT = 60


class LearnedFixedPoint(FixedPoint):
    """A saturating :class:`FixedPoint` that learns its step, which stays a power of two.

    ::

        e = round(log2_step) once |log2_step - e| > 0.6, else e as it was          step = 2**e,  frac_bits = -e
        q(x) = clip(round(x / step)) * step
        dq/dx = 1 within the range, else 0
        dq/dlog2_step = ln(2) * step * (round(x / step) - x / step)   within, * lowest or * highest beyond;  / sqrt(N * highest)

    ``log2_step`` is a parameter that begins in the middle of its octave, and between two exponents lies a dead zone, so that a
    small update never doubles the step, nor can two steps alternate. The gradient is that of Esser et al., "Learned Step Size
    Quantization", ICLR 2020, section 2.1, with the scale of section 2.2, taken for the logarithm as Jain et al. do, whose
    scales are powers of two too: "Trained Quantization Thresholds for Accurate and Efficient Fixed-Point Inference of Deep
    Neural Networks", MLSys 2020 (arXiv 1903.08066).

    ``spec`` says at any time what the next forward computes. A threshold stays where it is when the step moves: put it on the
    new grid with :func:`qleaky.calibration.snap_to_grid` before lowering. ``Leaky.sequence`` takes its loop over steps with
    this quantizer; call :meth:`frozen` for a plain FixedPoint when the step has been learned.

    Whether that pays depends: measure it. On Japanese Vowels with 4-bit weights and states, started from the formats that
    :func:`qleaky.quantize` chose, it cost 2.00 points of held-out accuracy (five seeds, benchmarks/learned_step.py).

    Args:
        bits: width of the code, 2..24.
        frac_bits: fractional bits to begin with.
        signed: two's complement, or unsigned.
        rounding: as for FixedPoint.

    Raises:
        FormatError: as FixedPoint; and in forward, where log2_step is not finite.

    >>> quantizer = LearnedFixedPoint(bits=4, frac_bits=2)
    >>> with torch.no_grad():
    ...     before = quantizer.log2_step.add_(0.55), quantizer.format
    ...     after = quantizer.log2_step.add_(0.1), quantizer.format
    >>> before[1], after[1]
    (Q1.2, Q2.1)
    """

    log2_step: nn.Parameter

    def __init__(self, bits: int, frac_bits: int, signed: bool = True, rounding: str | Rounding = "half_up") -> None:
        super().__init__(bits, frac_bits, signed, rounding)
        self.log2_step = nn.Parameter(torch.tensor(float(-frac_bits)))

    @property
    def spec(self) -> FixedPointSpec:
        """What the next forward computes."""
        held = self._held
        wanted = float(self.log2_step.detach())
        if not math.isfinite(wanted):
            raise FormatError(f"LearnedFixedPoint: log2_step is {wanted}; look for a diverged loss or a smaller learning rate.")
        if abs(wanted + held.format.frac_bits) <= DEAD_ZONE:
            return held
        exponent = round(min(max(wanted, -LARGEST_EXPONENT), LARGEST_EXPONENT))
        return replace(held, format=replace(held.format, frac_bits=-exponent))

    @spec.setter
    def spec(self, spec: FixedPointSpec) -> None:
        self._held = spec

    def forward(self, x: Tensor) -> Tensor:
        spec = self.spec
        if self.training and spec != self._held:
            self._held = spec
            self.spec_code.copy_(torch.tensor(spec.encode(), dtype=torch.int32))
        wide = x.to(spec.dtype_for(x.dtype))
        quantized: Tensor = _LearnedFixedPoint.apply(wide, self.log2_step, spec)  # type: ignore[no-untyped-call]
        refuse_nan(quantized)
        return quantized

    def frozen(self) -> FixedPoint:
        """A plain FixedPoint of the step there is now."""
        fmt, spec = self.format, self.spec
        return FixedPoint(fmt.bits, fmt.frac_bits, fmt.signed, spec.rounding, gradient=spec.gradient).to(self.spec_code.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A FixedPoint's checkpoint gives the step to begin with."""
        own = dict(state_dict)
        if (code := own.get(f"{prefix}spec_code")) is not None and f"{prefix}log2_step" not in own:
            own[f"{prefix}log2_step"] = torch.tensor(float(-FixedPointSpec.decode(code.tolist()).format.frac_bits))
        super()._load_from_state_dict(own, prefix, *args)


class _LearnedFixedPoint(torch.autograd.Function):
    """q(x), with gradients for x and for the logarithm of the step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, log2_step: Tensor, spec: FixedPointSpec) -> Tensor:
        ctx.save_for_backward(x, log2_step)
        ctx.spec = spec
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        return quantize_(wide.clone(), spec).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, log2_step = ctx.saved_tensors
        low, high = ctx.spec.range
        within = (x >= low) & (x <= high)
        grad_x = gradients[0] * within
        if not ctx.needs_input_grad[1]:
            return grad_x, None, None
        wide, fmt = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x, ctx.spec.format
        error = round_to_grid_(wide.clone(), fmt.frac_bits, ctx.spec.rounding).mul_(fmt.step) - wide
        slope = torch.where(within, error, wide.clamp(low, high))
        scale = math.log(2) / math.sqrt(max(x.numel(), 1) * fmt.highest)
        return grad_x, ((gradients[0] * slope).sum() * scale).to(log2_step.dtype), None

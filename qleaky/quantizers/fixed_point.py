"""``FixedPoint``: the state quantizer that lowers to integers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qleaky.dynamics import choice
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.quantizers.base import StateQuantizer
from qleaky.quantizers.grids import inside, quantize_, refuse_nan
from qleaky.quantizers.spec import FixedPointSpec, Gradient


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

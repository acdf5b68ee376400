"""What a fixed-point state quantizer does, as one frozen description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

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

"""``Levels``: the nearest of a table of levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qleaky.errors import InputError
from qleaky.quantizers.base import StateQuantizer


@dataclass(frozen=True)
class LevelsSpec:
    """All there is to a :class:`Levels` quantizer: its levels, ascending."""

    levels: tuple[float, ...]


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

"""Numbers of torch tensors as integer codes on power-of-two grids."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qleaky.errors import FormatError


def numbers(tensor: Tensor | None, where: str) -> NDArray[Any] | None:
    """A tensor's numbers, in its own precision.

    Raises:
        FormatError: NaN or infinity.
    """
    if tensor is None:
        return None
    array = tensor.detach().cpu().numpy()
    if not np.isfinite(array).all():
        raise FormatError(f"{where} hold NaN or infinity; look for a diverged training.")
    return array


def narrowest(codes: Any) -> NDArray[Any]:
    """The codes in the smallest signed NumPy type that holds them."""
    array = np.asarray(codes)
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    bits = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1
    return array.astype(f"i{next(b for b in (1, 2, 4, 8) if 8 * b >= bits)}")


def holds_exact_sums(dtype: torch.dtype) -> bool:
    """Whether torch sums integers exactly in this type."""
    return dtype in (torch.float32, torch.float64)

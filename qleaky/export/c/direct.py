"""Sums of products without packing: for convolutions of several groups, and weights too wide for lanes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qleaky.export.c.interface import ConstArray, c_type
from qleaky.export.c.text import loop
from qleaky.integer.signals import IntArray, as_integers


@dataclass(frozen=True, eq=False)
class DirectProduct:
    """sums[0] = sum_j w[first][j] * x[j], one output a call, the weights in their natural order."""

    inputs: int
    outputs: int
    constants: tuple[ConstArray, ...]
    bits: bool
    group: int = 1
    interval: int | None = None
    headers: tuple[str, ...] = ()

    def call(self, *, first: str, source: str, count: str, sums: str) -> list[str]:
        """Statements that set ``sums[0]``; ``source`` is the list of events, or the array x itself."""
        w, j = self.constants[0].name, f"{source}[j]" if self.bits else "j"
        weight = f"(int32_t){w}[{first} * {self.inputs}u + {j}]"
        term = weight if self.bits else f"{weight} * (int32_t){source}[j]"
        return ["int32_t sum = 0;", *loop("j", count, [f"sum += {term};"]), f"{sums}[0] = sum;"]


def direct_product(weight: IntArray, *, bits: bool, name: str) -> DirectProduct:
    """The product of ``weight`` (out, in) with bits or integers."""
    codes = as_integers(weight)
    ctype = c_type(int(codes.min()), int(codes.max()))
    weights = ConstArray(f"{name}_weights", ctype, codes.astype(np.int64).reshape(-1))
    return DirectProduct(weight.shape[1], weight.shape[0], (weights,), bits)

"""Weights as unsigned fields of few bits, several in one word: w = scale * b + offset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qleaky.integer.signals import IntArray, as_integers

WIDTHS = (1, 2, 4, 8)
WORD = 32


@dataclass(frozen=True, eq=False)
class Packed:
    """``weight[i, j] = scale[i] * fields[i, j] + offset[i]``, with 0 <= fields < 2**bits.

    ``scale`` and ``offset`` have one number for all outputs, or one per output; ``fields`` is (out, in).
    """

    bits: int
    fields: IntArray
    scale: IntArray
    offset: IntArray

    @property
    def largest(self) -> int:
        """The largest field; 1 where all are 0, so that dividing by it says something."""
        return max(1, int(self.fields.max()))

    @property
    def largest_sum(self) -> int:
        """The largest sum of all fields of one output: what its lane holds when every input is 1."""
        return int(self.fields.sum(axis=1).max())

    @property
    def reach(self) -> int:
        """A bound on every number on the way to an output: |offset| * count and scale * sum, for any number of events."""
        sums = self.fields.sum(axis=1).astype(object)
        offsets = np.abs(self.offset.astype(object)) * self.fields.shape[1]
        return int(np.max(self.scale.astype(object) * sums + offsets))


def pack(weight: IntArray) -> Packed | None:
    """Weights (out, in) as the narrowest fields; None where an output needs more than 8 bits.

    offset is an output's smallest weight, scale the greatest common divisor of what is above it:

    >>> binary = pack(np.array([[-1, 1, 1], [1, -1, 1]]))
    >>> binary.bits, binary.scale.tolist(), binary.offset.tolist(), binary.fields.tolist()
    (1, [2], [-1], [[0, 1, 1], [1, 0, 1]])

    All outputs share them where that takes no more bits than each having its own.
    """
    weight = as_integers(weight)
    shared, own = _packed(weight, axis=None), _packed(weight, axis=1)
    return shared if shared is not None and own is not None and shared.bits == own.bits else own


def _packed(weight: IntArray, axis: int | None) -> Packed | None:
    if weight.dtype == object:
        return None
    offset = weight.min(axis=axis, keepdims=True)
    scale = np.maximum(np.gcd.reduce(weight - offset, axis=axis, keepdims=True), 1)
    fields = (weight - offset) // scale
    width = int(fields.max()).bit_length()
    bits = next((bits for bits in WIDTHS if width <= bits), None)
    return None if bits is None else Packed(bits, fields, scale.reshape(-1), offset.reshape(-1))


def words(fields: IntArray, *, bits: int, group: int) -> IntArray:
    """Fields (out, in) as 32-bit words, group by group of outputs, in each input by input: (groups, in, group * bits / 32).

    Output ``group * g + i`` stands in word ``i * bits // 32`` of its row, at bit ``i * bits % 32`` and up; what fills
    up the last group is 0.

    >>> words(np.array([[1, 2], [3, 4]]), bits=8, group=4).tolist()
    [[[769], [1026]]]
    """
    outputs, inputs = fields.shape
    groups, per_word = -(-outputs // group), WORD // bits
    filled = np.zeros((groups * group, inputs), np.uint32)
    filled[:outputs] = fields
    lanes = filled.reshape(groups, group // per_word, per_word, inputs)
    shifts = (np.arange(per_word, dtype=np.uint32) * np.uint32(bits))[:, None]
    packed: IntArray = np.bitwise_or.reduce(lanes << shifts, axis=2).transpose(0, 2, 1)
    return packed

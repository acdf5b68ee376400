"""Matrix products in C: sums[i] = sum over j of w[i][j] * x[j], over the events of bits, or over integers.

Three forms. Bits times weights of at most 8 bits: packed lanes (export/c/runtime/qleaky_lanes.h). Bits times wider ones: one
addition each. Integers: one multiplication each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from qleaky.errors import InputError
from qleaky.export.c.interface import ConstArray, c_type
from qleaky.export.c.packing import WORD, Packed, pack, words
from qleaky.integer.signals import IntArray, absolute_sums, as_integers

INT32 = (1 << 31) - 1
LANE16, LANE8 = (1 << 16) - 1, (1 << 8) - 1
PLAIN_GROUP = 4
RUNTIME = ("qleaky_runtime.h",)
LANES = (*RUNTIME, "qleaky_lanes.h")
# Outputs of a call by the bits of a field, each with its instructions per event on a Cortex-M4: a network of 10 outputs takes
# one call of 12 rather than two of 8.
GROUPS = {8: {4: 7, 8: 10, 12: 16}, 4: {8: 8, 16: 12}, 2: {16: 8}, 1: {32: 11}}


@dataclass(frozen=True, eq=False)
class Product(ABC):
    """One product as C. ``group``: outputs of one :meth:`call`; the last call may compute sums of outputs that are not there.

    ``bits`` is the width of a packed field, None where weights are plain; ``interval`` the largest number of events after which
    packed lanes must be emptied.
    """

    inputs: int
    outputs: int
    group: int
    bits: int | None
    interval: int | None
    headers: tuple[str, ...]
    constants: tuple[ConstArray, ...]

    @abstractmethod
    def call(self, *, first: str, source: str, count: str, sums: str) -> list[str]:
        """C statements, one block, for ``sums[i] = sum over j of w[first + i][j] * x[j]``, i = 0 to group - 1, without bias.

        Args:
            first: expression of the first output, a multiple of ``group``.
            source: the events, ``const uint16_t *``; for integers their array.
            count: expression of the number of events, uint32_t; integers don't read it.
            sums: an array of ``group`` int32_t.

        Names that begin with ``product_`` are the block's own.
        """


def product(weight: IntArray, x: Literal["bits"] | tuple[int, int], *, name: str, dsp: bool = False) -> Product:
    """The product of ``weight`` (out, in) with bits, or with integers in the range ``x``, inclusive.

    Args:
        weight: integer codes.
        x: "bits" (given as events, the indices of ones), or the smallest and the largest integer.
        name: prefix of the constants' names.
        dsp: the source is compiled with ``QLEAKY_DSP``. The text and the constants are the same; the header takes the
            instructions.

    Raises:
        InputError: a sum, or a number on the way to it, could pass 32 bits.
    """
    weight = as_integers(weight)
    low, high = (0, 1) if x == "bits" else x
    _check(weight, max(abs(low), abs(high)), name)
    if x != "bits":
        return DenseProduct.of(weight, name)
    packed = pack(weight)
    if packed is not None and packed.reach <= INT32:
        return PackedProduct.of(packed, name)
    return EventProduct.of(weight, name)


def _check(weight: IntArray, magnitude: int, name: str) -> None:
    """No sum of any of the terms passes int32."""
    worst = int(absolute_sums(weight).max()) * max(magnitude, 1)
    if worst > INT32:
        raise InputError(
            f"{name}: a sum of products can reach {worst}, more than the 2147483647 that 32 bits hold on a microcontroller. "
            f"Use fewer bits for the weights or the inputs of this layer, or fewer inputs."
        )


@dataclass(frozen=True, eq=False)
class PackedProduct(Product):
    """Bits times packed weights: w = scale * b + offset, so sums = scale * (lanes) + offset * (number of events)."""

    packed: Packed
    name: str

    @classmethod
    def of(cls, packed: Packed, name: str) -> PackedProduct:
        """Fields widened while a row takes no more words, then the group that takes the fewest instructions."""
        outputs, inputs = packed.fields.shape
        bits = packed.bits
        while bits < 8 and _row_words(outputs, 2 * bits) == _row_words(outputs, bits):
            bits *= 2
        group = min(GROUPS[bits], key=lambda group: -(-outputs // group) * GROUPS[bits][group])
        rows = words(packed.fields, bits=bits, group=group)
        constants = [ConstArray(f"{name}_weights", "uint32_t", rows.reshape(-1))]
        if packed.scale.size > 1:
            constants += [_padded(f"{name}_{what}", getattr(packed, what), group) for what in ("scale", "offset")]
        interval = (LANE16 if bits == 8 else LANE8) // packed.largest
        return cls(
            inputs=inputs,
            outputs=outputs,
            group=group,
            bits=bits,
            interval=interval,
            headers=LANES,
            constants=tuple(constants),
            packed=packed,
            name=name,
        )

    def call(self, *, first: str, source: str, count: str, sums: str) -> list[str]:
        """See :meth:`Product.call`; lanes are emptied as the static assertions say."""
        shared = self.packed.scale.size == 1
        offset = int(self.packed.offset[0]) if shared else 0
        assert self.bits is not None
        lines = [
            *self._assertions(),
            f"const uint32_t *const product_rows = {self.name}_weights + ({first}) / {WORD // self.bits}u * {self.inputs}u;",
            f"qleaky_start({sums}, {self.group}u, {_times(offset, f'(int32_t)({count})')});",
            *self._sums(source, count, str(int(self.packed.scale[0])) if shared else "1", sums),
        ]
        if not shared:
            lines += self._rescaled(first, count, sums)
        return ["{", *(f"    {line}" for line in lines), "}"]

    def _assertions(self) -> list[str]:
        """What keeps every lane below its width."""
        largest, found = self.packed.largest, []
        if self._splits:
            found.append(_assertion(f"{LANE16 // largest}u * {largest}u <= {LANE16}u", f"{self.name}_16_bit_lanes_hold"))
        elif self.bits in (4, 8):
            found.append(_assertion(f"{self.packed.largest_sum}u <= {LANE16}u", f"{self.name}_16_bit_lanes_hold"))
        if self.bits != 8:
            found.append(_assertion(f"{self.interval}u * {largest}u <= {LANE8}u", f"{self.name}_8_bit_lanes_hold"))
        return found

    @property
    def _splits(self) -> bool:
        """Whether there can be more events than lanes of 16 bits hold; narrower fields go from lanes of 8 bits to sums."""
        return self.bits in (4, 8) and self.packed.largest_sum > LANE16

    def _sums(self, source: str, count: str, scale: str, sums: str) -> list[str]:
        most = [] if self.bits == 8 else [f"{self.interval}u"]
        kernel = f"qleaky_sum_{self.bits}x{self.group}"
        if not self._splits:
            return [f"{kernel}({', '.join(['product_rows', source, count, *most, scale, sums])});"]
        interval = LANE16 // self.packed.largest
        return [
            f"const uint16_t *product_events = {source};",
            f"uint32_t product_left = {count};",
            "while (product_left != 0u) {",
            f"    const uint32_t product_part = product_left < {interval}u ? product_left : {interval}u;",
            f"    {kernel}({', '.join(['product_rows', 'product_events', 'product_part', *most, scale, sums])});",
            "    product_events += product_part;",
            "    product_left -= product_part;",
            "}",
        ]

    def _rescaled(self, first: str, count: str, sums: str) -> list[str]:
        at = f"({first}) + product_i"
        return [
            f"for (uint32_t product_i = 0u; product_i < {self.group}u; ++product_i) {{",
            f"    {sums}[product_i] = {self.name}_scale[{at}] * {sums}[product_i]",
            f"        + {self.name}_offset[{at}] * (int32_t)({count});",
            "}",
        ]


@dataclass(frozen=True, eq=False)
class PlainProduct(Product):
    """Weights as numbers of their own: (groups, inputs, group), outputs filled up with zeros."""

    name: str

    @classmethod
    def of(cls, weight: IntArray, name: str) -> Self:
        """Groups of up to four outputs, as even as they get: five are three and two."""
        outputs, inputs = weight.shape
        groups = -(-outputs // PLAIN_GROUP)
        group = -(-outputs // groups)
        filled = np.zeros((groups * group, inputs), np.int64)
        filled[:outputs] = weight
        rows = filled.reshape(groups, group, inputs).transpose(0, 2, 1)
        ctype = c_type(int(filled.min()), int(filled.max()))
        return cls(
            inputs=inputs,
            outputs=outputs,
            group=group,
            bits=None,
            interval=None,
            headers=RUNTIME,
            constants=(ConstArray(f"{name}_weights", ctype, rows.reshape(-1)),),
            name=name,
        )

    def _block(self, sums: str, first: str, loop: list[str]) -> list[str]:
        ctype, places = self.constants[0].ctype, range(self.group)
        return [
            "{",
            f"    const {ctype} *product_row = {self.name}_weights + ({first}) * {self.inputs}u;",
            *(f"    int32_t product_{i} = 0;" for i in places),
            *(f"    {line}" for line in loop),
            *(f"    {sums}[{i}] = product_{i};" for i in places),
            "}",
        ]


class EventProduct(PlainProduct):
    """Bits times weights of more than 8 bits: one row for each event."""

    def call(self, *, first: str, source: str, count: str, sums: str) -> list[str]:
        """See :meth:`Product.call`."""
        ctype = self.constants[0].ctype
        loop = [
            f"for (uint32_t product_i = 0u; product_i < {count}; ++product_i) {{",
            f"    const {ctype} *product_at = product_row + {self.group}u * ({source})[product_i];",
            "    QLEAKY_IN_REGISTER(product_at);",  # clang 14 crashes where it makes vectors of this, for Cortex-M55
            *(f"    product_{i} += product_at[{i}];" for i in range(self.group)),
            "}",
        ]
        return self._block(sums, first, loop)


class DenseProduct(PlainProduct):
    """Integers times weights: every input is read once for all outputs of a group."""

    def call(self, *, first: str, source: str, count: str, sums: str) -> list[str]:
        """See :meth:`Product.call`."""
        loop = [
            "QLEAKY_VECTOR_LOOP",
            f"for (uint32_t product_j = 0u; product_j < {self.inputs}u; ++product_j) {{",
            f"    const int32_t product_x = ({source})[product_j];",
            *(f"    product_{i} += product_row[{i}] * product_x;" for i in range(self.group)),
            f"    product_row += {self.group};",
            "}",
        ]
        return self._block(sums, first, loop)


def _row_words(outputs: int, bits: int) -> int:
    return -(-outputs * bits // WORD)


def _padded(name: str, values: IntArray, group: int) -> ConstArray:
    """One number per output, zeros up to a whole group."""
    filled = np.concatenate([values, np.zeros(-len(values) % group, np.int64)])
    return ConstArray(name, c_type(int(filled.min()), int(filled.max())), filled)


def _times(factor: int, expression: str) -> str:
    return "0" if factor == 0 else expression if factor == 1 else f"{factor} * {expression}"


def _assertion(condition: str, identifier: str) -> str:
    return f"QLEAKY_STATIC_ASSERT({condition}, {identifier});"

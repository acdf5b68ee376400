"""C functions of one layer's neurons, and the constants that they share: literals where all neurons agree, else arguments."""

from __future__ import annotations

import re

import numpy as np

from qleaky.export.c.expressions import literal
from qleaky.export.c.interface import ConstArray, c_type
from qleaky.integer.signals import IntArray, as_integers


class Functions:
    """Text that grows function by function.

    A constant of the layer has a name (``theta``). Where neurons differ, functions whose text reads it take it as a parameter
    of that name, after their own, and its values stand in a :class:`ConstArray` ``prefix_theta``.
    """

    def __init__(self, prefix: str, shape: tuple[int, ...]) -> None:
        self.prefix, self.shape = prefix, shape
        self.text = ""
        self.arrays: dict[str, ConstArray] = {}
        self._taken: dict[str, list[str]] = {}

    def constant(self, name: str, values: IntArray) -> str:
        """What stands for one neuron's number in an expression.

        Raises:
            StopIteration: a number that no C type of 32 bits holds.
        """
        numbers = as_integers(values)
        low, high = int(numbers.min()), int(numbers.max())
        ctype = c_type(low, high)
        if low == high:
            return literal(low)
        own = np.broadcast_to(numbers, self.shape).reshape(-1)
        self.arrays[name] = ConstArray(f"{self.prefix}_{name}", ctype, own.astype(ctype.removesuffix("_t")))
        return name

    def define(self, name: str, parameters: str, *lines: str, comment: str) -> None:
        """One more function ``prefix_name``, which returns int32_t; ``comment`` is its equation."""
        body = "".join(f"    {line}\n" for line in lines)
        taken = [each for each in self.arrays if re.search(rf"\b{each}\b", body)]
        self._taken[name] = taken
        everything = ", ".join([parameters, *(f"int32_t {each}" for each in taken)])
        self.text += f"/* {comment} */\nQLEAKY_INLINE int32_t {self.prefix}_{name}({everything}) {{\n{body}}}\n\n"

    def call(self, name: str, *arguments: str) -> str:
        """An expression that calls a function which was defined."""
        return f"{self.prefix}_{name}({', '.join([*arguments, *self._taken[name]])})"

    def taken(self, name: str) -> tuple[ConstArray, ...]:
        """The constants whose elements a function takes after its own arguments, in order."""
        return tuple(self.arrays[each] for each in self._taken[name])

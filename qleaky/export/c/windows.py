"""Loops over sliding windows: which taps lie inside the input, as C text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qleaky.export.c.text import block, literal, loop
from qleaky.integer.windows import Window


@dataclass(frozen=True)
class Axis:
    """One spatial axis: ``size`` of the input, ``places`` of the output.

    ``place``, ``tap`` and ``coordinate`` name C variables. The coordinate, in the input, is int32_t; so is the place where it
    is ``signed``: a coordinate itself.
    """

    size: int
    places: int
    kernel: int
    stride: int
    before: int
    dilation: int
    place: str
    tap: str
    coordinate: str
    signed: bool = False

    @property
    def lowest(self) -> int:
        """The coordinate of the first tap of the first place."""
        return -self.before

    @property
    def reach(self) -> int:
        """The coordinate of the last tap of the last place."""
        return (self.places - 1) * self.stride + (self.kernel - 1) * self.dilation - self.before

    @property
    def condition(self) -> str | None:
        """When a tap lies inside the input; None where all do."""
        below = [f"{self.coordinate} >= 0"] if self.lowest < 0 else []
        above = [f"{self.coordinate} < {self.size}"] if self.reach >= self.size else []
        return " && ".join(below + above) or None

    @property
    def start(self) -> str:
        """The coordinate of tap 0, an int32_t expression."""
        return _sum(self._at_place, -self.before)

    def defined(self, body: list[str]) -> list[str]:
        """``body`` behind the declaration of the coordinate, where it uses that."""
        if not re.search(rf"\b{self.coordinate}\b", "\n".join(body)):
            return body
        terms = self._at_place + ([_times(f"(int32_t){self.tap}", self.dilation)] if self.kernel > 1 else [])
        return [f"const int32_t {self.coordinate} = {_sum(terms, -self.before)};", *body]

    @property
    def _at_place(self) -> list[str]:
        place = self.place if self.signed else f"(int32_t){self.place}"
        return [_times(place, self.stride)] if self.places > 1 else []

    def index(self, stride: int) -> list[tuple[str, int]]:
        """The coordinate's term in an index of the input; none where it is always 0."""
        return [] if self.size == 1 and self.condition is None else [(f"(uint32_t){self.coordinate}", stride)]

    @property
    def place_index(self) -> list[tuple[str, int]]:
        """The place's variable; none where there is but one."""
        return [(self.place, 1)] if self.places > 1 else []


def axes_of(window: Window, sizes: Sequence[int], places: Sequence[int], names: str = "yx") -> tuple[Axis, Axis]:
    """Both axes of a window; a window over a line has a first axis of one place and one tap.

    ``names`` tells them apart: y and x are (oy, ky, iy) and (ox, kx, ix).
    """
    lead = 2 - len(window.kernel)
    kernel, stride, dilation = ((1,) * lead + tuple(part) for part in (window.kernel, window.stride, window.dilation))
    before = (0,) * lead + tuple(pair[0] for pair in window.pads)
    sizes, places = (1,) * lead + tuple(sizes), (1,) * lead + tuple(places)
    letters = (("o", "k", "i"), ("p", "t", "c"))[names != "yx"]
    made = [
        Axis(*numbers, *(f"{letter}{'yx'[i]}" for letter in letters))
        for i, numbers in enumerate(zip(sizes, places, kernel, stride, before, dilation, strict=True))
    ]
    return made[0], made[1]


def over_places(axes: tuple[Axis, Axis], body: list[str]) -> list[str]:
    """``body`` for every place, row by row; an axis of one place has no loop."""
    for axis in reversed(axes):
        if axis.places > 1:
            body = loop(axis.place, axis.places, body)
    return body


def over_taps(axes: tuple[Axis, Axis], body: list[str]) -> list[str]:
    """``body`` for every tap of a place that lies inside the input, with its coordinates declared."""
    for axis in reversed(axes):
        inner = axis.defined(body if axis.condition is None else block(f"if ({axis.condition})", body))
        body = loop(axis.tap, axis.kernel, inner) if axis.kernel > 1 else inner
    return body


def inside(axes: tuple[Axis, Axis]) -> str | None:
    """When a tap lies inside the input on both axes; None where all do."""
    return " && ".join(axis.condition for axis in axes if axis.condition is not None) or None


def _times(variable: str, factor: int) -> str:
    return variable if factor == 1 else f"{variable} * {factor}"


def _sum(terms: list[str], number: int) -> str:
    if not terms:
        return literal(number)
    tail = "" if number == 0 else f" + {number}" if number > 0 else f" - {-number}"
    return " + ".join(terms) + tail

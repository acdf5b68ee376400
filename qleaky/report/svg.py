"""Inline SVG: a frame with axes, and marks given as paths. Colours are classes, so that the page's light and dark both fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from qleaky.report.text import number

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 56, 10, 8, 22
TICKS = 8


@dataclass(frozen=True)
class Frame:
    """The rectangle of a plot: steps ``first`` to ``last`` from left to right, ``low`` to ``high`` upwards."""

    first: float
    last: float
    low: float
    high: float
    height: int

    def x(self, step: float) -> float:
        """Where a step is."""
        span = max(self.last - self.first, 1e-9)
        return LEFT + (step - self.first) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value is; at the edge where it lies beyond."""
        span = max(self.high - self.low, 1e-9)
        return TOP + min(max((self.high - value) / span, 0.0), 1.0) * (self.height - TOP - BOTTOM)


def svg(frame: Frame, parts: Iterable[Markup], title: str) -> Markup:
    """The whole picture; ``title`` is what a screen reader says of it."""
    body = Markup("").join(parts)
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, frame.height, title, body
    )


def axes(frame: Frame, steps: range, values: Iterable[tuple[float, str]]) -> Markup:
    """The frame's border, steps below it, and the given values at its left."""
    base = frame.height - BOTTOM
    parts = [
        Markup('<rect class="frame" x="{}" y="{}" width="{}" height="{}"/>').format(LEFT, TOP, WIDTH - LEFT - RIGHT, base - TOP)
    ]
    stride = max(1, -(-len(steps) // TICKS))
    parts += [label(frame.x(step), base + 15, number(step), "middle") for step in steps[::stride]]
    parts += [label(LEFT - 6, frame.y(value) + 4, words, "end") for value, words in values]
    return Markup("").join(parts)


def label(x: float, y: float, words: str, anchor: str) -> Markup:
    """Text at a place."""
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(at(x), at(y), anchor, escape(words))


def path(data: str, kind: str) -> Markup:
    """A path of a class; nothing where there is nothing to draw."""
    return Markup('<path class="{}" d="{}"/>').format(kind, data) if data else Markup("")


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """A line through points, as a path's data."""
    return "".join(f"{'L' if i else 'M'}{at(x)} {at(y)}" for i, (x, y) in enumerate(points))


def dots(points: Iterable[tuple[float, float]], kind: str) -> Markup:
    """A dot at each point, in the colour of a line's class."""
    return path("".join(f"M{at(x)} {at(y)}h0" for x, y in points), f"dot {kind}")


def at(value: float) -> str:
    """A coordinate, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")

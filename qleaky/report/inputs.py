"""What went in: a picture of one sample's input, in shades of the page's own colours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.report import svg
from qleaky.report.rasters import MOST_ROWS, Figure, shown_steps
from qleaky.report.text import number, shape, visible

if TYPE_CHECKING:
    from qleaky.verification.evidence import Sample

SHADES, GAP, MOST_PLANES = 8, 2, 4
Array = NDArray[Any]


def picture(network: IntegerNetwork | FloatNetwork, sample: Sample, name: str, focus: int | None = None) -> Figure:
    """One input: steps from left to right where it is a row of numbers for each, else planes side by side."""
    source = next(each for each in network.inputs if each.name == name)
    values = _values(source, sample.codes[name])
    largest = float(np.abs(values).max()) or 1.0
    title = f"{named(name)} of sample {sample.index}"
    when = "at each step" if source.time == "sequence" else "that stay the same at every step"
    low, high = (number(float(end)) for end in (values.min(), values.max()))
    words = f"{shape(source.shape)} numbers {when}, from {low} to {high}. "
    if source.time == "sequence" and len(source.shape) <= 1:
        drawn, more = _over_time(values.reshape(len(values), -1), largest, focus, title)
        words += f"Steps from left to right, channels upwards. {more}"
    else:
        planes, more = _planes(values.sum(axis=0) if source.time == "sequence" else values)
        largest = float(np.abs(planes).max()) or 1.0
        drawn = _side_by_side(planes, largest, title)
        words += f"{'Summed over time. ' if source.time == 'sequence' else ''}{more}"
    return Figure(title, drawn, words.strip(), _marks(values))


def named(name: str) -> str:
    """What an input is called: one that has no name of its own, just that."""
    return "Input" if name == "input" else f"Input {visible(name)}"


def _values(source: Any, codes: Array) -> Array:
    """Codes -> values, so that zero is zero; floats stay."""
    return (
        codes.astype(float) if codes.dtype.kind == "f" or source.format is None else source.format.decode(codes).astype(float)
    )


def _marks(values: Array) -> tuple[tuple[str, str], ...]:
    return (("positive", "above zero"), ("negative", "below zero")) if values.min() < 0 else (("positive", "above zero"),)


def _over_time(values: Array, largest: float, focus: int | None, title: str) -> tuple[Markup, str]:
    steps = shown_steps(len(values), focus)
    rows = np.unique(np.linspace(0, values.shape[1] - 1, min(values.shape[1], MOST_ROWS)).astype(int))
    shown = values[steps.start : steps.stop, rows].T
    frame = svg.Frame(steps.start - 0.5, steps.stop - 0.5, -0.5, len(rows) - 0.5, max(80, min(260, 36 + 10 * len(rows))))
    labels = [(float(place), number(int(rows[place]))) for place in sorted({0, len(rows) - 1})]
    cell = (frame.x(1) - frame.x(0), frame.y(0) - frame.y(1) if len(rows) > 1 else frame.height - svg.TOP - svg.BOTTOM)
    corner = (frame.x(steps.start - 0.5), frame.y(-0.5))
    parts = [_cells(shown, largest, corner, (cell[0], -cell[1])), svg.axes(frame, steps, labels)]
    more = f"Shown are {len(rows)} of {values.shape[1]} channels. " if len(rows) < values.shape[1] else ""
    if len(steps) < len(values):
        more += f"Shown are steps {steps.start:,} to {steps.stop - 1:,}."
    return svg.svg(frame, parts, title), more


def _planes(values: Array) -> tuple[Array, str]:
    """Any sample as planes (n, height, width)."""
    if values.ndim <= 1:
        flat = values.reshape(-1)
        width = math.isqrt(flat.size - 1) + 1
        padded = np.concatenate([flat, np.zeros(-flat.size % width)])
        return padded.reshape(1, -1, width), f"In rows of {width}, from the top."
    planes = values.reshape(-1, *values.shape[-2:]) if values.ndim > 2 else values[None]
    more = f"The first {MOST_PLANES} of {len(planes)} planes. " if len(planes) > MOST_PLANES else ""
    kept = planes[:MOST_PLANES, :: -(-planes.shape[1] // MOST_ROWS), :: -(-planes.shape[2] // MOST_ROWS)]
    return kept, more


def _side_by_side(planes: Array, largest: float, title: str) -> Markup:
    count, height, width = planes.shape
    cell = min(260 / height, (svg.WIDTH - GAP) / (count * (width + GAP)))
    frame = svg.Frame(0, 1, 0, 1, math.ceil(cell * height) + 2)
    parts = []
    for place, plane in enumerate(planes):
        left = 1 + place * (width + GAP) * cell
        parts.append(_cells(plane, largest, (left, 1), (cell, cell)))
        parts.append(
            Markup('<rect class="frame" x="{}" y="1" width="{}" height="{}"/>').format(
                svg.at(left), svg.at(width * cell), svg.at(height * cell)
            )
        )
    return svg.svg(frame, parts, title)


def _cells(values: Array, largest: float, corner: tuple[float, float], cell: tuple[float, float]) -> Markup:
    """One path for each shade; neighbours of a shade along a row are one bar."""
    levels = np.where(values == 0, 0, np.sign(values) * np.maximum(1, np.rint(np.abs(values) / largest * SHADES))).astype(int)
    parts = []
    for level in range(-SHADES, SHADES + 1):
        if level and (bars := _bars(levels == level, corner, cell)):
            kind = "positive" if level > 0 else "negative"
            parts.append(Markup('<path class="{}" fill-opacity="{}" d="{}"/>').format(kind, abs(level) / SHADES, bars))
    return Markup("").join(parts)


def _bars(where: Array, corner: tuple[float, float], cell: tuple[float, float]) -> str:
    data = []
    for row, line in enumerate(where):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        y = svg.at(corner[1] + row * cell[1])
        for start, end in edges.reshape(-1, 2):
            x, width = svg.at(corner[0] + start * cell[0]), svg.at((end - start) * cell[0])
            data.append(f"M{x} {y}h{width}v{svg.at(cell[1])}h-{width}z")
    return "".join(data)

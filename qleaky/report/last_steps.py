"""A first divergence, zoomed: one neuron over its last steps, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from qleaky.report import svg
from qleaky.report.membranes import finite, frame_of, threshold_line, value_labels
from qleaky.report.rasters import Figure
from qleaky.report.text import number, visible

if TYPE_CHECKING:
    from qleaky.verification.evidence import LastSteps

HEIGHT = 230
NAMES = {"syn": "synaptic current", "mem": "membrane", "spk": "spike"}


@dataclass(frozen=True)
class Zoom:
    """A picture and a table; a cell is its text and whether it differs."""

    figure: Figure
    headings: tuple[str, ...]
    rows: tuple[tuple[tuple[str, bool], ...], ...]
    notes: tuple[str, ...]


def zoom(last: LastSteps, reference: str) -> Zoom:
    """The neuron of ``last``; ``reference`` names the run that is right."""
    kinds = [kind for kind in NAMES if kind in last.expected and kind in last.got]
    headings = ["step", *(["current in"] if last.current is not None else [])]
    headings += [f"{NAMES[kind]}, {who}" for kind in kinds for who in ("expected", "found")]
    return Zoom(_figure(last, reference), tuple(headings), tuple(_rows(last, kinds)), tuple(_notes(last)))


def _rows(last: LastSteps, kinds: list[str]) -> Iterator[tuple[tuple[str, bool], ...]]:
    for place in range(len(last.expected["mem"])):
        cells = [(number(last.first_step + place), False)]
        if last.current is not None:
            cells.append((number(float(last.current[place])), False))
        for kind in kinds:
            expected, got = float(last.expected[kind][place]), float(last.got[kind][place])
            cells += [(_shown(expected), False), (_shown(got), expected != got)]
        yield tuple(cells)


def _shown(value: float) -> str:
    return number(value, 9) if np.isfinite(value) else str(value)


def _notes(last: LastSteps) -> Iterator[str]:
    if last.theta is not None:
        yield f"The threshold of this neuron is {number(last.theta)}."
    if last.current is not None:
        yield "“Current in” is what the layer receives, on the grid of its input; it is the reference's."
    if not last.seen_again:
        yield (
            "Run once more for this page, alone, the sample did not give the number that the check found: the difference comes "
            "and goes, or depends on the other samples of its batch."
        )


def _figure(last: LastSteps, reference: str) -> Figure:
    steps = range(last.first_step, last.first_step + len(last.expected["mem"]))
    lines = {reference: finite(last.expected["mem"]), last.got_by: finite(last.got["mem"])}
    theta = float(last.theta or 0.0)
    frame = frame_of(steps, [*lines.values(), np.array([theta])], HEIGHT)
    parts = [svg.axes(frame, steps, value_labels(frame, theta)), threshold_line(frame, theta)]
    for line, kind in zip(lines.values(), ("line-first", "line-second"), strict=True):
        points = [(frame.x(t), frame.y(v)) for t, v in zip(steps, line, strict=True)]
        parts.append(svg.path(svg.polyline(points), kind))
        parts.append(svg.path("".join(f"M{svg.at(x)} {svg.at(y)}h0" for x, y in points), f"dot {kind}"))
    parts.append(_spikes(frame, steps, last))
    x = svg.at(frame.x(last.divergence.step))
    parts.append(svg.path(f"M{x} {svg.TOP}V{HEIGHT - svg.BOTTOM}", "here"))
    place = f"neuron {list(last.divergence.element)} of layer {visible(last.divergence.layer)}, sample {last.divergence.sample}"
    marks = (("line-first", reference), ("line-second", last.got_by), ("theta", "threshold"), ("here", "the first difference"))
    title = f"Membrane of {place}"
    return Figure(title, svg.svg(frame, parts, title), "Ticks above are spikes: expected on top, found below them.", marks)


def _spikes(frame: svg.Frame, steps: range, last: LastSteps) -> Markup:
    """Ticks of both runs, one row below the other."""
    parts = []
    for spikes, top, kind in (
        (last.expected["spk"], svg.TOP + 2, "line-first"),
        (last.got["spk"], svg.TOP + 14, "line-second"),
    ):
        data = "".join(f"M{svg.at(frame.x(t))} {top}v10" for t, s in zip(steps, spikes, strict=True) if s != 0)
        parts.append(svg.path(data, f"fired {kind}"))
    return Markup("").join(parts)

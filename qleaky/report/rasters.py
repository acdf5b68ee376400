"""Spikes of every run over each other: where runs agree, one mark; where they do not, a mark of its own for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from qleaky.report import svg, text
from qleaky.report.text import number, plural

if TYPE_CHECKING:
    from qleaky.verification.evidence import Sample

MOST_ROWS, MOST_STEPS = 96, 240
Array = NDArray[Any]


@dataclass(frozen=True)
class Figure:
    """A picture, what stands below it, and the marks it uses as (class, words)."""

    title: str
    picture: Markup
    caption: str
    marks: tuple[tuple[str, str], ...] = ()


def raster(sample: Sample, layer: str, focus: int | None = None) -> Figure:
    """The spikes of one layer; ``focus`` is a step that must be shown."""
    spikes = {label: run.spikes[layer][:, 0].reshape(len(run.spikes[layer]), -1) for label, run in sample.runs.items()}
    labels = list(spikes)
    fired = np.stack([spikes[label] != 0 for label in labels])
    apart = (np.stack([spikes[label] for label in labels]) != spikes[labels[0]]).any(axis=0)
    steps = shown_steps(fired.shape[1], focus)
    rows = _shown_rows(np.logical_or.reduce(fired, axis=(0, 1)), apart[steps.start : steps.stop].any(axis=0))
    frame = svg.Frame(steps.start - 0.5, steps.stop - 0.5, -0.5, len(rows) - 0.5, max(90, min(300, 40 + 4 * len(rows))))
    parts = [svg.axes(frame, steps, _row_labels(rows))]
    parts += [svg.path(data, kind) for data, kind in _marks(frame, fired[:, steps.start : steps.stop, rows], steps.start)]
    title = f"Spikes of layer {text.visible(layer)} in {text.listed(labels)}"
    return Figure(title, svg.svg(frame, parts, title), _caption(fired, apart, rows, steps, labels), _legend(labels, apart))


def shown_steps(count: int, focus: int | None) -> range:
    """All steps, or as many as fit around the one that matters."""
    if count <= MOST_STEPS:
        return range(count)
    start = 0 if focus is None else min(max(focus - 3 * MOST_STEPS // 4, 0), count - MOST_STEPS)
    return range(start, start + MOST_STEPS)


def _shown_rows(active: Array, apart: Array) -> list[int]:
    """Every neuron; where that is too many, those that differ, then evenly spaced ones of those that fired."""
    if len(active) <= MOST_ROWS:
        return list(range(len(active)))
    differing = np.flatnonzero(apart)[: MOST_ROWS // 2]
    rest = np.flatnonzero(active & ~apart) if active.any() else np.arange(len(active))
    spaced = np.linspace(0, len(rest) - 1, min(MOST_ROWS - len(differing), len(rest))).astype(int)
    return sorted({int(row) for row in (*differing, *rest[spaced])})


def _row_labels(rows: Sequence[int]) -> list[tuple[float, str]]:
    ends = sorted({0, len(rows) - 1})
    return [(float(place), number(rows[place])) for place in ends]


def _marks(frame: svg.Frame, fired: Array, start: int) -> Iterator[tuple[str, str]]:
    """Upright strokes for spikes that all runs have; a cross for a spike only expected, a ring for one only found."""
    yield _strokes(frame, np.logical_and.reduce(fired), start), "spike"
    for number_of_run in range(1, len(fired)):
        yield _crosses(frame, fired[0] & ~fired[number_of_run], start), "missing"
        yield _rings(frame, fired[number_of_run] & ~fired[0], start), "extra"


def _strokes(frame: svg.Frame, where: Array, start: int) -> str:
    length = svg.at(max(frame.y(0) - frame.y(0.8), 1.2))
    return "".join(f"M{svg.at(frame.x(start + t))} {svg.at(frame.y(row + 0.4))}v{length}" for t, row in np.argwhere(where))


def _crosses(frame: svg.Frame, where: Array, start: int) -> str:
    places = ((frame.x(start + t), frame.y(row)) for t, row in np.argwhere(where))
    return "".join(f"M{svg.at(x - 4)} {svg.at(y - 4)}l8 8m-8 0l8 -8" for x, y in places)


def _rings(frame: svg.Frame, where: Array, start: int) -> str:
    places = ((frame.x(start + t), frame.y(row)) for t, row in np.argwhere(where))
    return "".join(f"M{svg.at(x - 4)} {svg.at(y)}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0" for x, y in places)


def _legend(labels: Sequence[str], apart: Array) -> tuple[tuple[str, str], ...]:
    marks = [("spike", f"spike in {text.listed(labels)}")]
    if apart.any():
        marks += [("missing", f"only in the {labels[0]}" if labels[0] == "reference" else f"only in {labels[0]}")]
        marks += [("extra", f"only in {' or '.join(labels[1:])}")]
    return tuple(marks)


def _caption(fired: Array, apart: Array, rows: Sequence[int], steps: range, labels: Sequence[str]) -> str:
    count, (_, total_steps, neurons) = int(fired[0].sum()), fired.shape
    same = "the same in every run" if not apart.any() else f"{plural(int(apart.sum()), 'place')} where runs differ"
    words = f"{plural(count, 'spike')} in {plural(total_steps, 'step')}, {same}. Steps from left to right, neurons upwards."
    if len(rows) < neurons:
        which = "those that fired" if len(rows) < MOST_ROWS else "some of those that fired"
        which += " or differ" if apart.any() else ""
        words += f" Shown are {len(rows)} of {neurons:,} neurons" + (f", {which}." if fired.any() else ".")
    if len(steps) < total_steps:
        words += f" Shown are steps {steps.start:,} to {steps.stop - 1:,}."
    return words

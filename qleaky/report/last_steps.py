"""A first divergence, zoomed: one neuron over its last steps, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from qleaky.report import svg
from qleaky.report.membranes import finite, frame_of, threshold_line, value_labels
from qleaky.report.rasters import Figure
from qleaky.report.text import number, visible
from qleaky.verification.divergence import Divergence, HistoryStep, Number

HEIGHT, MOST_STEPS = 230, 40
NAMES = {"synapse": "synaptic current", "membrane": "membrane", "spike": "spike"}


@dataclass(frozen=True)
class Zoom:
    """A picture and a table; a cell is its text and whether it differs."""

    figure: Figure
    headings: tuple[str, ...]
    rows: tuple[tuple[tuple[str, bool], ...], ...]
    notes: tuple[str, ...]


def zoom(found: Divergence, theta: float, runs: tuple[str, str]) -> Zoom:
    """The neuron of a divergence that has a history; ``runs`` name the one that is right and the one that parted."""
    history = found.history[-MOST_STEPS:]
    kinds = [kind for kind in NAMES if any(getattr(step, f"{kind}_expected") is not None for step in history)]
    current = any(step.current is not None for step in history)
    headings = ["step", *(["current in"] if current else [])]
    headings += [f"{NAMES[kind]}, {who}" for kind in kinds for who in ("expected", "found")]
    rows = tuple(tuple(_cells(step, kinds, current)) for step in history)
    return Zoom(_figure(found, history, theta, runs), tuple(headings), rows, tuple(_notes(found, theta, current)))


def _cells(step: HistoryStep, kinds: Sequence[str], current: bool) -> Iterator[tuple[str, bool]]:
    yield number(step.step), False
    if current:
        yield number(step.current, 9), False
    for kind in kinds:
        expected, got = getattr(step, f"{kind}_expected"), getattr(step, f"{kind}_found")
        yield number(expected, 9), False
        yield number(got, 9), got is not None and got != expected


def _notes(found: Divergence, theta: float, current: bool) -> Iterator[str]:
    yield f"The threshold of this neuron is {number(theta)}."
    if current:
        yield "“Current in” is what the layer receives, in codes of its input’s grid, as the reference computes it."
    if found.terms:
        parts = " + ".join(f"{visible(t.source)}{list(t.element)} {t.value:,} × {t.weight:,}" for t in found.terms)
        more = f" and {found.terms_left:,} more" if found.terms_left else ""
        yield f"In step {found.step} that is the sum of {parts}{more}."
    last = found.history[-1]
    got = {"mem": last.membrane_found, "spk": last.spike_found, "syn": last.synapse_found}.get(found.kind)
    if got is None:
        yield "What was found cannot be shown: the run could not be repeated."
    elif got != found.got:
        yield (
            "Run once more for these steps, the sample did not give the number that the check found: the difference comes and "
            "goes, or depends on the other samples of its batch."
        )


def _figure(found: Divergence, history: Sequence[HistoryStep], theta: float, runs: tuple[str, str]) -> Figure:
    steps = range(history[0].step, history[-1].step + 1)
    lines = [_line(step.membrane_expected for step in history), _line(step.membrane_found for step in history)]
    frame = frame_of(steps, [*(finite(line[~np.isnan(line)]) for line in lines), np.array([theta])], HEIGHT)
    parts = [svg.axes(frame, steps, value_labels(frame, theta)), threshold_line(frame, theta)]
    for line, kind in zip(lines, ("line-first", "line-second"), strict=True):
        shown = zip(steps, finite(line), np.isnan(line), strict=True)
        points = [(frame.x(t), frame.y(v)) for t, v, missing in shown if not missing]
        parts.append(svg.path(svg.polyline(points), kind))
        parts.append(svg.dots(points, kind))
    parts += [_ticks(frame, history, "spike_expected", svg.TOP + 2), _ticks(frame, history, "spike_found", svg.TOP + 14)]
    parts.append(svg.path(f"M{svg.at(frame.x(found.step))} {svg.TOP}V{HEIGHT - svg.BOTTOM}", "here"))
    marks = (("line-first", runs[0]), ("line-second", runs[1]), ("theta", "threshold"), ("here", "the first difference"))
    title = f"Membrane of neuron {list(found.element)} of layer {visible(found.layer)}, sample {found.sample}"
    return Figure(title, svg.svg(frame, parts, title), "Ticks above are spikes: expected on top, found below them.", marks)


def _line(numbers: Iterator[Number]) -> NDArray[np.float64]:
    """What is not known as NaN."""
    return np.array([np.nan if value is None else float(value) for value in numbers])


def _ticks(frame: svg.Frame, history: Sequence[HistoryStep], name: str, top: int) -> Markup:
    fired = [step.step for step in history if getattr(step, name) not in (None, 0)]
    kind = "line-first" if name == "spike_expected" else "line-second"
    return svg.path("".join(f"M{svg.at(frame.x(t))} {top}v10" for t in fired), f"fired {kind}")

"""Membranes of single neurons: every run over the others, the threshold, and where the neuron fired."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.report import svg
from qleaky.report.rasters import Figure, shown_steps
from qleaky.report.text import listed, number, plural, visible

if TYPE_CHECKING:
    from qleaky.verification.evidence import Neuron, Sample

HEIGHT, HUGE = 170, 1e30
LINES = ("line-first", "line-second", "line-third")
Array = NDArray[Any]


def membrane(network: IntegerNetwork | FloatNetwork, sample: Sample, neuron: Neuron, focus: int | None = None) -> Figure:
    """The membrane of one neuron in every run; ``focus`` is a step that must be shown."""
    runs = {label: (_of(run.membranes, neuron), _of(run.spikes, neuron)) for label, run in sample.runs.items()}
    theta = threshold(network, neuron.layer, neuron.element, next(iter(sample.runs.values())).spikes[neuron.layer].shape[2:])
    steps = shown_steps(len(next(iter(runs.values()))[0]), focus)
    lines = {label: finite(mem[steps.start : steps.stop]) for label, (mem, _) in runs.items()}
    frame = frame_of(steps, [*lines.values(), np.array([theta])], HEIGHT)
    parts = [svg.axes(frame, steps, value_labels(frame, theta)), threshold_line(frame, theta)]
    for (label, line), kind in zip(lines.items(), LINES, strict=False):
        points = [(frame.x(t), frame.y(v)) for t, v in zip(steps, line, strict=True)]
        parts.append(svg.path(svg.polyline(points), kind) if len(points) > 1 else svg.dots(points, kind))
        parts.append(svg.path(_fired(frame, steps, runs[label][1]), f"fired {kind}"))
    unit = "codes" if isinstance(network, IntegerNetwork) else "values"
    place = f"neuron {list(neuron.element)} of layer {visible(neuron.layer)}"
    marks = (*((kind, label) for kind, label in zip(LINES, lines, strict=False)), ("theta", "threshold"))
    caption = f"{neuron.why[0].upper()}{neuron.why[1:]}: {_difference(runs)} Membrane in {unit}; ticks above: spikes."
    title = f"Membrane of {place}"
    return Figure(title, svg.svg(frame, parts, title), caption, marks)


def threshold(network: IntegerNetwork | FloatNetwork, layer: str, element: tuple[int, ...], neurons: tuple[int, ...]) -> float:
    """The threshold of one neuron, in the numbers of its membrane."""
    theta = next(lif.theta for lif in network.lif_layers if lif.name == layer)
    return float(np.broadcast_to(theta, neurons)[element])


def frame_of(steps: range, lines: list[Array], height: int) -> svg.Frame:
    """A frame that holds all lines, with room above for the ticks of spikes."""
    values = np.concatenate([np.asarray(line, float) for line in lines])
    values = values[np.abs(values) < HUGE]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    room = max(high - low, 1e-6)
    return svg.Frame(steps.start - 0.5, steps.stop - 0.5, low - 0.08 * room, high + 0.2 * room, height)


def value_labels(frame: svg.Frame, theta: float) -> Iterator[tuple[float, str]]:
    """The threshold, and both ends of what is drawn where these do not lie upon it."""
    yield theta, number(theta, 4)
    room = frame.high - frame.low
    low, high = frame.low + 0.08 / 1.28 * room, frame.high - 0.2 / 1.28 * room
    for value in (low, high):
        if abs(value - theta) > 0.12 * room:
            yield value, number(round(value, 6), 4)


def threshold_line(frame: svg.Frame, theta: float) -> Markup:
    """A dotted line across."""
    y = svg.at(frame.y(theta))
    return svg.path(f"M{svg.at(frame.x(frame.first))} {y}H{svg.at(frame.x(frame.last))}", "theta")


def finite(line: Array) -> Array:
    """Numbers that can be drawn: infinities as huge ones, which stand at the frame's edge, NaN as zero."""
    return np.asarray(np.nan_to_num(line.astype(float), nan=0.0, posinf=HUGE, neginf=-HUGE))


def _of(states: dict[str, Array], neuron: Neuron) -> Array:
    place: tuple[Any, ...] = (slice(None), 0, *neuron.element)
    found: Array = states[neuron.layer][place]
    return found


def _fired(frame: svg.Frame, steps: range, spikes: Array) -> str:
    return "".join(f"M{svg.at(frame.x(t))} {svg.TOP + 2}v10" for t in steps if spikes[t] != 0)


def _difference(runs: dict[str, tuple[Array, Array]]) -> str:
    (first, (expected, _)), *others = runs.items()
    counts = {label: int((expected != mem).sum()) for label, (mem, _) in others}
    if not any(counts.values()):
        return f"{listed(list(runs))} agree at every step."
    parts = [f"{label} differs from {first} at {plural(n, 'step')}" if n else f"{label} agrees" for label, n in counts.items()]
    return f"{listed(parts)}."

"""A picture of one sample: its input, and two runs of it over each other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trace:
    """One sample's run: hidden spikes (T, N) and output membranes (T, M) in values."""

    label: str
    spikes: NDArray[Any]
    membranes: NDArray[Any]


def draw_sample(values: NDArray[Any], traces: Sequence[Trace], title: str, threshold: float) -> bytes:
    """A PNG of one sample: its input (T, channels), and the spike rasters and membranes of two runs over each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8.5), dpi=110, layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[1, 2, 2])
    figure.suptitle(title)
    image = top.imshow(values.T, aspect="auto", origin="lower", cmap="coolwarm", interpolation="nearest", vmin=-2, vmax=2)
    figure.colorbar(image, ax=top, label="value")
    top.set(ylabel="input channel")
    _draw_rasters(middle, traces)
    _draw_membranes(bottom, traces, threshold)
    bottom.set(xlabel="time step", xlim=(-0.5, len(values) - 0.5))
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _draw_rasters(axes: Any, traces: Sequence[Trace]) -> None:
    """Rings for the first run, dots for the second: where they agree, every ring holds a dot."""
    styles: list[dict[str, Any]] = [
        {"s": 34, "facecolors": "none", "edgecolors": "tab:blue", "linewidths": 0.9},
        {"s": 7, "color": "tab:orange"},
    ]
    for run, style in zip(traces, styles, strict=True):
        steps, neurons = np.nonzero(run.spikes)
        axes.scatter(steps, neurons, label=f"{run.label} ({len(steps)} spikes)", **style)
    axes.set(ylabel="hidden neuron", ylim=(-1, traces[0].spikes.shape[1]))
    _legend(axes)


def _draw_membranes(axes: Any, traces: Sequence[Trace], threshold: float) -> None:
    """Wide pale lines for the first run, thin dark ones for the second."""
    styles: list[dict[str, Any]] = [{"linewidth": 5, "alpha": 0.35}, {"linewidth": 1.2, "linestyle": "--"}]
    for run, style in zip(traces, styles, strict=True):
        for neuron, line in enumerate(run.membranes.T):
            axes.plot(line, color=f"C{neuron}", label=run.label if neuron == 0 else None, **style)
    axes.axhline(threshold, color="black", linewidth=0.8, linestyle=":")
    axes.set(ylabel="output membrane")
    _legend(axes)


def _legend(axes: Any) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize="small", borderaxespad=0.2, frameon=False)

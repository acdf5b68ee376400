"""What quantizing each layer alone costs: a table, and a plot."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qleaky._files import write_atomically
from qleaky.calibration.report import share, table
from qleaky.errors import InputError
from qleaky.layers.codes import WeightBits

FORMATS = (".svg", ".png")


@dataclass(frozen=True)
class SensitivityRow:
    """One layer whose ``what`` ("weights" or "states") have ``bits``.

    ``accuracy`` is the network's then, ``spikes_changed`` the share of all its spike values that differ from the float
    network's.
    """

    layer: str
    what: str
    bits: WeightBits
    accuracy: float
    spikes_changed: float


@dataclass(frozen=True)
class Sensitivity:
    """Rows of :func:`qleaky.sensitivity`, in order of layers and bits; prints as a table.

    ``accuracy`` is the float network's, ``readout`` what tells the class, ``rest`` the bits of everything else (None: float).
    """

    rows: tuple[SensitivityRow, ...]
    accuracy: float
    samples: int
    readout: str
    rest: int | None = None

    def __str__(self) -> str:
        rest = "float" if self.rest is None else f"{self.rest} bits"
        head = f"accuracy {self.accuracy:.2%} in float, {self.samples} samples, {self.readout}; all else {rest}"
        cells = [
            (
                f"{row.layer}, {row.what}",
                str(row.bits),
                share(row.accuracy),
                f"{100 * (row.accuracy - self.accuracy):+.2f}",
                share(row.spikes_changed),
            )
            for row in self.rows
        ]
        lines = table(("layer", "bits", "accuracy", "points", "spikes changed"), cells)
        return "\n".join(line.rstrip() for line in (head, "", *lines))

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw accuracy against bits, weights and states side by side, a line for each layer, to an .svg or .png file.

        Raises:
            InputError: another suffix.
            OutputError: the file cannot be written; nothing is left half-written.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in FORMATS:
            raise InputError(f"plot: {str(path)!r} ends in neither of {', '.join(FORMATS)}; name the file so.")
        write_atomically(path, self._drawn(suffix))

    def _drawn(self, suffix: str) -> bytes:
        import matplotlib
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 4), dpi=110, layout="constrained")
        for axes, what in zip(figure.subplots(1, 2, sharey=True), ("weights", "states"), strict=True):
            self._draw(axes, what)
        figure.supylabel("accuracy, %")
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if suffix == ".svg" else {"Software": None}
        with matplotlib.rc_context({"svg.hashsalt": "qleaky"}):  # the same bytes for the same rows
            figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        return buffer.getvalue()

    def _draw(self, axes: Any, what: str) -> None:
        for layer, rows in self._by_layer(what):
            axes.plot([str(row.bits) for row in rows], [100 * row.accuracy for row in rows], marker="o", label=layer)
        axes.axhline(100 * self.accuracy, color="black", linewidth=0.8, linestyle=":", label="float")
        axes.set(title=what, xlabel="bits")
        axes.legend(fontsize="small", frameon=False)

    def _by_layer(self, what: str) -> Iterator[tuple[str, list[SensitivityRow]]]:
        rows = [row for row in self.rows if row.what == what]
        for layer in dict.fromkeys(row.layer for row in rows):
            yield layer, [row for row in rows if row.layer == layer]

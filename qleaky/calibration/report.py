"""What quantizing a network did to it, layer by layer: a frozen record that prints as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from qleaky.fixed import QFormat
from qleaky.layers.codes import WeightBits

WIDTH = 120
Span = tuple[float, float]


@dataclass(frozen=True)
class WeightRow:
    """A layer with weights.

    ``exponents`` are the smallest and largest of its steps, 2**e; ``clipped`` the share of weights beyond the outermost
    codes; ``error`` the root mean square of what quantizing changed, relative to that of the weights; ``factor`` what
    weights, bias and the threshold behind them were multiplied by first.
    """

    layer: str
    bits: WeightBits
    exponents: tuple[int, int]
    clipped: float
    error: float
    factor: float


@dataclass(frozen=True)
class StateRow:
    """Neurons.

    ``thresholds`` and ``betas`` are (lowest, highest) before and after; ``factor`` as in :class:`WeightRow`. ``saturated`` is
    the share of quantized membranes at an end of the format, ``spikes_changed`` the share of spike values (T, samples,
    neurons) that differ from the float network's, ``rates`` the shares of ones among them before and after.
    """

    layer: str
    format: QFormat | None
    threshold_before: Span
    threshold_after: Span
    beta_before: Span
    beta_after: Span
    factor: float
    saturated: float
    spikes_changed: float
    rate_before: float
    rate_after: float


@dataclass(frozen=True)
class QuantizationReport:
    """What :func:`qleaky.quantize` chose, and what it changed on the calibration samples.

    ``inputs`` are the formats by input name, to pass to ``lower`` as input_format (None: the network quantizes it itself), of
    which ``chosen_inputs`` were chosen from the data. ``kept`` are layers left as they are, each with the reason, ``folded``
    the batch normalisations folded into layers. Accuracies are shares, None without labels.
    """

    weights: tuple[WeightRow, ...]
    states: tuple[StateRow, ...]
    kept: tuple[tuple[str, str], ...]
    folded: tuple[str, ...]
    inputs: tuple[tuple[str, QFormat | None], ...]
    chosen_inputs: tuple[str, ...]
    samples: int
    num_steps: int
    readout: str
    accuracy_before: float | None
    accuracy_after: float | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"Quantized on {self.samples} samples of {self.num_steps} steps."
        if self.weights:
            yield ""
            yield from table(
                ("weights", "bits", "step", "clipped", "error", "factor"), [_weight_cells(row) for row in self.weights]
            )
        if self.states:
            yield ""
            heads = ("neurons", "state", "threshold", "beta", "factor", "saturated", "spikes changed", "rate")
            yield from table(heads, [_state_cells(row) for row in self.states])
        yield ""
        yield from wrapped("input_format", ", ".join(self._input(name, fmt) for name, fmt in self.inputs))
        if self.accuracy_before is not None and self.accuracy_after is not None:
            yield (
                f"accuracy: {self.accuracy_before:.2%} before, {self.accuracy_after:.2%} after, on these samples, "
                f"by {self.readout}"
            )
        for path in self.folded:
            yield from wrapped("folded", f"{path}, a batch normalisation")
        for path, reason in self.kept:
            yield from wrapped("kept", f"{path or 'the network'}: {reason}")
        for note in self.notes:
            yield from wrapped("note", note)

    def _input(self, name: str, fmt: QFormat | None) -> str:
        if fmt is None:
            return f"{name}: the network's own quantizer"
        shown = "'spikes'" if fmt == QFormat(1, 0, signed=False) else f"{fmt} = {_constructed(fmt)}"
        return f"{name}: {shown}{', chosen from the data' if name in self.chosen_inputs else ''}"


def _constructed(fmt: QFormat) -> str:
    more = ("" if fmt.signed else ", signed=False") + (f", zero_point={fmt.zero_point}" if fmt.zero_point else "")
    return f"QFormat({fmt.bits}, {fmt.frac_bits}{more})"


def _weight_cells(row: WeightRow) -> tuple[str, ...]:
    low, high = row.exponents
    step = f"2^{low}" if low == high else f"2^{low}..{high}"
    return row.layer, str(row.bits), step, share(row.clipped), share(row.error), f"{row.factor:.4g}"


def _state_cells(row: StateRow) -> tuple[str, ...]:
    return (
        row.layer,
        "float" if row.format is None else repr(row.format),
        change(row.threshold_before, row.threshold_after),
        change(row.beta_before, row.beta_after),
        f"{row.factor:.4g}",
        share(row.saturated),
        share(row.spikes_changed),
        f"{share(row.rate_before)} -> {share(row.rate_after)}",
    )


def change(before: Span, after: Span) -> str:
    """What was, and what is if that differs."""
    shown = _range(before), _range(after)
    return shown[0] if before == after else " -> ".join(shown)


def _range(pair: Span) -> str:
    low, high = pair
    return f"{low:.4g}" if low == high else f"{low:.4g}..{high:.4g}"


def span(values: Tensor) -> Span:
    """The lowest and highest number."""
    held = values.detach()
    return float(held.min()), float(held.max())


def share(value: float) -> str:
    """A share as a percentage that fits a cell."""
    return f"{value:.2%}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a plain-text table, no wider than WIDTH: the first column is left-aligned and gives way."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    widths[0] = max(min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(heads) - 1)), 8)
    for row in (heads, *rows):
        first = row[0] if len(row[0]) <= widths[0] else "..." + row[0][3 - widths[0] :]
        cells = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *cells))[:WIDTH]


def wrapped(label: str, text: str) -> list[str]:
    """``label: text`` on lines no wider than WIDTH."""
    return textwrap.wrap(f"{label}: {text}", WIDTH, subsequent_indent="    ")

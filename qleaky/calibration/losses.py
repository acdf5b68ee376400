"""How far a quantized layer is from the float one, on the calibration samples."""

from __future__ import annotations

from torch import Tensor


def spike_loss(spikes: Tensor, expected: Tensor) -> float:
    """Share of spikes that came, or did not, otherwise than expected, and the squared error of the counts, both relative.

    The first sees when, the second how often: with few bits spikes move in time long before they are lost, and what the
    layers behind them hear is closer to the count.

    Shapes: (T, B, ...) both.
    """
    moved = (spikes != expected).double().mean() / expected.ne(0).double().mean().clamp(min=1e-6)
    counts, wanted = spikes.double().sum(0), expected.double().sum(0)
    return float(moved + (counts - wanted).square().mean() / wanted.square().mean().clamp(min=1e-6))


def readout_loss(kind: str, spikes: Tensor, membranes: Tensor, expected: tuple[Tensor, Tensor]) -> float:
    """Squared error of a readout relative to its own variance, but for what moves all classes alike.

    Shapes: (T, B, classes, ...); ``expected`` are the float layer's spikes and membranes.
    """
    found, wanted = logits(kind, spikes, membranes), logits(kind, *expected)
    found, wanted = (x - x.mean(1, keepdim=True) if x.ndim > 1 and x.shape[1] > 1 else x for x in (found, wanted))
    return float((found - wanted).square().mean() / wanted.square().mean().clamp(min=1e-9))


def logits(kind: str, spikes: Tensor, membranes: Tensor) -> Tensor:
    """What a readout compares, (B, classes, ...): exact sums in float64."""
    if kind == "membrane_mean":
        return membranes.double().sum(0)
    return membranes[-1].double() if kind == "last_membrane" else spikes.double().sum(0)

"""Logits and classes from what the last layer emits."""

from __future__ import annotations

import torch
from torch import Tensor


def logits(readout: str, spikes: Tensor, membranes: Tensor) -> Tensor:
    """(T, B, classes) -> (B, classes): sum of S / T, mean of U, or the last U; differentiable."""
    match readout:
        case "spike_count":
            return spikes.sum(0) / len(spikes)
        case "membrane_mean":
            return membranes.mean(0)
        case _:
            return membranes[-1]


def classes(readout: str, spikes: Tensor, membranes: Tensor) -> Tensor:
    """The class as the artefact computes it: the lowest index among the largest, of sums that float64 holds exactly."""
    match readout:
        case "spike_count":
            scores = spikes.sum(0, dtype=torch.float64)
        case "membrane_mean":
            scores = membranes.sum(0, dtype=torch.float64)
        case _:
            scores = membranes[-1]
    return scores.argmax(-1)

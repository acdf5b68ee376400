"""Thresholds and decays of a quantized network put on their grids, with a report."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from qleaky.calibration.report import Span, change, share, span, table
from qleaky.calibration.states import snapped_decay, snapped_threshold
from qleaky.dynamics import MulShift
from qleaky.errors import InputError
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint


@dataclass(frozen=True)
class Snap:
    """Thresholds and decays of one layer, (lowest, highest) before and after; ``moved`` is the largest change of a threshold
    relative to it.
    """

    layer: str
    threshold_before: Span
    threshold_after: Span
    beta_before: Span
    beta_after: Span
    moved: float


@dataclass(frozen=True)
class SnapReport:
    """What :func:`snap_to_grid` did, layer by layer; prints as a table."""

    rows: tuple[Snap, ...]

    def __str__(self) -> str:
        cells = [
            (
                row.layer,
                change(row.threshold_before, row.threshold_after),
                change(row.beta_before, row.beta_after),
                share(row.moved),
            )
            for row in self.rows
        ]
        return "\n".join(line.rstrip() for line in table(("neurons", "threshold", "beta", "moved"), cells))


@torch.no_grad()
def snap_to_grid(net: nn.Module) -> SnapReport:
    """Put every threshold on the grid of its layer's state, in place, and beta where the decay operator puts it.

    ::

        theta -> clip(round(theta * 2**f), 1, highest) * 2**-f       beta -> round(clip(beta, 0, 1) * 2**n) / 2**n

    A threshold that is positive stays so, and one below the largest membrane (with the strict compare) can be passed. Only a
    threshold on the grid is exact (:func:`qleaky.lower` says so otherwise): call this after training with ``learn_threshold``.
    beta needs it only to look like what the layer computes with anyhow.

    Raises:
        InputError: no layer has a ``FixedPoint`` state.

    >>> lif = Leaky(0.9, threshold=0.3, state_quant=FixedPoint(8, 5), decay=MulShift(n=8))
    >>> print(snap_to_grid(lif))
    neurons       threshold           beta  moved
    leaky     0.3 -> 0.3125  0.9 -> 0.8984  4.17%
    """
    rows = [_snapped(path or "leaky", module) for path, module in net.named_modules() if _has_grid(module)]
    if not rows:
        raise InputError(
            f"snap_to_grid: no Leaky of {type(net).__name__} has a FixedPoint state, so there is no grid; quantize it first."
        )
    return SnapReport(tuple(rows))


def _has_grid(module: nn.Module) -> bool:
    return isinstance(module, Leaky) and isinstance(module.state_quant, FixedPoint)


def _snapped(path: str, layer: nn.Module) -> Snap:
    assert isinstance(layer, Leaky)
    old = layer.threshold.detach().clone()
    before = span(old), span(layer.beta)
    layer.threshold.copy_(snapped_threshold(old, layer.state_quant.format, layer.compare))
    if isinstance(layer.decay, MulShift) and layer.decay.beta is None:
        layer.beta.copy_(snapped_decay(layer.beta, layer.decay.n))
    moved = float(((layer.threshold - old).abs() / old.abs().clamp(min=1e-12)).max())
    return Snap(path, before[0], span(layer.threshold), before[1], span(layer.beta), moved)

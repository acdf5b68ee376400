"""Fully connected spiking networks on whole sequences."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from qleaky.dynamics import MulShift
from qleaky.layers import QuantLinear
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint


@dataclass(frozen=True)
class LIFSettings:
    """Neuron settings of a network: decay m/256, threshold, and the membrane's format."""

    beta: float = 230 / 256
    threshold: float = 1.0
    state_bits: int = 8
    state_frac_bits: int = 5


class FeedForward(nn.Module):
    """Linear and Leaky layers in turn: (T, B, sizes[0]) -> spikes and membranes (T, B, sizes[-1]) of the last layer.

    Args:
        sizes: neurons per layer, the input first.
        weight_bits: bits of the weights; None for a float network, without state quantizers.
        lif: neuron settings.
    """

    def __init__(self, sizes: Sequence[int], weight_bits: int | None = 8, lif: LIFSettings | None = None) -> None:
        super().__init__()
        settings = lif or LIFSettings()
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=1):
            linear = nn.Linear(inputs, outputs) if weight_bits is None else QuantLinear(inputs, outputs, weight_bits)
            self.add_module(f"fc{index}", linear)
            self.add_module(f"lif{index}", _leaky(settings, quantized=weight_bits is not None))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and membranes of the last layer."""
        spikes, membranes = x, x
        for module in self.children():
            if isinstance(module, Leaky):
                spikes, membranes = module.sequence(spikes)
            else:
                spikes = module(spikes)
        return spikes, membranes


def _leaky(settings: LIFSettings, *, quantized: bool) -> Leaky:
    if not quantized:
        return Leaky(settings.beta, settings.threshold)
    state = FixedPoint(settings.state_bits, settings.state_frac_bits)
    return Leaky(settings.beta, settings.threshold, state_quant=state, decay=MulShift(n=8))

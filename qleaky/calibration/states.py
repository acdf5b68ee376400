"""Formats of membranes: thresholds and decays on their grids, and the candidates among which calibration chooses."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qleaky.dynamics import Compare, MulShift
from qleaky.fixed import QFormat, Rounding
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint

DECAY_BITS = 8
FINE = 32
"""Largest threshold codes from which on only two in an octave are tried."""
DEEPEST = 64
"""How many times smaller than the largest code a threshold's code may be."""


@dataclass(frozen=True)
class StateChoice:
    """A membrane's format, and the factor by which weights, biases and threshold are multiplied first."""

    format: QFormat
    factor: float = 1.0


def snapped_threshold(threshold: Tensor, fmt: QFormat, compare: Compare) -> Tensor:
    """The nearest threshold on the format's grid that a membrane can pass, positive where it was."""
    codes = torch.round(threshold.detach().double() * 2.0**fmt.frac_bits)
    lowest = torch.where(threshold > 0, float(max(fmt.lowest, 1)), float(fmt.lowest)).double()
    reachable = float(max(fmt.highest - (compare is Compare.STRICT), 1))
    return (codes.maximum(lowest).clamp(max=reachable) * fmt.step).to(threshold.dtype)


def snapped_decay(beta: Tensor, n: int = DECAY_BITS) -> Tensor:
    """The nearest m / 2**n of a decay clipped to [0, 1]."""
    return torch.round(beta.detach().clamp(0, 1) * 2.0**n) / 2.0**n


def quantized_neuron(module: Leaky, choice: StateChoice, rounding: str | Rounding) -> Leaky:
    """A copy of a float layer with the chosen state."""
    layer = copy.deepcopy(module)
    settle(layer, choice, rounding)
    return layer


@torch.no_grad()
def settle(layer: Leaky, choice: StateChoice, rounding: str | Rounding) -> None:
    """Give a layer the chosen state, in place, its threshold and decay snapped to the grids."""
    fmt = choice.format
    layer.state_quant = FixedPoint(fmt.bits, fmt.frac_bits, fmt.signed, rounding).to(layer.threshold.device)
    layer.state_quant.train(layer.training)
    if layer.decay is None:
        layer.decay = MulShift(n=DECAY_BITS)
    layer.threshold.copy_(snapped_threshold(layer.threshold * choice.factor, fmt, layer.compare))
    if isinstance(layer.decay, MulShift) and layer.decay.beta is None:
        layer.beta.copy_(snapped_decay(layer.beta, layer.decay.n))


def candidates(module: Leaky, bits: int, reach: float, scalable: bool, *, steps: int = 1) -> list[StateChoice]:
    """Formats and factors worth trying.

    What matters is the threshold's code k: a small one leaves room for membranes above and below, a large one resolves them.
    Where the layer may be rescaled every k is reached exactly, by the factor k * 2**-frac_bits / theta, which lies between
    2**-0.5 and 2**0.5; else the threshold goes to the nearest code.

    Args:
        module: the float layer.
        bits: of the state.
        reach: the largest membrane that matters, for a layer whose threshold is zero.
        scalable: whether a factor changes no spike.
        steps: the least k, as far as the format has such codes.
    """
    theta = float(module.threshold.detach().abs().median())
    strict = module.compare is Compare.STRICT
    signed = (1 << (bits - 1)) - 1 - strict >= 1  # of 2 bits, -2 to 1, no code would be above a positive threshold
    top = QFormat(bits, 0, signed).highest - strict
    if theta == 0 or not math.isfinite(theta):
        return [StateChoice(QFormat(bits, bits - 1 - math.ceil(math.log2(max(reach, 2.0**-20)))))]
    if not scalable:
        finest = math.floor(math.log2((top + 0.5) / theta))
        octaves = range(min(top.bit_length(), DEEPEST.bit_length()))
        fine = [coarser for coarser in octaves if round(math.ldexp(theta, finest - coarser)) >= steps] or [0]
        return [StateChoice(QFormat(bits, finest - coarser, signed)) for coarser in fine]
    found = []
    for code in (code for code in _codes(top) if code >= min(steps, top)):
        frac_bits = round(math.log2(code / theta))
        found.append(StateChoice(QFormat(bits, frac_bits, signed), code * 2.0**-frac_bits / theta))
    return found


def _codes(top: int) -> list[int]:
    """Threshold codes: four in each octave where there are few, two where there are many."""
    steps = 4 if top < FINE else 2
    codes = {round(2.0 ** (step / steps)) for step in range(steps * top.bit_length() + steps)}
    return sorted(code for code in codes if max(1, top // DEEPEST) <= code <= top)

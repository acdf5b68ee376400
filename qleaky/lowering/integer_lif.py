"""A Leaky as an integer LIF layer, or the reasons why it is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qleaky.dynamics import MAX_DECAY_BITS, MulShift, ResetTiming, lowest_threshold
from qleaky.errors import FormatError
from qleaky.fixed import QFormat, grid_of
from qleaky.integer import LIF, Signal
from qleaky.lowering.grids import narrowest, numbers
from qleaky.lowering.stages import Stage
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint
from qleaky.surrogate import Surrogate
from qleaky.tracing import Neurons

GRADED_BITS = 16


def integer_lif(stage: Stage, reasons: list[str]) -> LIF | None:
    """A Leaky as an integer layer."""
    assert stage.neurons is not None
    module = stage.neurons.module
    assert isinstance(module, Leaky)
    builder = _Builder(stage.name, module)
    layer = builder.lif(stage.sources[0])
    reasons += builder.reasons
    return layer


def emission(neurons: Neurons) -> Signal:
    """What a Leaky emits: 0 or 1, or 0 and its graded factor where that is on a grid."""
    assert isinstance(neurons.module, Leaky)
    graded = _graded(neurons.module)
    if graded is None:
        return Signal(neurons.shape, 0, np.array(0), np.array(1))
    codes, frac_bits = graded
    return Signal(neurons.shape, frac_bits, np.minimum(codes, 0), np.maximum(codes, 0))


def _graded(module: Leaky) -> tuple[Any, int] | None:
    """Codes and frac_bits of a graded factor; None where it is 1, or on no grid."""
    if bool((module.graded_spikes_factor == 1).all()):
        return None
    values = numbers(module.graded_spikes_factor, "graded_spikes_factor")
    grid = None if values is None else grid_of(values, max_bits=GRADED_BITS)
    return None if grid is None else (without_leading_ones(grid[0]), grid[1])


def without_leading_ones(codes: Any) -> Any:
    """Codes of shape (1, N), which broadcast over a batch in torch, as one sample's."""
    while codes.ndim and codes.shape[0] == 1:
        codes = codes[0]
    return codes


class _Builder:
    def __init__(self, name: str, module: Leaky) -> None:
        self.name = name
        self.module = module
        self.reasons: list[str] = []

    def _refuse(self, reason: str) -> None:
        self.reasons.append(f"layer {self.name!r}: {reason}")

    def lif(self, source: str) -> LIF | None:
        """The layer, if nothing stands in its way."""
        module = self.module
        self._check_options()
        if not isinstance(module.state_quant, FixedPoint):
            self._refuse("the membrane has no fixed-point quantizer; pass state_quant=qleaky.FixedPoint(bits, frac_bits).")
            return None
        spec = module.state_quant.spec
        theta = self._theta(spec.format)
        decay, multiplier = self._decay()
        if self.reasons or theta is None:
            return None
        graded = _graded(module)
        return LIF(
            name=self.name,
            input=source,
            state=spec.format,
            theta=narrowest(without_leading_ones(theta)),
            decay=decay,
            multiplier=None if multiplier is None else narrowest(without_leading_ones(multiplier)),
            reset_mechanism=module.reset_mechanism,
            reset_timing=module.reset_timing,
            compare=module.compare,
            rounding=spec.rounding,
            rounding_site=module.rounding_site,
            overflow=spec.overflow,
            graded=None if graded is None else narrowest(graded[0]),
            graded_frac_bits=0 if graded is None else graded[1],
        )

    def _check_options(self) -> None:
        module = self.module
        if module.inhibition:
            self._refuse("inhibition has no integer form yet; construct it with inhibition=False.")
        factor = module.graded_spikes_factor
        if _graded(module) is None and not bool((factor == 1).all()):
            self._refuse(
                f"graded_spikes_factor {float(factor.flatten()[0])!r} is on no power-of-two grid of {GRADED_BITS} bits; "
                f"use m / 2**n."
            )
        if module.reset_timing is ResetTiming.UNDELAYED and not bool(factor.all()):
            self._refuse("an undelayed reset divides by graded_spikes_factor, which is zero; use reset_timing='same_step'.")
        strict = (
            isinstance(module.spike_grad, Surrogate) or getattr(module.spike_grad, "__module__", "") == "snntorch.surrogate"
        )
        if not strict and not module.surrogate_disable:
            self._refuse(
                "spike_grad is a function of your own, whose forward value cannot be read; use one of qleaky.surrogate."
            )
        lowest = lowest_threshold(module.reset_mechanism, module.reset_timing, module.compare)
        step = module.state_quant.format.step if isinstance(module.state_quant, FixedPoint) else 0.0
        if lowest is not None and bool((module.threshold < lowest * step).any()):
            self._refuse(
                f"a reset that is {module.reset_timing} asks for a threshold of at least {lowest * step}, here it is "
                f"{float(module.threshold.min())}; use reset_timing='delayed'."
            )

    def _theta(self, fmt: QFormat) -> Any:
        """Threshold codes; a threshold outside the format is an error, one between two codes a reason."""
        values = self.module.threshold.detach().cpu().double().numpy()
        scaled = np.ldexp(values, fmt.frac_bits)
        outside = (scaled < fmt.lowest) | (scaled > fmt.highest)
        if outside.any():
            worst = float(values[outside].flat[0])
            fix = "Use a finite threshold."
            if np.isfinite(worst):
                whole = max(int(np.ceil(np.log2(abs(worst) + fmt.step))), 0)
                fix = f"Use at least Q{whole}.{fmt.frac_bits}, or rescale the layer."
            raise FormatError(f"layer {self.name!r}: threshold {worst} does not fit {fmt.describe()}. {fix}")
        codes = np.rint(scaled)
        if (codes != scaled).any():
            worst = float(values[codes != scaled].flat[0])
            nearest = float(np.rint(worst / fmt.step) * fmt.step)
            self._refuse(f"threshold {worst!r} is not on the grid of {fmt.describe()}; the nearest is {nearest}.")
            return None
        return codes.astype(np.int64)

    def _decay(self) -> tuple[Any, Any]:
        """The decay operator and its multiplier codes; beta = 1 needs neither."""
        module = self.module
        if module.decay is not None and not isinstance(module.decay, MulShift):
            return module.decay, None
        with torch.no_grad():
            beta = module.effective_beta().cpu().double().numpy()
        if isinstance(module.decay, MulShift):
            return MulShift(n=module.decay.n, rounding=module.decay.rounding), np.ldexp(beta, module.decay.n).astype(np.int64)
        grid = grid_of(beta, max_bits=MAX_DECAY_BITS + 2)
        if grid is None or grid[1] > MAX_DECAY_BITS:
            scaled = np.ldexp(beta, MAX_DECAY_BITS)
            worst = float(beta[scaled != np.rint(scaled)].flat[0])
            m = round(worst * 256)
            self._refuse(
                f"beta={worst!r} is not m / 2**n with n <= {MAX_DECAY_BITS}; the nearest m / 256 is {m}/256 = {m / 256}. "
                f"Train with it, or with decay=qleaky.MulShift(n=8)."
            )
            return None, None
        if (beta == 1).all():
            return None, None
        codes, n = grid
        return MulShift(n=max(n, 0)), codes << max(-n, 0)

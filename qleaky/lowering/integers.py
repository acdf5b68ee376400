"""Torch layers -> integer layers, with the reason for everything that is not on a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qleaky.dynamics import MAX_DECAY_BITS, MulShift, lowest_threshold
from qleaky.errors import FormatError
from qleaky.fixed import QFormat, grid_of
from qleaky.integer import LIF, Input, IntegerNetwork, Linear, Readout
from qleaky.integer.layers import Layer, Signal, TimeMode
from qleaky.layers import QuantLinear
from qleaky.lowering.chain import Chain, Stage
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint
from qleaky.surrogate import Surrogate

WEIGHT_BITS = 16
BIAS_BITS = 32


def integer_network(
    chain: Chain, shape: tuple[int, ...], num_steps: int, time: TimeMode, fmt: QFormat | None, readout: Readout
) -> tuple[IntegerNetwork | None, list[str]]:
    """The contract of a chain, or None and the reasons why it has none."""
    undeclared = "the input has no declared format; pass input_format='spikes' or a qleaky.QFormat."
    reasons = [] if fmt is not None else [undeclared]
    source = Input(shape, fmt or QFormat(1, 0, signed=False), time)
    signals: dict[str, Signal] = {"input": source.signal}
    layers: list[Layer] = []
    for stage in chain.stages:
        builder = _Builder(stage, signals[stage.source])
        layer = builder.lif(stage.module) if isinstance(stage.module, Leaky) else builder.linear(stage.module)
        reasons += builder.reasons
        if layer is not None:
            layers.append(layer)
        signals[stage.name] = layer.output(signals[stage.source]) if layer is not None else Signal((), 0, 0, 1)
    if reasons:
        return None, reasons
    return IntegerNetwork(input=source, num_steps=num_steps, layers=tuple(layers), readout=readout), []


def linear_weights(module: Any) -> tuple[Tensor, Tensor | None]:
    """The weight and bias that a linear layer multiplies with in its forward pass, fake-quantized where it quantizes."""
    with torch.no_grad():
        if isinstance(module, QuantLinear):
            return module.quantized()
        weight, bias = module.weight, module.bias
        if hasattr(module, "quant_weight"):
            quantized = module.quant_weight()
            weight = getattr(quantized, "value", quantized)
        if bias is not None and getattr(getattr(module, "bias_quant", None), "is_quant_enabled", False):
            bias = module.quant_bias().value
        return weight, bias


def narrowest(codes: Any) -> np.ndarray[Any, Any]:
    """The codes in the smallest signed NumPy type that holds them."""
    array = np.asarray(codes, dtype=np.int64)
    bits = (
        max(int(array.max(initial=0)).bit_length(), int(-array.min(initial=0) - 1).bit_length() if (array < 0).any() else 0) + 1
    )
    return array.astype(f"i{next(b for b in (1, 2, 4, 8) if 8 * b >= bits)}")


def _without_leading_ones(codes: Any) -> Any:
    """Codes of shape (1, N), which broadcast over a batch in torch, as one sample's."""
    while codes.ndim and codes.shape[0] == 1:
        codes = codes[0]
    return codes


class _Builder:
    """Builds one integer layer and collects what stands in its way."""

    def __init__(self, stage: Stage, signal: Signal) -> None:
        self.stage = stage
        self.signal = signal
        self.reasons: list[str] = []

    def _refuse(self, reason: str) -> None:
        self.reasons.append(f"layer {self.stage.name!r}: {reason}")

    def linear(self, module: nn.Module) -> Linear | None:
        """Weights and bias as codes on one grid."""
        tensors = linear_weights(module)
        if tensors[0].dtype not in (torch.float32, torch.float64):
            self._refuse(f"it computes in {tensors[0].dtype}, which does not hold exact sums; call net.float().")
        weight, bias = (None if t is None else t.detach().cpu().double().numpy() for t in tensors)
        if weight is None or not np.isfinite(weight).all() or (bias is not None and not np.isfinite(bias).all()):
            raise FormatError(
                f"layer {self.stage.name!r}: the weights or the bias hold NaN or infinity; look for a diverged training."
            )
        grid = grid_of(weight, max_bits=WEIGHT_BITS)
        if grid is None:
            self._refuse(f"weights are not on a power-of-two grid of at most {WEIGHT_BITS} bits; use qleaky.QuantLinear.")
            return None
        codes, frac_bits = grid
        bias_codes = None
        if bias is not None:
            bias_grid = grid_of(bias, max_bits=BIAS_BITS)
            if bias_grid is None:
                self._refuse(f"the bias is not on a power-of-two grid of at most {BIAS_BITS} bits; use qleaky.QuantLinear.")
                return None
            finer = bias_grid[1] - (frac_bits + self.signal.frac_bits)
            if not -BIAS_BITS < finer <= BIAS_BITS - WEIGHT_BITS:
                self._refuse("weights and bias are too far apart for one grid; use qleaky.QuantLinear.")
                return None
            # The weights move to the grid of a bias that is finer than their sum.
            frac_bits, codes = frac_bits + max(finer, 0), codes << max(finer, 0)
            bias_codes = bias_grid[0] << max(-finer, 0)
        return Linear(
            name=self.stage.name,
            input=self.stage.source,
            weight=narrowest(codes),
            bias=None if bias_codes is None else narrowest(bias_codes),
            weight_frac_bits=frac_bits,
        )

    def lif(self, module: Leaky) -> LIF | None:
        """A Leaky as an integer layer."""
        self._check_options(module)
        if not isinstance(module.state_quant, FixedPoint):
            self._refuse("the membrane has no fixed-point quantizer; pass state_quant=qleaky.FixedPoint(bits, frac_bits).")
            return None
        spec = module.state_quant.spec
        theta = self._theta(module, spec.format)
        decay, multiplier = self._decay(module)
        if self.reasons or theta is None:
            return None
        return LIF(
            name=self.stage.name,
            input=self.stage.source,
            state=spec.format,
            theta=narrowest(_without_leading_ones(theta)),
            decay=decay,
            multiplier=None if multiplier is None else narrowest(_without_leading_ones(multiplier)),
            reset_mechanism=module.reset_mechanism,
            reset_timing=module.reset_timing,
            compare=module.compare,
            rounding=spec.rounding,
            rounding_site=module.rounding_site,
            overflow=spec.overflow,
        )

    def _check_options(self, module: Leaky) -> None:
        if module.inhibition:
            self._refuse("inhibition has no integer form yet; construct it with inhibition=False.")
        if not bool((module.graded_spikes_factor == 1).all()):
            self._refuse("graded spikes have no integer form yet; fold graded_spikes_factor into the next layer's weights.")
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

    def _theta(self, module: Leaky, fmt: QFormat) -> Any:
        """Threshold codes; a threshold outside the format is an error, one between two codes a reason."""
        values = module.threshold.detach().cpu().double().numpy()
        scaled = np.ldexp(values, fmt.frac_bits)
        outside = (scaled < fmt.lowest) | (scaled > fmt.highest)
        if outside.any():
            worst = float(values[outside].flat[0])
            fix = "Use a finite threshold."
            if np.isfinite(worst):
                whole = max(int(np.ceil(np.log2(abs(worst) + fmt.step))), 0)
                fix = f"Use at least Q{whole}.{fmt.frac_bits}, or rescale the layer."
            raise FormatError(f"layer {self.stage.name!r}: threshold {worst} does not fit {fmt.describe()}. {fix}")
        codes = np.rint(scaled)
        if (codes != scaled).any():
            worst = float(values[codes != scaled].flat[0])
            nearest = float(np.rint(worst / fmt.step) * fmt.step)
            self._refuse(f"threshold {worst!r} is not on the grid of {fmt.describe()}; the nearest is {nearest}.")
            return None
        return codes.astype(np.int64)

    def _decay(self, module: Leaky) -> tuple[Any, Any]:
        """The decay operator and its multiplier codes; beta = 1 needs neither."""
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

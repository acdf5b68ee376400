"""Brevitas activation quantizers as state quantizers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.errors import InputError
from qleaky.fixed import Rounding
from qleaky.quantizers import FixedPoint

_ROUNDINGS = {"ROUND": Rounding.HALF_EVEN, "FLOOR": Rounding.FLOOR, "ROUND_TO_ZERO": Rounding.TOWARD_ZERO}


def from_brevitas(quantizer: nn.Module) -> FixedPoint:
    """The :class:`~qleaky.FixedPoint` that computes what a fixed-point Brevitas activation quantizer does, scale frozen.

    Bit width, sign, narrow range and rounding are read from the quantizer (Brevitas' ``ROUND`` is half-even), the
    format's step from its scale. Brevitas 0.13's statistics count calls and a learned scale jumps by octaves, so the
    scale is taken as it is now.

    Args:
        quantizer: a ``brevitas.nn`` activation layer such as ``QuantIdentity``, or its ``act_quant``.

    Raises:
        InputError: no Brevitas activation quantizer; a scale per channel, or not a power of two; a zero point; a rounding
            or bit width that a FixedPoint lacks.
    """
    proxy: Any = getattr(quantizer, "act_quant", quantizer)
    if not all(hasattr(proxy, name) for name in ("scale", "bit_width", "zero_point", "is_signed", "rounding_mode")):
        raise InputError(
            f"from_brevitas: {type(quantizer).__name__} is no Brevitas activation quantizer; pass e.g. a QuantIdentity."
        )
    if not getattr(proxy, "is_quant_enabled", True):
        raise InputError("from_brevitas: the quantizer is disabled (act_quant=None); enable it first.")
    if getattr(getattr(quantizer, "input_quant", None), "is_quant_enabled", False):
        raise InputError("from_brevitas: the layer also quantizes its input (input_quant); use one quantizer.")
    _check_activation(proxy)
    if proxy.rounding_mode not in _ROUNDINGS:
        raise InputError(
            f"from_brevitas: rounding mode {proxy.rounding_mode!r} has no counterpart; use one of {', '.join(_ROUNDINGS)}."
        )
    if _scalar(proxy.zero_point(), "zero point") != 0:
        raise InputError(
            "from_brevitas: the quantizer has a zero point; a membrane format has none. Use a symmetric quantizer."
        )
    return FixedPoint(
        int(_scalar(proxy.bit_width(), "bit width")),
        _frac_bits(_scalar(proxy.scale(), "scale")),
        signed=bool(proxy.is_signed),
        rounding=_ROUNDINGS[proxy.rounding_mode],
        narrow=bool(proxy.is_narrow_range),
    )


def _check_activation(proxy: Any) -> None:
    """Refuse functions before the quantizer, and an unsigned format without its highest code."""
    activation = getattr(getattr(proxy, "fused_activation_quant_proxy", None), "activation_impl", nn.Identity())
    if not isinstance(activation, nn.Identity) and not (isinstance(activation, nn.ReLU) and not proxy.is_signed):
        raise InputError(
            f"from_brevitas: the quantizer computes {type(activation).__name__} first, which no membrane format does; "
            f"use a QuantIdentity."
        )
    if proxy.is_narrow_range and not proxy.is_signed:
        raise InputError(
            "from_brevitas: an unsigned narrow range drops the highest code, which no format does; set narrow_range=False."
        )


def _scalar(value: Tensor | Any, what: str) -> float:
    if value is None or value.numel() != 1:
        shape = None if value is None else tuple(value.shape)
        raise InputError(f"from_brevitas: the {what} has shape {shape}; a state has one {what} for all neurons.")
    return float(value.detach().item())


def _frac_bits(scale: float) -> int:
    mantissa, exponent = math.frexp(scale)
    if mantissa != 0.5:
        raise InputError(
            f"from_brevitas: scale {scale!r} is not a power of two, so its states lie on no fixed-point grid; the nearest is "
            f"2**{round(math.log2(scale))}. Use a fixed-point quantizer such as "
            f"brevitas.quant.fixed_point.Int8ActPerTensorFixedPointMinMaxInit."
        )
    return 1 - exponent


def brevitas_weights(module: Any) -> tuple[Tensor, Tensor | None]:
    """The weight and bias that a Brevitas layer multiplies with in its forward pass, quantized where it quantizes."""
    with torch.no_grad():
        quantized = module.quant_weight()
        weight: Tensor = getattr(quantized, "value", quantized)
        bias: Tensor | None = module.bias
        if bias is not None and getattr(getattr(module, "bias_quant", None), "is_quant_enabled", False):
            bias = module.quant_bias().value
        return weight, bias

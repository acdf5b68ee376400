"""Weights and biases on one power-of-two grid, or the reasons why they are not."""

from __future__ import annotations

from typing import Any

import numpy as np

from qleaky.fixed import grid_of
from qleaky.integer import Affine, Conv, Linear, Signal
from qleaky.lowering.grids import holds_exact_sums, narrowest, numbers
from qleaky.lowering.stages import Stage

WEIGHT_BITS = 16
BIAS_BITS = 32


def integer_linear(stage: Stage, x: Signal, reasons: list[str]) -> Linear | None:
    """Weights and bias as codes on one grid."""
    found = _weights(stage, x, reasons)
    return (
        None
        if found is None
        else Linear(name=stage.name, input=stage.sources[0], **found, accumulator_bits=stage.accumulator_bits)
    )


def integer_conv(stage: Stage, x: Signal, reasons: list[str]) -> Conv | None:
    """A convolution's weights and bias as codes on one grid."""
    found = _weights(stage, x, reasons)
    if found is None:
        return None
    settings = {key: stage.node[key] for key in ("stride", "pads", "dilation", "groups")}
    declared = stage.accumulator_bits
    return Conv(name=stage.name, input=stage.sources[0], **found, **settings, accumulator_bits=declared)


def integer_affine(stage: Stage, x: Signal, reasons: list[str]) -> Affine | None:
    """Factors and offsets as codes on one grid."""
    scale, bias = stage.node.constants
    where = f"layer {stage.name!r}: the constants"
    factor, offset = numbers(scale, where), numbers(bias, where)
    grid = (np.array(1), 0) if factor is None else grid_of(factor, max_bits=WEIGHT_BITS)
    if grid is None:
        reasons.append(
            f"layer {stage.name!r}: it multiplies by numbers that are on no power-of-two grid of at most {WEIGHT_BITS} "
            f"bits; use "
            f"m / 2**n."
        )
        return None
    codes, frac_bits = grid
    shared = _with_bias(stage, offset, codes, frac_bits, x, reasons)
    if shared is None:
        return None
    codes, offsets, frac_bits = shared
    return Affine(
        name=stage.name,
        input=stage.sources[0],
        scale=None if factor is None else narrowest(codes),
        bias=None if offsets is None else narrowest(offsets),
        scale_frac_bits=frac_bits,
    )


def _weights(stage: Stage, x: Signal, reasons: list[str]) -> dict[str, Any] | None:
    weight, bias = stage.node.constants
    assert weight is not None
    if not holds_exact_sums(weight.dtype):
        reasons.append(
            f"layer {stage.name!r}: it computes in {weight.dtype}, which does not hold exact sums; call net.float()."
        )
    where = f"layer {stage.name!r}: the weights or the bias"
    array, offset = numbers(weight, where), numbers(bias, where)
    grid = grid_of(array, max_bits=WEIGHT_BITS) if array is not None else None
    if grid is None:
        reasons.append(
            f"layer {stage.name!r}: weights are not on a power-of-two grid of at most {WEIGHT_BITS} bits; use "
            f"{_quantized(stage)}."
        )
        return None
    shared = _with_bias(stage, offset, *grid, x, reasons)
    if shared is None:
        return None
    codes, offsets, frac_bits = shared
    bias_codes = None if offsets is None else narrowest(offsets)
    return {"weight": narrowest(codes), "bias": bias_codes, "weight_frac_bits": frac_bits}


def _with_bias(
    stage: Stage, bias: Any, codes: Any, frac_bits: int, x: Signal, reasons: list[str]
) -> tuple[Any, Any, int] | None:
    """(weight codes, bias codes, frac_bits): the weights move to the grid of a bias that is finer than their sum."""
    if bias is None:
        return codes, None, frac_bits
    grid = grid_of(bias, max_bits=BIAS_BITS)
    if grid is None:
        reasons.append(
            f"layer {stage.name!r}: the bias is not on a power-of-two grid of at most {BIAS_BITS} bits; use "
            f"{_quantized(stage)}."
        )
        return None
    finer = grid[1] - (frac_bits + x.frac_bits)
    if not grid[0].any():
        finer = 0
    if not -BIAS_BITS < finer <= BIAS_BITS - WEIGHT_BITS:
        reasons.append(f"layer {stage.name!r}: weights and bias are too far apart for one grid; use {_quantized(stage)}.")
        return None
    return codes << max(finer, 0), grid[0] << max(-finer, 0), frac_bits + max(finer, 0)


def _quantized(stage: Stage) -> str:
    """The layer to train with instead."""
    if stage.node.kind == "linear":
        return "qleaky.QuantLinear"
    axes = len(stage.node["stride"]) if stage.node.kind == "conv" else 2
    return f"qleaky.QuantConv{axes}d"

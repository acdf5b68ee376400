"""Stages -> integer layers, with the reason for everything that is not on a grid."""

from __future__ import annotations

import numpy as np

from qleaky.errors import LoweringError
from qleaky.fixed import QFormat
from qleaky.integer import (
    Add,
    AveragePool,
    Concat,
    Delay,
    Input,
    IntegerNetwork,
    Layer,
    MaxPool,
    Readout,
    Reshape,
    Signal,
    Transpose,
)
from qleaky.lowering.integer_lif import emission, integer_lif
from qleaky.lowering.integer_weights import integer_affine, integer_conv, integer_linear
from qleaky.lowering.stages import Stage

Formats = dict[str, QFormat | None]


def integer_network(
    inputs: tuple[Input, ...], formats: Formats, stages: tuple[Stage, ...], num_steps: int, readouts: tuple[Readout, ...]
) -> tuple[IntegerNetwork | None, list[str]]:
    """The contract of a network's stages, or None and the reasons why it has none."""
    reasons: list[str] = []
    for name, fmt in formats.items():
        if fmt is None:
            what = "the input has" if len(formats) == 1 else f"input {name!r} has"
            reasons.append(f"{what} no declared format; pass input_format='spikes' or a qleaky.QFormat.")
    signals = {source.name: source.signal for source in inputs}
    emitted = {s.name: emission(s.neurons) for s in stages if s.neurons is not None}
    layers: list[Layer] = []
    for stage in stages:
        layer = _layer(stage, signals, emitted, reasons)
        if layer is not None:
            layers.append(layer)
        signals[stage.name] = _signal(stage, layer, signals, emitted)
    if reasons:
        return None, reasons
    return IntegerNetwork(inputs=inputs, num_steps=num_steps, layers=tuple(layers), readouts=readouts), []


def _signal(stage: Stage, layer: Layer | None, signals: dict[str, Signal], emitted: dict[str, Signal]) -> Signal:
    if stage.name in emitted:
        return emitted[stage.name]
    if layer is None:
        return Signal(stage.node.shape, 0, np.array(0), np.array(1))
    return layer.output() if isinstance(layer, Delay) else layer.output(*(signals[name] for name in stage.sources))


def _layer(stage: Stage, signals: dict[str, Signal], emitted: dict[str, Signal], reasons: list[str]) -> Layer | None:
    node = stage.node
    if stage.neurons is not None:
        return integer_lif(stage, reasons)
    source = stage.sources[0]
    match node.kind:
        case "linear":
            return integer_linear(stage, signals[source], reasons)
        case "conv":
            return integer_conv(stage, signals[source], reasons)
        case "affine":
            return integer_affine(stage, signals[source], reasons)
        case "delay":
            return delay(stage, emitted.get(source) or signals[source])
        case "average_pool":
            return _average_pool(stage, reasons)
        case _:
            return shaping(stage)


def shaping(stage: Stage) -> Layer:
    """A layer that only moves, adds or compares numbers; the same for integers and floats."""
    node, name, source = stage.node, stage.name, stage.sources[0]
    match node.kind:
        case "reshape":
            return Reshape(name=name, input=source, shape=node.shape)
        case "transpose":
            return Transpose(name=name, input=source, axes=node["axes"])
        case "add":
            return Add(name=name, inputs=stage.sources, signs=node["signs"])
        case "concat":
            return Concat(name=name, inputs=stage.sources, axis=node["axis"])
        case "max_pool":
            settings = {key: node[key] for key in ("kernel", "stride", "pads", "dilation")}
            return MaxPool(name=name, input=source, **settings)
        case "average_pool":
            settings = {key: node[key] for key in ("kernel", "stride", "pads", "divisor")}
            return AveragePool(name=name, input=source, **settings)
        case kind:
            raise LoweringError(f"layer {name!r}: {kind} has no layer; this is a bug in qleaky, please report it.")


def delay(stage: Stage, source: Signal) -> Delay:
    """One step of delay of a signal."""
    low, high = min(source.low, 0), max(source.high, 0)
    return Delay(
        name=stage.name, input=stage.sources[0], shape=stage.node.shape, frac_bits=source.frac_bits, low=low, high=high
    )


def _average_pool(stage: Stage, reasons: list[str]) -> Layer | None:
    pool = shaping(stage)
    if isinstance(pool, AveragePool) and pool.divisor_bits is None:
        reasons.append(
            f"layer {stage.name!r}: the average over {pool.divisor} numbers leaves the grid; use windows of 2, 4, 8 or 16 "
            f"numbers, or "
            f"divisor_override with a power of two."
        )
        return None
    return pool

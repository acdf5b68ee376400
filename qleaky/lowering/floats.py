"""Stages -> float layers, for networks that cannot be integers; their reference is what torch computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qleaky.errors import LoweringError
from qleaky.fixed import QFormat
from qleaky.integer import (
    Delay,
    FloatAffine,
    FloatConv,
    FloatInput,
    FloatLIF,
    FloatLinear,
    FloatNetwork,
    Golden,
    Readout,
)
from qleaky.integer.layers import TimeMode
from qleaky.lowering.grids import numbers
from qleaky.lowering.integers import shaping
from qleaky.lowering.stages import Stage
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint, Levels
from qleaky.tracing import StepGraph, record


def float_network(
    net: nn.Module,
    graph: StepGraph,
    stages: tuple[Stage, ...],
    num_steps: int,
    times: dict[str, TimeMode],
    formats: dict[str, QFormat | None],
    readouts: tuple[Readout, ...],
    reasons: list[str],
    sample_input: Any,
) -> FloatNetwork:
    """The network in float32, with torch's own results on the sample as golden vectors.

    Raises:
        LoweringError: layers that have no float form either.
    """
    problems = [problem for stage in stages if (problem := _no_float_form(stage))]
    if problems:
        raise LoweringError("The network cannot be lowered:\n" + "\n".join(f"  - {problem}" for problem in problems))
    inputs = tuple(FloatInput(i.node.shape, formats[i.name], times[i.name], i.name) for i in graph.inputs)
    return FloatNetwork(
        inputs=inputs,
        num_steps=num_steps,
        layers=tuple(_layer(stage) for stage in stages),
        readouts=readouts,
        reasons=tuple(reasons),
        golden=_golden(net, graph, num_steps, times, sample_input),
    )


def _no_float_form(stage: Stage) -> str | None:
    module = None if stage.neurons is None else stage.neurons.module
    if not isinstance(module, Leaky):
        return None
    if module.inhibition:
        return f"layer {stage.name!r}: inhibition is not supported yet; construct it with inhibition=False."
    quantizer = module.state_quant
    if quantizer and not isinstance(quantizer, (FixedPoint, Levels)):
        return (
            f"layer {stage.name!r}: its state quantizer {quantizer!r} is a function that no graph can hold; use "
            f"qleaky.FixedPoint, qleaky.state_quant or qleaky.from_brevitas."
        )
    return None


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return array.copy()


def _optional(tensor: Tensor | None, stage: Stage) -> NDArray[np.float32] | None:
    array = numbers(tensor, f"layer {stage.name!r}: the weights or the bias")
    return None if array is None else array.astype(np.float32)


def _layer(stage: Stage) -> Any:
    node, source = stage.node, stage.sources[0]
    if stage.neurons is not None:
        return _lif(stage)
    if node.kind == "delay":
        return Delay(name=stage.name, input=source, shape=node.shape, frac_bits=0, low=0, high=0)
    if node.kind not in ("linear", "conv", "affine"):
        return shaping(stage)
    first, bias = (_optional(constant, stage) for constant in node.constants)
    if node.kind == "affine":
        return FloatAffine(name=stage.name, input=source, scale=first, bias=bias)
    assert first is not None
    if node.kind == "linear":
        return FloatLinear(name=stage.name, input=source, weight=first, bias=bias)
    settings = {key: node[key] for key in ("stride", "pads", "dilation", "groups")}
    return FloatConv(name=stage.name, input=source, weight=first, bias=bias, **settings)


def _lif(stage: Stage) -> FloatLIF:
    assert stage.neurons is not None
    module = stage.neurons.module
    assert isinstance(module, Leaky)
    quantizer = module.state_quant
    spec = quantizer.spec if isinstance(quantizer, FixedPoint) else None
    extra = {} if spec is None else {"state": spec.format, "rounding": spec.rounding, "overflow": spec.overflow}
    return FloatLIF(
        name=stage.name,
        input=stage.sources[0],
        beta=_array(module.effective_beta()),
        theta=_array(module.threshold),
        graded=_array(module.graded_spikes_factor),
        levels=_array(quantizer.levels) if isinstance(quantizer, Levels) else None,
        decay=module.decay,
        reset_mechanism=module.reset_mechanism,
        reset_timing=module.reset_timing,
        compare=module.compare,
        rounding_site=module.rounding_site,
        **extra,
    )


def _golden(net: nn.Module, graph: StepGraph, num_steps: int, times: dict[str, TimeMode], sample_input: Any) -> Golden:
    """What torch computes on the sample: a whole sequence, or one step's input repeated."""
    arguments = tuple(sample_input) if isinstance(sample_input, (tuple, list)) else (sample_input,)
    inputs: dict[str, Tensor] = {}
    for each in graph.inputs:
        value: Tensor = arguments[each.position]
        if graph.call.batch_first and not each.static:
            value = value.transpose(0, 1)
        repeated = graph.call.mode == "step" and times[each.name] == "sequence"
        inputs[each.name] = torch.stack([value] * num_steps) if repeated else value
    recorded = record(net, graph, inputs, num_steps)
    return Golden(
        {name: _array(value) for name, value in inputs.items()},
        {name: _array(spikes) for name, spikes in recorded.spikes.items()},
        {name: _array(membranes) for name, membranes in recorded.membranes.items()},
    )

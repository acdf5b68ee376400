"""Torch layers -> float layers, for networks that cannot be integers; their reference is what torch computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qleaky.errors import LoweringError
from qleaky.fixed import QFormat
from qleaky.integer import FloatInput, FloatLIF, FloatLinear, FloatNetwork, Golden, Readout
from qleaky.integer.layers import TimeMode
from qleaky.lowering.chain import Chain, Stage
from qleaky.lowering.integers import linear_weights
from qleaky.neuron import Leaky
from qleaky.quantizers import FixedPoint, Levels
from qleaky.tracing import StepGraph, record


def float_network(
    net: nn.Module,
    graph: StepGraph,
    chain: Chain,
    num_steps: int,
    time: TimeMode,
    fmt: QFormat | None,
    readout: Readout,
    reasons: list[str],
    sample_input: Any,
) -> FloatNetwork:
    """The chain in float32, with torch's own results on the sample as golden vectors.

    Raises:
        LoweringError: layers that have no float form either.
    """
    problems = [problem for stage in chain.stages if (problem := _no_float_form(stage))]
    if problems:
        raise LoweringError("The network cannot be lowered:\n" + "\n".join(f"  - {problem}" for problem in problems))
    layers = tuple(_lif(stage) if isinstance(stage.module, Leaky) else _linear(stage) for stage in chain.stages)
    return FloatNetwork(
        input=FloatInput(graph.input_shape, fmt, time),
        num_steps=num_steps,
        layers=layers,
        readout=readout,
        reasons=tuple(reasons),
        golden=_golden(net, graph, num_steps, time, sample_input),
    )


def _no_float_form(stage: Stage) -> str | None:
    if not isinstance(stage.module, Leaky):
        return None
    if stage.module.inhibition:
        return f"layer {stage.name!r}: inhibition is not supported yet; construct it with inhibition=False."
    quantizer = stage.module.state_quant
    if quantizer and not isinstance(quantizer, (FixedPoint, Levels)):
        return (
            f"layer {stage.name!r}: its state quantizer {quantizer!r} is a function that no graph can hold; use "
            f"qleaky.FixedPoint, qleaky.state_quant or qleaky.from_brevitas."
        )
    return None


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return array.copy()


def _linear(stage: Stage) -> FloatLinear:
    weight, bias = linear_weights(stage.module)
    return FloatLinear(name=stage.name, input=stage.source, weight=_array(weight), bias=None if bias is None else _array(bias))


def _lif(stage: Stage) -> FloatLIF:
    module = stage.module
    assert isinstance(module, Leaky)
    quantizer = module.state_quant
    spec = quantizer.spec if isinstance(quantizer, FixedPoint) else None
    extra = {} if spec is None else {"state": spec.format, "rounding": spec.rounding, "overflow": spec.overflow}
    return FloatLIF(
        name=stage.name,
        input=stage.source,
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


def _golden(net: nn.Module, graph: StepGraph, num_steps: int, time: TimeMode, sample_input: Any) -> Golden:
    """What torch computes on the sample: a whole sequence, or one step's input repeated."""
    first: Tensor = sample_input[0] if isinstance(sample_input, (tuple, list)) else sample_input
    steps = list(first.unbind(0)) if graph.convention == "sequence" else [first] * num_steps
    recorded = record(net, graph, steps)
    inputs = first if time == "static" else torch.stack(steps)
    return Golden(
        _array(inputs),
        {name: _array(spikes) for name, spikes in recorded.spikes.items()},
        {name: _array(membranes) for name, membranes in recorded.membranes.items()},
    )

"""The report of a quantized network, from what was chosen and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from qleaky.calibration.measuring import Comparison
from qleaky.calibration.parts import neuron_at
from qleaky.calibration.preparing import Calibration
from qleaky.calibration.report import QuantizationReport, StateRow, WeightRow, span
from qleaky.calibration.search import Chosen
from qleaky.calibration.weights import clipped_share
from qleaky.fixed import QFormat
from qleaky.layers import QuantizedLayer
from qleaky.layers.codes import WeightBits
from qleaky.quantizers import FixedPoint
from qleaky.tracing import Neurons, StepGraph


def state_formats(graph: StepGraph, made: nn.Module) -> dict[str, QFormat | None]:
    """Formats of the states by neurons."""
    found: dict[str, QFormat | None] = {}
    for neurons in graph.neurons:
        quantizer = neuron_at(made, neurons.path).state_quant
        found[neurons.name] = quantizer.format if isinstance(quantizer, FixedPoint) else None
    return found


def report_of(
    calibration: Calibration, made: nn.Module, chosen: Chosen, *, bits: Mapping[str, Any], found: Comparison
) -> QuantizationReport:
    """The report on ``made``, whose weights have ``bits`` by layer, and of which ``found`` was measured."""
    parts, samples, read = calibration.parts, calibration.samples, calibration.read
    weights = tuple(
        _weight_row(path, layer, made.get_submodule(path), chosen.factors.get(path, 1.0), bits[path])
        for path, layer in parts.weighted.items()
        if bits[path] is not None
    )
    states = tuple(_state_row(n, (calibration.net, made), chosen, found) for n in samples.graph.neurons)
    died = (row.layer for row in states if row.rate_before and not row.rate_after)
    silenced = tuple(f"layer {name!r} spikes in float and never after quantizing; give its states more bits" for name in died)
    right = [None, None] if calibration.classes is None else [count / samples.count for count in found.right]
    return QuantizationReport(
        weights=weights,
        states=states,
        kept=parts.kept,
        folded=calibration.folded,
        inputs=tuple(samples.formats.items()),
        chosen_inputs=samples.chosen,
        samples=samples.count,
        num_steps=samples.num_steps,
        readout=f"{read.class_of[1]} of {read.class_of[0]}",
        accuracy_before=right[0],
        accuracy_after=right[1],
        notes=(*calibration.notes, *silenced),
    )


def _weight_row(path: str, layer: Any, new: Any, factor: float, bits: WeightBits) -> WeightRow:
    assert isinstance(new, QuantizedLayer)
    exponents = new.weight_exponent
    wanted = layer.weight.detach() * factor
    with torch.no_grad():
        error = (new.quantized()[0] - wanted).square().mean().sqrt() / wanted.square().mean().sqrt().clamp(min=1e-30)
    spread = int(exponents.min()), int(exponents.max())
    return WeightRow(path, bits, spread, clipped_share(new, layer, factor), float(error), factor)


def _state_row(neurons: Neurons, nets: tuple[nn.Module, nn.Module], chosen: Chosen, found: Comparison) -> StateRow:
    old, new = (neuron_at(net, neurons.path) for net in nets)
    tally = found.tallies[neurons.name]
    state = chosen.states.get(neurons.path)
    quantizer = new.state_quant
    return StateRow(
        layer=neurons.name,
        format=quantizer.format if isinstance(quantizer, FixedPoint) else None,
        threshold_before=span(old.threshold),
        threshold_after=span(new.threshold),
        beta_before=span(old.effective_beta()),
        beta_after=span(new.effective_beta()),
        factor=1.0 if state is None else state.factor,
        saturated=tally.share(tally.saturated),
        spikes_changed=tally.share(tally.changed),
        rate_before=tally.share(tally.before),
        rate_after=tally.share(tally.after),
    )

"""``quantize``: a float network to one whose weights and states have few bits, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from qleaky.calibration.building import WeightOptions, modes, quantized_copy, restore
from qleaky.calibration.input_formats import Format
from qleaky.calibration.measuring import compare
from qleaky.calibration.parts import by_layer
from qleaky.calibration.preparing import Calibration, prepare
from qleaky.calibration.samples import Calling
from qleaky.calibration.search import Chosen, Task, search
from qleaky.calibration.signals import received_formats
from qleaky.calibration.summary_of_run import report_of, state_formats
from qleaky.dynamics import choice
from qleaky.errors import InputError
from qleaky.fixed import Rounding
from qleaky.layers.codes import WeightBits
from qleaky.neuron import Leaky


def quantize(
    net: nn.Module,
    calibration_inputs: Any,
    weight_bits: WeightBits | Mapping[str, WeightBits | None] = 8,
    state_bits: int | Mapping[str, int | None] = 8,
    *,
    num_steps: int | None = None,
    time: str | None = None,
    input_format: Format | Mapping[str, Format] | None = None,
    labels: Any = None,
    target: str | None = None,
    per_channel: bool = False,
    readout: str | Mapping[str, str] | None = None,
    accumulator_bits: int | None = None,
    rounding: str | Rounding = "half_up",
    threshold_steps: int = 1,
) -> nn.Module:
    r"""A copy of a trained network with quantized weights and states, chosen so that its spikes change least.

    ::

        W = clip(round(c w / 2**e)) * 2**e       U = saturate(round(beta U + I - R theta)) on the grid 2**-f
        theta -> round(c theta * 2**f) * 2**-f   beta -> round(256 beta) / 256

    Layers are taken in the order of execution, each with the layers before it quantized. Of the candidates for (f, c) and for e
    the one is taken that changes spikes and spike counts least against the float network on the calibration samples, in the
    last layers what ``readout`` reads. c multiplies weights, bias and threshold of a layer alike, which changes no spike (a
    LIF step is positively homogeneous) and puts the threshold on the state's grid (of thresholds per neuron the median one; the
    others go to their nearest codes). It is 1 for graded spikes, layers used twice, current that does not pass a weight, and
    last layers whose membranes are read as they are.

    Linear, Conv1d and Conv2d become ``QuantLinear``, ``QuantConv1d`` and ``QuantConv2d``, under the same names, and every
    ``Leaky`` gets a ``FixedPoint`` state and ``MulShift(n=8)``; batch normalisations are folded first. Modes, devices, hooks
    and requires_grad are as they were; shared modules stay shared. ``net`` itself is not changed. The copy can be fine-tuned; a
    threshold that is learned leaves the grid then, and :func:`qleaky.calibration.snap_to_grid` puts it back.

    Args:
        net: the float network; how its forward may be written is as for :func:`qleaky.lower`.
        calibration_inputs: what ``lower`` takes as sample_input, of a few hundred samples of the training set. Where forward is
            one step, (T, B, ...) or, for the same input in all steps, (B, ...).
        weight_bits: 2..8, "ternary" or "binary"; or a dict by layer, None and layers that are not named staying float.
        state_bits: 2..24, or a dict by layer.
        num_steps: T, where forward is one step.
        time: "sequence" or "static", where forward is one step and the shape does not tell.
        input_format: "spikes", a :class:`~qleaky.QFormat`, or a dict of them by name; None: "spikes" for zeros and ones, else
            the 8-bit format that fits the data. The report names it; pass it to ``lower``.
        labels: classes of the calibration samples, for the accuracies in the report.
        target: a device profile by name; there are none yet.
        per_channel: a scale for each output channel.
        readout: "spike_count", "membrane_mean" or "last_membrane" of the last layer, or {layer: readout}. ":argmax" behind it
            says that only the class matters. None: counts and membranes both count, and accuracy is that of the spike count.
        accumulator_bits: as for ``QuantLinear``.
        rounding: of the states.
        threshold_steps: least code of a threshold whose spikes are heard or read. With few bits a code of 1 often changes the
            fewest spikes, as it leaves most room for membranes; where the copy is trained on, 3 leaves more to learn with.

    Returns:
        The quantized network; its ``quantization_report`` is a :class:`~qleaky.calibration.QuantizationReport`.

    Raises:
        InputError: bad bits, steps or formats; no samples, NaN, labels that do not fit; a layer that never spikes on them.
        LoweringError: forward cannot be traced.

    Example:
        >>> import torch, qleaky
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(6, 4), qleaky.Leaky(0.9, threshold=0.3, init_hidden=True))
        >>> quantized = quantize(net, (torch.rand(10, 64, 6) < 0.5).float(), weight_bits=4, state_bits=6, num_steps=10)
        >>> quantized[0].weight_bits, quantized[1].state_quant.format.bits
        (4, 6)
    """
    _check_target(target)
    _check_steps(threshold_steps)
    rounds = choice(Rounding, rounding, "quantize", "rounding")
    calibration = prepare(net, calibration_inputs, labels, Calling(num_steps, time, input_format, readout))
    parts, samples = calibration.parts, calibration.samples
    bits = by_layer("weight_bits", weight_bits, parts.weighted, None), by_layer("state_bits", state_bits, parts.neurons, None)
    options = WeightOptions(per_channel, accumulator_bits)
    made, chosen = quantized_network(calibration, bits, options, rounds, threshold_steps)
    found = compare((calibration.net, made), samples, state_formats(samples.graph, made), calibration.classes, calibration.read)
    restore(made, modes(net))
    _empty_membranes(made)
    made.quantization_report = report_of(calibration, made, chosen, bits=bits[0], found=found)  # type: ignore[assignment]
    return made


def quantized_network(
    calibration: Calibration,
    bits: tuple[dict[str, Any], dict[str, Any]],
    options: WeightOptions,
    rounding: Rounding,
    threshold_steps: int = 1,
) -> tuple[nn.Module, Chosen]:
    """The quantized copy, in evaluation mode, and what was chosen; layers whose bits are None stay float."""
    net, few, read = calibration.net, calibration.few, calibration.read
    layers = {path: layer for path, layer in calibration.parts.weighted.items() if bits[0][path] is not None}
    made = quantized_copy(net, layers, bits[0], received_formats(few, net, layers), options)
    states = {path: each for path, each in bits[1].items() if each is not None}
    task = Task(net, made, layers, states, read.kinds, read.fixed, rounding, threshold_steps)
    return made, search(task, few, calibration.recorded)


def _empty_membranes(net: nn.Module) -> None:
    """The float network's membranes are on no grid: a batch that began from one would not be exact."""
    for module in net.modules():
        if isinstance(module, Leaky):
            module.mem = module.mem.new_zeros(0)


def _check_target(target: str | None) -> None:
    if target is not None:
        raise InputError(
            f"quantize: target={target!r} is unknown; no device profiles are known yet. Leave target out and choose "
            f"weight_bits and state_bits."
        )


def _check_steps(steps: Any) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(
            f"quantize: threshold_steps={steps!r}; it is a whole number of steps of the state, at least 1, which lie between 0 "
            f"and a threshold."
        )

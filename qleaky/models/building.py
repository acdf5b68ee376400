"""A float network from a recipe's ``[model]`` table."""

from __future__ import annotations

from qleaky import surrogate
from qleaky.datasets import DataSet
from qleaky.errors import InputError
from qleaky.models.feedforward import FeedForward, LIFSettings
from qleaky.recipes import ModelTable


def build(model: ModelTable, data: DataSet | None = None) -> FeedForward:
    """The float network that a recipe's ``[model]`` table describes, with weights drawn by torch's generator.

    It takes a static input (B, ...) where the table has num_steps, else sequences (T, B, ...), and gives spikes and membranes
    (T, B, classes). :func:`qleaky.quantize` makes its quantized form.

    Args:
        model: the table.
        data: the data set that the network is for; what does not fit it is an error here rather than in training.

    Raises:
        InputError: layers that do not follow each other, or a network that does not fit the data.
    """
    slope = () if model.surrogate_slope is None else (model.surrogate_slope,)
    lif = LIFSettings(
        model.beta,
        model.threshold,
        reset_mechanism=model.reset_mechanism,
        spike_grad=getattr(surrogate, model.surrogate)(*slope),
        output_reset_mechanism=model.output_reset_mechanism,
    )
    net = FeedForward(model.layers, None, lif, input_shape=model.input, num_steps=model.num_steps)
    if data is not None:
        _check(net, model, data)
    return net


def _check(net: FeedForward, model: ModelTable, data: DataSet) -> None:
    if data.time == "static" and net.num_steps is None:
        raise InputError(f"model.num_steps is missing: {data.name} has static samples; say for how many steps one is shown.")
    if data.time == "sequence" and net.num_steps is not None:
        raise InputError(
            f"model.num_steps = {net.num_steps}: {data.name} are sequences of {data.num_steps} steps; leave it out."
        )
    if net.input_shape != data.sample_shape:
        first = data.sample_shape[0] if model.input is None and len(data.sample_shape) == 1 else None
        fix = f"model.input = {list(data.sample_shape)}" if first is None else f"the first of model.layers to {first}"
        raise InputError(
            f"model: the network takes samples of shape {net.input_shape}, {data.name} has {data.sample_shape}. Set {fix}."
        )
    if model.layers[-1] != data.classes:
        raise InputError(f"model.layers ends with {model.layers[-1]}; {data.name} has {data.classes} classes.")

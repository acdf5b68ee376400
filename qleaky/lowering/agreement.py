"""Checks that the contract says what torch does: at another batch size, and on random inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qleaky.errors import LoweringError
from qleaky.integer import IntegerNetwork
from qleaky.reference import run
from qleaky.tracing import StepGraph, record, trace

SAMPLES = 2


def check_batch_sizes(net: nn.Module, sample_input: Any, graph: StepGraph) -> None:
    """Trace twice the batch; an artefact has one graph for all batch sizes.

    Raises:
        LoweringError: forward does something else there.
    """
    arguments = tuple(sample_input) if isinstance(sample_input, (tuple, list)) else (sample_input,)
    axis = 0 if graph.convention == "step" else 1
    batch = arguments[0].shape[axis]
    doubled = tuple(_doubled(a, axis if i == 0 else 0, batch) for i, a in enumerate(arguments))
    try:
        same = _skeleton(trace(net, doubled, graph.convention)) == _skeleton(graph)
    except LoweringError as error:
        raise LoweringError(f"forward works for a batch of {batch}, but not for one of {2 * batch}: {error}") from error
    if not same:
        raise LoweringError(
            f"forward calls other layers for a batch of {2 * batch} than for one of {batch}; it must do the same for every "
            f"batch size."
        )


def _doubled(argument: Any, axis: int, batch: int) -> Any:
    if not isinstance(argument, Tensor) or argument.ndim <= axis or argument.shape[axis] != batch:
        return argument
    return torch.cat([argument, argument], dim=axis)


def _skeleton(graph: StepGraph) -> Any:
    calls = [(call.path, call.method, call.inputs, call.mem, call.outputs) for call in graph.calls]
    return calls, [operation.name for operation in graph.operations], graph.outputs


def check_against_torch(net: nn.Module, graph: StepGraph, network: IntegerNetwork, like: Tensor) -> None:
    """Run torch and the reference on two random samples, where the proof says that they agree.

    Raises:
        LoweringError: they do not, so forward does something that tracing it did not show.
    """
    if not network.proof.training_exact:
        return
    fmt, static = network.input.format, network.input.time == "static"
    rng = np.random.default_rng(0)
    codes = rng.integers(fmt.lowest, fmt.highest + 1, (1 if static else network.num_steps, SAMPLES, *network.input.shape))
    values = torch.from_numpy(fmt.decode(codes)).to(like)
    steps = [values[0]] * network.num_steps if static else list(values.unbind(0))
    recorded = record(net, graph, steps)
    reference = run(network, codes[0] if static else codes)
    for lif in network.lif_layers:
        mem = recorded.membranes[lif.name].cpu().double().numpy() * 2.0**lif.state.frac_bits
        spk = recorded.spikes[lif.name].cpu().double().numpy()
        wrong = (mem != reference.membranes[lif.name]) | (spk != reference.spikes[lif.name])
        if wrong.any():
            t = int(np.argwhere(wrong)[0][0])
            raise LoweringError(
                f"layer {lif.name!r} computes something else in torch than its settings say, first at step {t} of a random "
                f"input: does forward depend on the values, on earlier calls, or change what layers return?"
            )

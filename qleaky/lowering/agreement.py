"""A check that the contract says what torch does, on random inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qleaky.errors import LoweringError
from qleaky.integer import FloatNetwork, Input, IntegerNetwork
from qleaky.integer.float_network import FloatInput
from qleaky.lowering.step_check import check_steps, disagreement
from qleaky.reference import run
from qleaky.tracing import StepGraph, TorchRecording, record

SAMPLES = 2
MOST_STEPS = 64
Arrays = dict[str, NDArray[Any]]


def check_against_torch(net: nn.Module, graph: StepGraph, network: IntegerNetwork | FloatNetwork, like: Tensor) -> None:
    """Run torch on two random samples, and the contract too.

    Where the proof says that they agree they must, bit for bit; where there is none, every step must be right up to
    rounding errors. A step network runs for 64 steps at most.

    Raises:
        LoweringError: they differ, so forward does something that tracing it did not show.
    """
    steps = min(network.num_steps, MOST_STEPS) if graph.call.mode == "step" else network.num_steps
    codes, values = _random_inputs(network.inputs, steps, like)
    recorded = record(net, graph, values, steps)
    if isinstance(network, IntegerNetwork) and network.proof.exact:
        _check_codes(msgspec.structs.replace(network, num_steps=steps), codes, recorded, graph.call.kept)
    else:
        check_steps(graph, values, recorded)


def _random_inputs(inputs: Sequence[Input | FloatInput], steps: int, like: Tensor) -> tuple[Arrays, dict[str, Tensor]]:
    """Codes and values by name; multiples of 1/16 between -1 and 1 where no format is declared."""
    rng = np.random.default_rng(0)
    codes, values = {}, {}
    for source in inputs:
        shape = (*((SAMPLES,) if source.time == "static" else (steps, SAMPLES)), *source.shape)
        if source.format is None:
            low, step = (-16, 1 / 16) if like.is_floating_point() else (0, 1)
            codes[source.name] = rng.integers(low, 17, shape)
            numbers = codes[source.name] * step
        else:
            codes[source.name] = rng.integers(source.format.lowest, source.format.highest + 1, shape).astype(
                source.format.dtype
            )
            numbers = source.format.decode(codes[source.name])
        whole = bool((numbers == np.rint(numbers)).all())
        kind = like.dtype if like.is_floating_point() or whole else torch.float32
        values[source.name] = torch.from_numpy(np.ascontiguousarray(numbers)).to(like.device, kind)
    return codes, values


def _check_codes(network: IntegerNetwork, codes: Arrays, recorded: TorchRecording, kept: tuple[str, ...]) -> None:
    reference = run(network, codes)
    for lif in network.lif_layers:
        mem = np.ldexp(recorded.membranes[lif.name].cpu().double().numpy(), lif.state.frac_bits)
        spk = np.ldexp(recorded.spikes[lif.name].cpu().double().numpy(), lif.graded_frac_bits)
        wrong = (mem != reference.membranes[lif.name]) | (spk != reference.spikes[lif.name])
        if wrong.any():
            raise LoweringError(disagreement(lif.name, int(np.argwhere(wrong)[0][0]), kept))

"""What every choice starts from: the float network, its layers, the samples, and what it computes on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qleaky.calibration.folding import folded_copy
from qleaky.calibration.liveness import check_alive
from qleaky.calibration.measuring import batch_size, run
from qleaky.calibration.parts import Parts, parts_of
from qleaky.calibration.readouts import Readouts
from qleaky.calibration.samples import Calling, Samples, arguments_of, checked_labels, read_samples
from qleaky.errors import InputError
from qleaky.neuron import Leaky
from qleaky.tracing import TorchRecording

SEARCHED = 256
"""Samples that the search looks at; what is reported is about all of them."""
SEARCHED_ELEMENTS = 1 << 22
FEWEST = 16
"""Spikes of the largest layer on which the search looks, and samples that it takes in any case."""


@dataclass(frozen=True)
class Calibration:
    """A float network with its batch normalisations folded, and its samples.

    ``few`` are the samples that the search looks at, ``recorded`` what the network computes on them, ``classes`` the labels of
    all samples, ``notes`` what the report should say about the samples.
    """

    net: nn.Module
    folded: tuple[str, ...]
    parts: Parts
    samples: Samples
    classes: Tensor | None
    read: Readouts
    few: Samples
    recorded: TorchRecording
    notes: tuple[str, ...]


def prepare(net: nn.Module, inputs: Any, labels: Any, calling: Calling) -> Calibration:
    """Check everything, and run the float network.

    Raises:
        InputError, LoweringError: as :func:`qleaky.quantize`.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"quantize: net is a {type(net).__name__}; pass the torch.nn.Module itself.")
    _check_finite(net)
    arguments = arguments_of(inputs)
    reference, folded = folded_copy(net, arguments, calling.num_steps)
    parts = parts_of(reference)
    samples = read_samples(reference, arguments, calling)
    classes = checked_labels(labels, samples.count)
    read = Readouts.of(samples.graph, calling.readout, classes)
    few = _searched(samples)
    notes = check_alive(reference, samples, read)
    return Calibration(reference, folded, parts, samples, classes, read, few, run(reference, few), notes)


def _check_finite(net: nn.Module) -> None:
    """Refuse weights of a training that diverged; thresholds of neurons may be infinite, as those of integrators are."""
    for path, module in net.named_modules():
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in tensors if not isinstance(module, Leaky) else []:
            if tensor.is_floating_point() and (bad := int((~tensor.isfinite()).sum())):
                raise InputError(
                    f"quantize: {f'{path}.{name}'.lstrip('.')} holds {bad} numbers that are NaN or infinite; look for a "
                    f"diverged training (a smaller learning rate, gradient clipping)."
                )


def _searched(samples: Samples) -> Samples:
    """The samples that the search looks at: evenly spread, as many as its memory allows."""
    count = min(samples.count, SEARCHED, max(batch_size(samples, SEARCHED_ELEMENTS), FEWEST))
    return samples.taken(torch.linspace(0, samples.count - 1, count).round().long())

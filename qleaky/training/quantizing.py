"""The step between the phases: a float network, calibrated on training samples, becomes a quantized one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from qleaky.calibration import quantize
from qleaky.datasets import DataSet
from qleaky.recipes import Recipe
from qleaky.training.building import restart
from qleaky.training.randomness import generator, seed_everything
from qleaky.training.samples import Samples


def quantized_copy(net: nn.Module, recipe: Recipe, data: DataSet, train: Samples, seed: int) -> nn.Module:
    """The network of the quantized phase before its first epoch.

    It depends on the float weights, the recipe and the seed alone, so a run that goes on in this phase builds the same one.
    """
    table = recipe.quantization
    assert table is not None
    order = torch.randperm(len(train), generator=generator(seed, "calibration"))
    batch = train[order[: table.calibration_samples]]
    seed_everything(seed, "quantize")
    restart(net)
    options: dict[str, Any] = {
        "per_channel": table.per_channel,
        "accumulator_bits": table.accumulator_bits,
        "rounding": table.rounding,
        "threshold_steps": table.threshold_steps,
        "readout": recipe.model.readout,
        "input_format": data.format,
    }
    bits: Any = table.weight_bits
    return quantize(net.eval(), batch.values(), bits, table.state_bits, labels=batch.labels, **options)

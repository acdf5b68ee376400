"""Formats of a network's inputs: declared, or chosen from the data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from qleaky.errors import InputError
from qleaky.fixed import QFormat
from qleaky.lowering import input_formats
from qleaky.tracing import StepGraph

Format = QFormat | Literal["spikes"]
SPIKES = QFormat(1, 0, signed=False)
BITS = 8


def on_their_grids(
    graph: StepGraph, values: Mapping[str, Tensor], declared: Any, coded: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, QFormat | None], tuple[str, ...]]:
    """(values on their grids, formats, names of those whose format was chosen); a network's own quantizer is left to it.

    Args:
        graph: tells the inputs, and which of them the network quantizes.
        values: by name.
        declared: as ``lower``'s input_format.
        coded: names of inputs that were given as integer codes.

    Raises:
        InputError: values that are no spikes where spikes are declared.
    """
    formats = input_formats(declared, graph)
    own = {i.name for i in graph.inputs if i.format is not None}
    rounded: dict[str, Tensor] = {}
    used: dict[str, QFormat | None] = {}
    chosen = []
    for name, value in values.items():
        fmt = formats[name]
        if name in own:
            rounded[name], used[name] = value, None
            continue
        if fmt is None:
            fmt = chosen_format(value)
            chosen.append(name)
        elif name in coded and fmt != SPIKES:
            value = _decoded(name, value, fmt)
        rounded[name], used[name] = _rounded(name, value, fmt), fmt
    return rounded, used, tuple(chosen)


def chosen_format(values: Tensor) -> QFormat:
    """Spikes for zeros and ones, else the 8-bit format with the least squared error; unsigned where nothing is negative.

    >>> [chosen_format(torch.tensor(values)) for values in ([0.0, 1.0], [-1.9, 0.5], [0.0, 0.9])]
    [UQ1.0, Q1.6, UQ0.8]
    """
    x = values.detach().cpu().double().numpy()
    if np.isin(x, (0, 1)).all():
        return SPIKES
    signed = bool(x.min() < 0)
    largest = float(np.abs(x).max())
    fitting = BITS - signed - int(np.ceil(np.log2(largest)))
    candidates = [QFormat(BITS, fitting + finer, signed) for finer in (0, 1)]
    return min(candidates, key=lambda fmt: float(np.square(fmt.decode(fmt.quantize(x)) - x).sum()))


def _decoded(name: str, codes: Tensor, fmt: QFormat) -> Tensor:
    """Values of integer codes."""
    whole = fmt.encode(codes.cpu().long(), where=f"calibration_inputs: input {name!r}")
    return torch.from_numpy(fmt.decode(whole)).to(codes)


def _rounded(name: str, values: Tensor, fmt: QFormat) -> Tensor:
    if fmt == SPIKES and not bool(((values == 0) | (values == 1)).all()):
        wrong = float(values[(values != 0) & (values != 1)].flatten()[0])
        raise InputError(
            f"calibration_inputs: input {name!r} holds {wrong!r}, but input_format is 'spikes', which are 0 or 1. Declare a "
            f"qleaky.QFormat, or leave input_format out to have one chosen."
        )
    if fmt == SPIKES:
        return values
    return torch.from_numpy(fmt.decode(fmt.quantize(values.detach().cpu().numpy()))).to(values)

"""``sensitivity``: which layer's bits cost accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from qleaky.calibration.building import WeightOptions
from qleaky.calibration.input_formats import Format
from qleaky.calibration.measuring import Comparison, compare
from qleaky.calibration.parts import Parts
from qleaky.calibration.post_training import quantized_network
from qleaky.calibration.preparing import Calibration, prepare
from qleaky.calibration.samples import Calling
from qleaky.calibration.sensitivity_table import Sensitivity, SensitivityRow
from qleaky.errors import InputError
from qleaky.fixed import Rounding
from qleaky.layers.codes import WeightBits, codes_of


def sensitivity(
    net: nn.Module,
    inputs: Any,
    labels: Any,
    bits: Sequence[WeightBits] = (8, 4, 3, 2),
    *,
    num_steps: int | None = None,
    time: str | None = None,
    input_format: Format | Mapping[str, Format] | None = None,
    per_channel: bool = False,
    readout: str | Mapping[str, str] | None = None,
    rest: int | None = None,
) -> Sensitivity:
    """Quantize the weights, and the states, of each layer alone to each width, and measure what that costs.

    Formats are chosen as :func:`qleaky.quantize` chooses them, for the one layer; nothing is trained. Where the rows name a
    layer that costs much, give it more bits: ``quantize`` takes bits by layer.

    Args:
        net: the float network.
        inputs: samples, as the calibration_inputs of ``quantize``; formats are chosen on some of them, and all are measured.
        labels: their classes.
        bits: widths to try, 2 to 8; "ternary" and "binary" are tried for weights alone.
        num_steps, time, input_format, per_channel, readout: as for ``quantize``.
        rest: bits of all other weights and states; None leaves them float.

    Raises:
        InputError: bits that make no sense, no labels, and all that ``quantize`` refuses.

    Example:
        >>> import torch, qleaky
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(6, 4), qleaky.Leaky(0.9, threshold=0.3, init_hidden=True))
        >>> scan = sensitivity(net, (torch.rand(10, 64, 6) < 0.5).float(), torch.arange(64) % 4, bits=(8, 2), num_steps=10)
        >>> [(row.layer, row.what, row.bits) for row in scan.rows]
        [('0', 'weights', 8), ('0', 'weights', 2), ('1', 'states', 8), ('1', 'states', 2)]
    """
    _check(labels, bits)
    calibration = prepare(net, inputs, labels, Calling(num_steps, time, input_format, readout))
    options = WeightOptions(per_channel)
    rows, right = [], 0
    for layer, what, width in _trials(calibration.parts, bits):
        found = _measured(calibration, _bits(calibration.parts, (layer, what, width), rest), options)
        right = found.right[0]
        rows.append(_row((layer, what, width), found, calibration.samples.count))
    read, count = calibration.read, calibration.samples.count
    return Sensitivity(tuple(rows), right / count, count, f"{read.class_of[1]} of {read.class_of[0]}", rest)


def _check(labels: Any, bits: Sequence[WeightBits]) -> None:
    if labels is None:
        raise InputError("sensitivity: labels=None; accuracy needs the class of every sample.")
    if isinstance(bits, (str, int)) or not bits:
        raise InputError(f"sensitivity: bits={bits!r}; pass the widths to try, such as (8, 4, 2).")
    for width in bits:
        codes_of(width, "sensitivity")


Trial = tuple[str, str, WeightBits]
"""Layer, "weights" or "states", and bits."""


def _trials(parts: Parts, bits: Sequence[WeightBits]) -> Iterator[Trial]:
    yield from ((path, "weights", width) for path in parts.weighted for width in bits)
    yield from ((path, "states", width) for path in parts.neurons for width in bits if isinstance(width, int))


def _bits(parts: Parts, trial: Trial, rest: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bits of all weights and all states."""
    layer, what, width = trial
    weights: dict[str, Any] = dict.fromkeys(parts.weighted, rest)
    states: dict[str, Any] = dict.fromkeys(parts.neurons, rest)
    (weights if what == "weights" else states)[layer] = width
    return weights, states


def _measured(calibration: Calibration, bits: tuple[dict[str, Any], dict[str, Any]], options: WeightOptions) -> Comparison:
    made, _ = quantized_network(calibration, bits, options, Rounding.HALF_UP)
    return compare((calibration.net, made), calibration.samples, {}, calibration.classes, calibration.read)


def _row(trial: Trial, found: Comparison, count: int) -> SensitivityRow:
    tallies = found.tallies.values()
    changed = sum(tally.changed for tally in tallies) / sum(tally.total for tally in tallies)
    return SensitivityRow(*trial, found.right[1] / count, changed)

"""``sensitivity``: which layer's bits cost accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from qleaky.calibration.building import WeightOptions
from qleaky.calibration.folding import folded_copy
from qleaky.calibration.input_formats import Format
from qleaky.calibration.liveness import check_alive
from qleaky.calibration.measuring import compare, run
from qleaky.calibration.parts import Parts, parts_of
from qleaky.calibration.post_training import quantized_network, searched
from qleaky.calibration.readouts import Readouts
from qleaky.calibration.samples import Samples, checked_labels, read_samples
from qleaky.calibration.sensitivity_table import Sensitivity, SensitivityRow
from qleaky.errors import InputError
from qleaky.fixed import Rounding
from qleaky.layers.codes import WeightBits, codes_of
from qleaky.tracing import TorchRecording


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
    reference, _ = folded_copy(net, inputs, num_steps)
    parts = parts_of(reference)
    samples = read_samples(reference, inputs, num_steps, time, input_format)
    classes = checked_labels(labels, samples.count)
    assert classes is not None
    read = Readouts.of(samples.graph, readout, classes)
    check_alive(reference, samples, read)
    few = searched(samples)
    scan = _Scan(reference, parts, samples, few, run(reference, few), classes, read, WeightOptions(per_channel), rest)
    rows = tuple(scan.row(layer, what, width) for layer, what, width in _trials(parts, bits))
    return Sensitivity(rows, scan.base, samples.count, f"{read.class_of[1]} of {read.class_of[0]}", rest)


def _check(labels: Any, bits: Sequence[WeightBits]) -> None:
    if labels is None:
        raise InputError("sensitivity: labels=None; accuracy needs the class of every sample.")
    if isinstance(bits, (str, int)) or not bits:
        raise InputError(f"sensitivity: bits={bits!r}; pass the widths to try, such as (8, 4, 2).")
    for width in bits:
        codes_of(width, "sensitivity")


def _trials(parts: Parts, bits: Sequence[WeightBits]) -> Iterator[tuple[str, str, WeightBits]]:
    yield from ((path, "weights", width) for path in parts.weighted for width in bits)
    yield from ((path, "states", width) for path in parts.neurons for width in bits if isinstance(width, int))


@dataclass
class _Scan:
    """What all trials share; ``base`` is the accuracy of the float network, known after the first."""

    net: nn.Module
    parts: Parts
    samples: Samples
    few: Samples
    recorded: TorchRecording
    classes: Tensor
    read: Readouts
    options: WeightOptions
    rest: int | None
    base: float = 0.0

    def row(self, layer: str, what: str, width: WeightBits) -> SensitivityRow:
        """One layer quantized to one width."""
        bits: tuple[dict[str, Any], dict[str, Any]] = (
            dict.fromkeys(self.parts.weighted, self.rest),
            dict.fromkeys(self.parts.neurons, self.rest),
        )
        bits[what == "states"][layer] = width
        made, _ = quantized_network(
            self.net, self.parts, bits, self.few, self.recorded, self.read, self.options, Rounding.HALF_UP
        )
        found = compare((self.net, made), self.samples, {}, self.classes, self.read.class_of)
        self.base = found.right[0] / self.samples.count
        tallies = found.tallies.values()
        changed = sum(tally.changed for tally in tallies) / sum(tally.total for tally in tallies)
        return SensitivityRow(layer, what, width, found.right[1] / self.samples.count, changed)

"""How busy a network was: spikes, sparsity and synaptic operations of a recorded run, and the bytes the network takes.

The figures are NeuroBench's (J. Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and
systems", Nature Communications 16, 1545, 2025, algorithm track; package neurobench 2.x, ``SynapticOperations``,
``ActivationSparsity``, ``ConnectionSparsity``, ``Footprint``), kept as counts: whole numbers, whose ratios are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky.integer import Conv, Delay, FloatConv, FloatLIF, IntegerNetwork
from qleaky.integer.lif import LIF
from qleaky.reference.recording import Recording
from qleaky.verification.emissions import Emissions, Network
from qleaky.verification.fan_out import Weighted, count_fan_out

Array = NDArray[Any]
FLOAT_BYTES = 4
Count = Annotated[int, msgspec.Meta(ge=0)]


class SynapticLayer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A layer with weights: a synapse is a weight where it meets an element of the input.

    ``dense`` operations are those of one inference if nothing were zero: every synapse, ``evaluations`` times (T, or once
    where the layer's input stays the same over time). ``effective`` ones, over all samples, meet a weight and an input that
    both differ from zero; they are accumulations (AC) where every input that came was -1, 0 or 1, else multiply-accumulations
    (MAC). Padding and biases are no operations. ``effective`` is None where the inputs are not known.
    """

    layer: str
    kind: str
    weights: Count
    zero_weights: Count
    evaluations: Count
    dense: Count
    effective: Count | None
    accumulations: bool | None

    @property
    def acs(self) -> int:
        """Effective accumulations over all samples."""
        return (self.effective or 0) if self.accumulations else 0

    @property
    def macs(self) -> int:
        """Effective multiply-accumulations over all samples."""
        return 0 if self.accumulations else (self.effective or 0)


class SpikingLayer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LIF layer over all samples and steps.

    ``neuron_steps`` = samples * T * ``neurons``; in ``active`` of them a neuron emitted something other than zero, in
    ``at_lowest`` and ``at_highest`` its recorded membrane stood at an end of its format (None for floats). ``silent``
    neurons never fired, ``always_active`` ones at every step of every sample.
    """

    layer: str
    neurons: Count
    neuron_steps: Count
    active: Count
    silent: Count
    always_active: Count
    at_lowest: Count | None
    at_highest: Count | None


class Activity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What :func:`activity` counted, over the samples of ``groups`` (of :mod:`~qleaky.verification.vectors`).

    ``parameter_bytes``: every array of the contract as it is stored there. ``state_bytes``: membranes, synaptic currents and
    delayed signals of one sample, each number in whole bytes of its format. ``file_bytes``: the artefact.
    """

    groups: tuple[str, ...]
    samples: Count
    num_steps: Count
    synaptic: tuple[SynapticLayer, ...]
    spiking: tuple[SpikingLayer, ...]
    parameter_bytes: Count
    state_bytes: Count
    file_bytes: Count | None

    @property
    def dense(self) -> int:
        """Dense synaptic operations of one inference."""
        return sum(layer.dense for layer in self.synaptic)

    @property
    def acs(self) -> int | None:
        """Effective accumulations over all samples; None where a layer's are not known."""
        return None if self._unknown else sum(layer.acs for layer in self.synaptic)

    @property
    def macs(self) -> int | None:
        """Effective multiply-accumulations over all samples; None where a layer's are not known."""
        return None if self._unknown else sum(layer.macs for layer in self.synaptic)

    @property
    def _unknown(self) -> bool:
        return any(layer.effective is None for layer in self.synaptic)


def activity(
    network: Network,
    recording: Recording,
    codes: Mapping[str, Array],
    file_bytes: int | None = None,
    *,
    groups: tuple[str, ...] = ("given",),
) -> Activity:
    """Count what a recorded run did.

    With x an input of a layer, w its weights, and [] 1 where true, else 0::

        effective = sum over samples, steps and synapses of [x != 0] * [w != 0]
        activation sparsity = 1 - active / neuron_steps
        connection sparsity = zero_weights / weights

    Differences from NeuroBench, all on purpose: whether a layer accumulates or multiplies is decided over the whole run, not
    anew for each batch and step; a layer whose input stays the same over time is counted once, as it is computed once;
    ``parameter_bytes`` are those of the contract, whose numbers have no more bits than they need. As there, pools and
    elementwise scales have no synapses.

    Args:
        network: the contract.
        recording: a run of it, spikes and membranes (T, B, ...).
        codes: what it ran on, by input, as :meth:`~qleaky.integer.IntegerNetwork.encode_all` gives it.
        file_bytes: the size of the artefact.
        groups: what the samples are; adversarial ones are no picture of a network at work.

    Raises:
        InputError: a recording of another network.
    """
    weighted = [layer for layer in network.layers if isinstance(layer, Weighted)]
    events = _Events(network, weighted)
    emissions = Emissions(network, recording, codes, events.wanted)
    for _, values in emissions:
        events.add(values)
    return Activity(
        groups=groups,
        samples=next(iter(recording.spikes.values())).shape[1],
        num_steps=network.num_steps,
        synaptic=tuple(_synaptic(network, layer, events, layer.input in emissions.unknown) for layer in weighted),
        spiking=tuple(_spiking(lif, recording) for lif in network.lif_layers),
        parameter_bytes=sum(array.nbytes for layer in network.layers for array in _arrays(layer)),
        state_bytes=sum(_state_bytes(network, layer) for layer in network.layers),
        file_bytes=file_bytes,
    )


class _Events:
    """How often each element of the signals that feed weights differed from zero, and from -1, 0 and 1."""

    def __init__(self, network: Network, weighted: list[Weighted]) -> None:
        self._network = network
        self.wanted = {layer.input for layer in weighted}
        self.counts = {name: np.zeros(_shape(network, name), np.int64) for name in self.wanted}
        self.binary = dict.fromkeys(self.wanted, True)

    def add(self, values: Mapping[str, Array]) -> None:
        for name in self.wanted & set(values):
            array = values[name]
            self.counts[name] += np.count_nonzero(array, axis=0)
            one = _one(self._network, name)
            self.binary[name] = self.binary[name] and bool(((array == 0) | (np.abs(array) == one)).all())


def _one(network: Network, name: str) -> int:
    """The number that stands for 1.0; where the grid has none, for one that no signal reaches."""
    if not isinstance(network, IntegerNetwork):
        return 1
    bits = network.signals[name].frac_bits
    return 1 << bits if 0 <= bits < 63 else -1


def _synaptic(network: Network, layer: Weighted, events: _Events, unknown: bool) -> SynapticLayer:
    shape = _shape(network, layer.input)
    evaluations = network.num_steps if layer.input in network.moving else 1
    ones = np.ones(layer.weight.shape, np.bool_)
    counts = events.counts[layer.input]
    return SynapticLayer(
        layer=layer.name,
        kind="conv" if isinstance(layer, Conv | FloatConv) else "linear",
        weights=layer.weight.size,
        zero_weights=layer.weight.size - int(np.count_nonzero(layer.weight)),
        evaluations=evaluations,
        dense=evaluations * int(count_fan_out(layer, ones, shape).sum()),
        effective=None if unknown else int((counts * count_fan_out(layer, layer.weight != 0, shape)).sum()),
        accumulations=None if unknown else events.binary[layer.input],
    )


def _spiking(lif: LIF | FloatLIF, recording: Recording) -> SpikingLayer:
    spikes, membranes = recording.spikes[lif.name], recording.membranes[lif.name]
    per_neuron = np.count_nonzero(spikes, axis=(0, 1))
    fmt = lif.state if isinstance(lif, LIF) else None
    return SpikingLayer(
        layer=lif.name,
        neurons=per_neuron.size,
        neuron_steps=spikes.size,
        active=int(per_neuron.sum()),
        silent=int((per_neuron == 0).sum()),
        always_active=int((per_neuron == spikes.shape[0] * spikes.shape[1]).sum()),
        at_lowest=None if fmt is None else int((membranes == fmt.lowest).sum()),
        at_highest=None if fmt is None else int((membranes == fmt.highest).sum()),
    )


def _shape(network: Network, name: str) -> tuple[int, ...]:
    return network.signals[name].shape if isinstance(network, IntegerNetwork) else network.shapes[name]


def _arrays(part: Any) -> Iterator[Array]:
    """Every array of a layer, and of its parts."""
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, msgspec.Struct):
            yield from _arrays(value)


def _state_bytes(network: Network, layer: Any) -> int:
    if isinstance(layer, LIF) and isinstance(network, IntegerNetwork):
        formats = [layer.state] if layer.synapse is None else [layer.state, layer.synapse.state]
        size = int(np.prod(network.signals[layer.name].shape, dtype=np.int64))
        return size * sum(-(-fmt.bits // 8) for fmt in formats)
    if not isinstance(layer, Delay | FloatLIF):
        return 0
    size = int(np.prod(_shape(network, layer.name), dtype=np.int64))
    if not isinstance(network, IntegerNetwork) or isinstance(layer, FloatLIF):
        return size * FLOAT_BYTES
    bits = max(layer.high.bit_length() + (layer.low < 0), (-layer.low - 1).bit_length() + 1 if layer.low < 0 else 0, 1)
    return size * -(-bits // 8)

"""What an artefact must compute: the reference of an IntegerNetwork, or what torch computed of a FloatNetwork."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.integer.graph import samples as pick
from qleaky.reference import Recording, run
from qleaky.reference.recording import read_out
from qleaky.verification.compare import Comparison, compare_states
from qleaky.verification.vectors import VectorGroup, vectors

if TYPE_CHECKING:
    from torch import nn

Network = IntegerNetwork | FloatNetwork
Arrays = dict[str, NDArray[Any]]
Codes = Arrays


@dataclass(frozen=True, eq=False)
class Samples:
    """Encoded inputs by name, what groups of samples are for, and the number of the first one."""

    codes: Codes
    groups: tuple[VectorGroup, ...]
    first: int = 0


@dataclass(frozen=True, eq=False)
class Expected:
    """What must come out of samples, how torch's own evaluation compares, why that is no theorem, and what else to know."""

    samples: Samples
    recording: Recording
    torch: Comparison | None = None
    torch_reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def reference(network: Network, samples: Samples, module: nn.Module | None) -> Expected:
    """What is expected of samples that :func:`choose` gave."""
    if isinstance(network, IntegerNetwork):
        return _compared(network, samples, run(network, samples.codes), module)
    if module is None:
        golden = network.golden
        part = slice(samples.first, samples.first + sample_count(network, samples.codes))
        spikes, membranes = (
            {name: array[:, part] for name, array in kind.items()} for kind in (golden.spikes, golden.membranes)
        )
        return Expected(samples, _recording(network, spikes, membranes))
    from qleaky.verification.torch_module import run_module

    recorded = run_module(module, network, samples.codes)
    return Expected(samples, _recording(network, recorded.spikes, recorded.membranes), notes=recorded.notes)


def choose(
    network: Network, inputs: Any, module: nn.Module | None, *, adversarial: bool | None = None, sample: int | None = None
) -> Samples:
    """The samples of a check: those given, then adversarial ones; without either those, or a float network's golden ones.

    Raises:
        InputError: inputs that the network cannot take, or a sample that there is not.
    """
    whole = _integer(network, inputs, adversarial) if isinstance(network, IntegerNetwork) else _float(network, inputs, module)
    return whole if sample is None else _one(network, whole, sample)


def sample_count(network: Network, codes: Codes) -> int:
    """How many samples the inputs hold."""
    first = network.inputs[0]
    return int(codes[first.name].shape[1 if first.time == "sequence" else 0])


def _integer(network: IntegerNetwork, inputs: Any, adversarial: bool | None) -> Samples:
    if inputs is None:
        if adversarial is False:
            raise InputError("adversarial=False without inputs leaves nothing to check; pass inputs, or leave it out.")
        found = vectors(network)
        return Samples(network.encode_all(found.codes), found.groups)
    codes = network.encode_all(inputs)
    count = sample_count(network, codes)
    groups: tuple[VectorGroup, ...] = (VectorGroup("given", 0, count),)
    if adversarial:
        found = vectors(network)
        groups += tuple(replace(group, first=group.first + count) for group in found.groups)
        axes = {source.name: 1 if source.time == "sequence" else 0 for source in network.inputs}
        codes = {name: np.concatenate([array, found.codes[name]], axes[name]) for name, array in codes.items()}
    return Samples(codes, groups)


def _float(network: FloatNetwork, inputs: Any, module: nn.Module | None) -> Samples:
    values: Codes = dict(network.encode_all(network.golden.inputs))
    if inputs is not None:
        given = network.encode_all(inputs)
        if module is None and not all(np.array_equal(given[name], values[name]) for name in values):
            raise InputError(
                "A FloatNetwork has no reference of its own for other inputs than its golden ones; pass module=net."
            )
        values = dict(given)
    return Samples(values, (VectorGroup("given", 0, sample_count(network, values)),))


def _one(network: Network, whole: Samples, sample: int) -> Samples:
    count = sample_count(network, whole.codes)
    if isinstance(sample, bool | np.bool_) or not isinstance(sample, int | np.integer) or not 0 <= sample < count:
        raise InputError(f"sample={sample!r}: the check has {count} samples, numbered from 0 to {count - 1}.")
    group = next(group for group in whole.groups if group.first <= sample < group.first + group.count)
    codes = pick(network.inputs, whole.codes, np.array([sample]))
    return Samples(codes, (VectorGroup(group.name, 0, 1),), sample)


def _compared(network: IntegerNetwork, samples: Samples, recording: Recording, module: nn.Module | None) -> Expected:
    if module is None:
        return Expected(samples, recording)
    from qleaky.verification.history import told
    from qleaky.verification.torch_module import run_module

    found = run_module(module, network, samples.codes)
    reasons = network.proof.training_reasons
    if not found.same_contract:
        reasons += ("the module does not lower to this contract: it was changed, or is another one; lower it again.",)
    comparison = compare_states(recording.spikes, recording.membranes, found.spikes, found.membranes)
    comparison = told(comparison, network, samples.codes, recording, Recording(found.spikes, found.membranes, {}))
    return Expected(samples, recording, comparison, reasons, found.notes)


def _recording(network: FloatNetwork, spikes: Arrays, membranes: Arrays) -> Recording:
    spikes = {name: array.astype(np.float32) for name, array in spikes.items()}
    membranes = {name: array.astype(np.float32) for name, array in membranes.items()}
    return Recording(spikes, membranes, read_out(network, spikes, membranes))

"""What an artefact must compute: the reference of an IntegerNetwork, or what torch computed of a FloatNetwork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.reference import Recording, run
from qleaky.reference.recording import read_out
from qleaky.verification.compare import Comparison, compare_states
from qleaky.verification.golden import synthetic_inputs

if TYPE_CHECKING:
    from torch import nn

Network = IntegerNetwork | FloatNetwork
Arrays = dict[str, NDArray[Any]]
Codes = Arrays


def reference(
    network: Network, inputs: Any, module: nn.Module | None
) -> tuple[Codes, Recording, Comparison | None, tuple[str, ...]]:
    """Encoded inputs, what is expected of them, how torch's own evaluation compares, and why that is no theorem."""
    if isinstance(network, IntegerNetwork):
        codes = network.encode_all(synthetic_inputs(network) if inputs is None else inputs)
        recording = run(network, codes)
        return codes, recording, *_compare_module(module, network, codes, recording)
    golden = network.golden
    if module is not None:
        from qleaky.verification.torch_module import run_module

        values = network.encode_all(golden.inputs if inputs is None else inputs)
        recorded = run_module(module, network, values)
        return values, _recording(network, recorded.spikes, recorded.membranes), None, ()
    values = network.encode_all(golden.inputs)
    if inputs is not None:
        given = network.encode_all(inputs)
        if not all(np.array_equal(given[name], values[name]) for name in values):
            raise InputError(
                "A FloatNetwork has no reference of its own for other inputs than its golden ones; pass module=net."
            )
    return values, _recording(network, golden.spikes, golden.membranes), None, ()


def _compare_module(
    module: nn.Module | None, network: IntegerNetwork, codes: Codes, recording: Recording
) -> tuple[Comparison | None, tuple[str, ...]]:
    if module is None:
        return None, ()
    from qleaky.verification.torch_module import run_module

    found = run_module(module, network, codes)
    reasons = network.proof.training_reasons
    if not found.same_contract:
        reasons += ("the module does not lower to this contract: it was changed, or is another one; lower it again.",)
    return compare_states(recording.spikes, recording.membranes, found.spikes, found.membranes), reasons


def _recording(network: FloatNetwork, spikes: Arrays, membranes: Arrays) -> Recording:
    spikes = {name: array.astype(np.float32) for name, array in spikes.items()}
    membranes = {name: array.astype(np.float32) for name, array in membranes.items()}
    return Recording(spikes, membranes, read_out(network, spikes, membranes))

"""``export_onnx``: from a network, torch's or the contract, to a file."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

from qleaky._files import write_atomically
from qleaky.errors import UsageError
from qleaky.export import onnx_bytes
from qleaky.integer import FloatNetwork, IntegerNetwork

if TYPE_CHECKING:
    from torch import nn


def export_onnx(
    network: IntegerNetwork | FloatNetwork | nn.Module,
    path: str | os.PathLike[str],
    form: str = "auto",
    **lowering: Any,
) -> IntegerNetwork | FloatNetwork:
    """Write a network as an ONNX file (opset 21, standard operators only) and return the contract it holds.

    Input: ``input`` (T, batch, ...), or (batch, ...) for a static one, codes in the smallest integer type of their format.
    Outputs: ``spikes`` uint8 (T, batch, ...), or ``spike_count``, ``membrane_sum`` (int64 where it needs it) or
    ``last_membrane`` int32 (batch, ...), with
    ``class`` int64 (batch,) for an argmax; then ``<layer>.final_mem`` int32 for every LIF layer. A FloatNetwork's are float32.

    Args:
        network: a contract from :func:`qleaky.lower`, or a torch network together with lower's arguments.
        path: the file to write; it is replaced as a whole or not at all.
        form: "unrolled"; "auto" chooses.
        lowering: ``sample_input`` and the other arguments of :func:`qleaky.lower`, for a torch network.

    Raises:
        UsageError: lowering arguments with a contract, or a torch network without ``sample_input``.
        LoweringError, FormatError, InputError: as :func:`qleaky.lower`.
        OutputError: the file cannot be written.
    """
    contract = _contract(network, lowering)
    write_atomically(path, onnx_bytes(contract, form))
    return contract


def _contract(network: Any, lowering: dict[str, Any]) -> IntegerNetwork | FloatNetwork:
    if isinstance(network, (IntegerNetwork, FloatNetwork)):
        if lowering:
            raise UsageError(f"export_onnx: {', '.join(lowering)}: a network that is lowered already takes no more arguments.")
        return network
    if "sample_input" not in lowering:
        raise UsageError("export_onnx: a torch network is traced first; pass sample_input=... (what its forward takes).")
    from qleaky.lowering import lower

    if unknown := set(lowering) - set(inspect.signature(lower).parameters):
        raise UsageError(f"export_onnx: unknown argument {', '.join(sorted(unknown))}; see qleaky.lower for those it takes.")

    return lower(network, **lowering)

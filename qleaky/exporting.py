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
    carrier: str = "integer",
    batch_hint: int | None = None,
    probe: bool = False,
    **lowering: Any,
) -> IntegerNetwork | FloatNetwork:
    """Write a network as an ONNX file (opset 21, or 25 where weights have 2 bits) and return the contract it holds.

    Whole sequences, forms "unrolled" and "scan":

    - inputs: ``input``, or the inputs' own names where there are several: (T, batch, ...), or (batch, ...) for a static one,
      codes in the smallest integer type of their format. In "scan" T is the input's, any number of steps.
    - outputs, for every readout: ``spikes`` (T, batch, ...), uint8 where 0 to 255 holds them, else int32; or ``spike_count``,
      ``membrane_sum`` or ``last_membrane`` (batch, ...), int32, or int64 where they need it; with ``class`` int64 (batch,) for
      an argmax (of spikes: (T, batch)). With several readouts the layer's name comes first: ``<layer>.spike_count``.
    - then ``<layer>.final_mem`` int32 (batch, ...) for every LIF layer, and ``<layer>.final_syn`` where it has a synapse.
    - with ``probe``: ``<layer>.spk`` and ``<layer>.mem`` (T, batch, ...) for every LIF layer.

    One step, form "step":

    - inputs: the network's, (batch, ...), and the states before the step, all zero at first: ``<layer>.mem`` and
      ``<layer>.syn`` int32 (batch, ...), ``<delay>.state`` in the smallest type of its range, and ``<readout>.state``, the sum
      so far of a ``spike_count`` or ``membrane_sum``.
    - outputs: the readouts and classes so far (``spikes``: those of this step), then ``<state>.next`` for every state.
    - with ``probe``: ``<layer>.spk`` of this step; the membranes are ``<layer>.mem.next``.

    A FloatNetwork's inputs, spikes, membranes and sums are float32; its ``<layer>.mem`` and ``<readout>.state`` may be float64.

    Args:
        network: a contract from :func:`qleaky.lower`, or a torch network together with lower's arguments.
        path: the file to write; it is replaced as a whole or not at all.
        form: "unrolled" (every step written out), "scan" (one step as the body of a Scan; small, any T), "step" (one step,
            states in and out, for streaming), or "auto": unrolled up to about 1,000 nodes, else scan.
        carrier: "integer"; "float": the same integers carried in float32 by plain operators, which other runtimes compute
            alike; or "quantized": float32 sums between QuantizeLinear and DequantizeLinear, the fastest in ONNX Runtime, and
            for it alone. All are exact, have the same inputs and outputs, and keep a layer in integers where its bounds ask
            for it. Convolutions are carried in float32 wherever that is exact.
        batch_hint: how many samples will run together. Large batches keep matrix products inside the time loop; without a hint
            they are hoisted out of it, which is best for 1 to 8 samples.
        probe: spikes and membranes of all layers as further outputs.
        lowering: ``sample_input`` and the other arguments of :func:`qleaky.lower`, for a torch network.

    Raises:
        UsageError: lowering arguments with a contract, or a torch network without ``sample_input``.
        LoweringError, FormatError, InputError: as :func:`qleaky.lower`; or an unknown form or carrier.
        OutputError: the file cannot be written.
    """
    contract = contract_of(network, lowering, "export_onnx")
    write_atomically(path, onnx_bytes(contract, form, carrier, batch_hint, probe))
    return contract


def contract_of(network: Any, lowering: dict[str, Any], caller: str) -> IntegerNetwork | FloatNetwork:
    """The contract that ``caller`` was given, or the one of the torch network that it was given with lower's arguments.

    Raises:
        UsageError: arguments with a contract, unknown ones, or a torch network without ``sample_input``.
        LoweringError, FormatError, InputError: as :func:`qleaky.lower`.
    """
    if isinstance(network, (IntegerNetwork, FloatNetwork)):
        if lowering:
            raise UsageError(f"{caller}: {', '.join(lowering)}: a network that is lowered already takes no more arguments.")
        return network
    if "sample_input" not in lowering:
        raise UsageError(f"{caller}: a torch network is traced first; pass sample_input=... (what its forward takes).")
    from qleaky.lowering import lower

    if unknown := set(lowering) - set(inspect.signature(lower).parameters):
        raise UsageError(f"{caller}: unknown argument {', '.join(sorted(unknown))}; see qleaky.lower for those it takes.")

    return lower(network, **lowering)

"""``export_bundle``: a network, torch's or the contract, as one zip with which a device checks itself."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qleaky._files import write_atomically
from qleaky.errors import InputError
from qleaky.export.artefact import choose
from qleaky.export.bundle import bundle_bytes, check_digestible
from qleaky.export.bundle_entries import GoldenVectors, state_kinds
from qleaky.export.web_files import web_files
from qleaky.exporting import contract_of
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.verification.device.vectors import given_vectors, golden_vectors, recorded_vectors

if TYPE_CHECKING:
    from torch import nn

FORMS = ("auto", "step")
GOLDEN_BYTES = 20 << 20
LEAST_SAMPLES, MOST_SAMPLES = 16, 64


def export_bundle(
    network: IntegerNetwork | FloatNetwork | nn.Module,
    path: str | os.PathLike[str],
    inputs: Any = None,
    web: bool = False,
    *,
    forms: Sequence[str] = FORMS,
    carrier: str = "integer",
    onnxruntime_web: str | os.PathLike[str] | None = None,
    **lowering: Any,
) -> IntegerNetwork | FloatNetwork:
    """Write everything a device needs to check itself, as one zip, and return the contract, which is not in it.

    The zip holds the graphs (of every form the shipped bytes and a twin that differs by added outputs), golden inputs with
    their outputs and the digests of every spike and membrane, ``manifest.json`` with the SHA-256 of everything, and
    ``validate.py``, which needs Python 3.8, numpy and onnxruntime alone. The same arguments give the same bytes.
    docs/bundle.md has the rest.

    The vectors are synthetic, from all-spikes to reset chains: 64 samples, or as many as keep inputs, outputs and digests
    within about 20 MB, at least 16. Recordings go in only where ``inputs`` names them. A FloatNetwork's are those that were
    recorded when it was lowered.

    Args:
        network: a contract from :func:`qleaky.lower`, or a torch network together with lower's arguments.
        path: the zip to write; it is replaced as a whole or not at all.
        inputs: recordings to put in after the synthetic vectors, (T, B, ...) or (B, ...), as codes or floats on the grid.
        web: add a page that checks a browser, with onnxruntime-web beside it.
        forms: the graphs to put in, as :func:`qleaky.export_onnx` names them; of "auto" and what it stands for, one is kept.
        carrier: what computes, as there.
        onnxruntime_web: folder of the npm package; None takes the one that the environment variable QLEAKY_ONNXRUNTIME_WEB
            names, or ``node_modules/onnxruntime-web`` of the current folder or one above it.
        lowering: ``sample_input`` and the other arguments of :func:`qleaky.lower`, for a torch network.

    Raises:
        UsageError: lowering arguments with a contract, or a torch network without ``sample_input``.
        InputError: unknown forms or carrier, inputs that the network cannot take, or recordings for a FloatNetwork.
        LoweringError: as :func:`qleaky.export_onnx`, or what digests have no room for.
        MissingDependencyError: ``web`` without an installed onnxruntime-web.
        OutputError: the file cannot be written.
    """
    contract = contract_of(network, lowering, "export_bundle")
    write_atomically(path, bundle_of(contract, inputs, web, forms=forms, carrier=carrier, onnxruntime_web=onnxruntime_web))
    return contract


def bundle_of(
    network: IntegerNetwork | FloatNetwork,
    inputs: Any = None,
    web: bool = False,
    *,
    forms: Sequence[str] = FORMS,
    carrier: str = "integer",
    onnxruntime_web: str | os.PathLike[str] | None = None,
) -> bytes:
    """The bytes of the zip that :func:`export_bundle` writes; the errors are the same."""
    choices = list(dict.fromkeys(choose(network, form, carrier, None, False) for form in forms))
    check_digestible(network)
    extras = web_files(onnxruntime_web) if web else {}
    return bundle_bytes(network, _vectors(network, inputs), choices, extras)


def _vectors(network: IntegerNetwork | FloatNetwork, inputs: Any) -> GoldenVectors:
    if isinstance(network, FloatNetwork):
        if inputs is not None:
            raise InputError(
                "A FloatNetwork has no reference for other inputs than those recorded when it was lowered; leave inputs out."
            )
        return recorded_vectors(network)
    synthetic = golden_vectors(network, samples_of(network))
    return synthetic if inputs is None else given_vectors(network, synthetic, inputs)


def samples_of(network: IntegerNetwork) -> int:
    """How many synthetic samples go in: 64, or fewer where these take more than about 20 MB, at least 16."""
    digests = 32 * sum(map(len, state_kinds(network).values()))
    inputs = sum(math.prod(source.shape) * source.format.dtype.itemsize for source in network.inputs)
    outputs = sum(math.prod(network.signals[r.layer].shape) for r in network.readouts if r.kind == "spikes")
    return min(MOST_SAMPLES, max(LEAST_SAMPLES, GOLDEN_BYTES // (network.num_steps * (digests + inputs + outputs))))

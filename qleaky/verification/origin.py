"""Whether a graph comes from a contract, and whether it is the one that the theorem speaks of."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from qleaky._strict_json import printable
from qleaky.errors import ArtefactError, InputError, LoweringError
from qleaky.export import twin
from qleaky.export.artefact import Options, emit, sequences
from qleaky.integer import FloatNetwork, IntegerNetwork
from qleaky.verification.runners import decoded

Network = IntegerNetwork | FloatNetwork


def check_origin(metadata: dict[str, str], network: Network, where: str) -> None:
    """Refuse a file that does not name ``network`` as its contract, or says that it runs otherwise.

    Raises:
        ArtefactError: it names another, or none, or says that it has other steps, inputs or sequences.
    """
    if "qleaky.digest" not in metadata:
        raise ArtefactError(f"{where} was not exported by qleaky: it names no contract. Pass a file from export_onnx.")
    if metadata["qleaky.digest"] != network.digest:
        raise ArtefactError(
            f"{where} was exported from another network: it names contract {metadata['qleaky.digest'][:12]}, this one is "
            f"{network.digest[:12]}. Export it again, or pass the network it came from."
        )
    for key, said, right in _running(metadata, network):
        if said != right:
            raise ArtefactError(
                f"{where} says {printable(f'{key} {said}')}, and the contract that it names {right}. Export it again."
            )


def _running(metadata: dict[str, str], network: Network) -> Iterator[tuple[str, object, object]]:
    """What a file says of how it is run, which a check goes by, and what the contract says."""
    yield "num_steps", decoded(metadata, "num_steps", int), network.num_steps
    times = {name: time for name, (_, time) in decoded(metadata, "inputs", dict[str, tuple[str, str]]).items()}
    yield "inputs", times, {source.name: source.time for source in network.inputs}
    yield "sequences", decoded(metadata, "sequences", list[str]), sequences(network)


def artefact_reasons(network: Network, model: onnx.ModelProto, where: str) -> tuple[str, ...]:
    """Why it is no theorem that the file computes the contract: the theorem speaks of the graph that qleaky emits for it.

    Raises:
        ArtefactError: the file names options that this version does not know.
    """
    try:
        options = Options.of(twin.metadata(model))
    except InputError as error:
        raise ArtefactError(f"{where} cannot be checked: {error} Export it again, or update qleaky.") from error
    if isinstance(network, FloatNetwork):
        return network.reasons or ("a float network has no proof.",)
    if network.proof.artefact_reasons or _is_emitted(network, options, model):
        return network.proof.artefact_reasons
    return (
        "the file's graph, or what it says of itself, is not the one that this version of qleaky emits for the contract; "
        "export it again.",
    )


def _is_emitted(network: IntegerNetwork, options: Options, model: onnx.ModelProto) -> bool:
    """Whether qleaky writes this very model. Every step of an unrolled one has nodes: others are not written to find out."""
    if options.form == "unrolled" and len(model.graph.node) < network.num_steps:
        return False
    try:
        return twin.same_model(model, onnx.load_model_from_string(emit(network, options)))
    except LoweringError:  # a form that this network has not
        return False

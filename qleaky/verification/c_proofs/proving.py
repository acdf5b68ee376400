"""Proofs of a network's C for all inputs, from the text that is emitted: :func:`prove_c`."""

from __future__ import annotations

from collections.abc import Iterator

from qleaky._share import shared_folder
from qleaky.errors import InputError, missing
from qleaky.export.c.context import Context
from qleaky.export.c.interface import CModel
from qleaky.export.c.model import c_model
from qleaky.export.c.ports import code_types
from qleaky.integer import IntegerNetwork
from qleaky.verification.c_proofs.reading import Source
from qleaky.verification.c_proofs.results import CProofs, Result

SECONDS = 60.0


def prove_c(network: IntegerNetwork, name: str = "model", *, seconds: float = SECONDS) -> CProofs:
    """Prove the C of a network, as :func:`qleaky.export_c` writes it, for all inputs and any number of steps.

    For each LIF layer with its own constants: no operation is undefined, the step equals its 64-bit specification, states stay
    where the bounds say. For each product with packed lanes: no lane overflows. For each encoder: it is exact. docs/c-proofs.md
    says what this rests on.

    Args:
        network: the contract.
        name: prefix of every C symbol.
        seconds: what each statement may take; one without an answer by then is left open.

    Raises:
        UnreadableError: the C text does not hold what is to be proved, or holds what has no meaning for the proof.
        MissingDependencyError: z3-solver or pycparser is not installed.
    """
    model = c_model(network, name)
    return prove_model(network, model, runtime_text(model), seconds=seconds)


def runtime_text(model: CModel) -> str:
    """The hand-written headers that a model includes."""
    folder = shared_folder("export") / "c" / "runtime"
    return "\n".join((folder / name).read_text() for name in model.runtime)


def prove_model(network: IntegerNetwork, model: CModel, runtime: str, *, seconds: float = SECONDS) -> CProofs:
    """As :func:`prove_c`, for C text and runtime headers that are given."""
    if seconds <= 0:
        raise InputError(f"seconds={seconds}; each statement needs some time, such as {SECONDS:g}.")
    try:
        import z3  # noqa: F401
    except ImportError as error:
        raise missing("a proof of C text", error) from error
    source = Source(f"{runtime}\n{model.header}\n{model.source}")
    return CProofs(tuple(_results(network, model, source, seconds)))


def _results(network: IntegerNetwork, model: CModel, source: Source, seconds: float) -> Iterator[Result]:
    from qleaky.verification.c_proofs.encoders import prove_encoder
    from qleaky.verification.c_proofs.lanes import packed_products, prove_lanes
    from qleaky.verification.c_proofs.neurons import Neurons

    context, constants = Context(network, model.name), {array.name: array for array in model.constants}
    for layer in network.lif_layers:
        prefix = f"{context.name(layer.name)}_neuron"
        yield from Neurons(layer, network.signals[layer.input], prefix, source, constants).prove(seconds)
    names = {context.name(layer.name): layer.name for layer in network.layers}
    yield from prove_lanes(source, packed_products(model), names, seconds)
    for given in network.inputs:
        if (code := code_types(context).get(given.name)) is not None:
            yield prove_encoder(source, code.encoder, given.name, given.format, seconds)

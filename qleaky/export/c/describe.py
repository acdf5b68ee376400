"""What the manifest says of a network, its proof, its sizes, and what it is expected to take."""

from __future__ import annotations

from collections.abc import Iterator

from qleaky._version import VERSION as QLEAKY_VERSION
from qleaky.export.c.context import Context
from qleaky.export.c.counting import product_in
from qleaky.export.c.estimate import Estimate
from qleaky.export.c.interface import CModel
from qleaky.export.c.manifest import (
    KIND,
    VERSION,
    CoreEntry,
    LayerEntry,
    Manifest,
    NetworkEntry,
    SizesEntry,
    VectorsEntry,
)
from qleaky.export.c.targets import TARGETS
from qleaky.integer import IntegerNetwork
from qleaky.integer.weighted import Conv, Linear


def describe(network: IntegerNetwork, model: CModel, expected: Estimate, vectors: VectorsEntry, *, dsp: bool) -> Manifest:
    """The manifest of an export, but for its files.

    Args:
        network: the contract.
        model: its C.
        expected: what it is expected to take.
        vectors: how the golden vectors were made.
        dsp: whether the code takes a core's DSP instructions.
    """
    cores = {target.name: expected.on(target.name, dsp=dsp) for target in TARGETS}
    return Manifest(
        kind=KIND,  # type: ignore[arg-type]
        version=VERSION,
        created_by=f"qleaky {QLEAKY_VERSION}",
        name=model.name,
        dsp=dsp,
        network=NetworkEntry(
            digest=network.digest,
            num_steps=network.num_steps,
            proved=network.proof.artefact_exact,
            reasons=network.proof.artefact_reasons,
        ),
        layers=tuple(_layers(network)),
        sizes=SizesEntry(weights=expected.weights, state=expected.state),
        expected={
            name: CoreEntry(instructions_per_step=core.instructions, code=core.code, stack=core.stack)
            for name, core in cores.items()
        },
        vectors=vectors,
        files={},
    )


def _layers(network: IntegerNetwork) -> Iterator[LayerEntry]:
    """The bounds of every layer that a neuron needs."""
    context = Context(network, "model")
    for bounds in network.proof.layers:
        if bounds.layer not in context.needed:
            continue
        layer = context.layers[bounds.layer]
        product = product_in(context, layer)[0] if isinstance(layer, (Linear, Conv)) else None
        yield LayerEntry(
            layer=bounds.layer,
            kind=bounds.kind,
            accumulate=bounds.accumulate,
            accumulator_bits=bounds.accumulator_bits,
            largest=max(bounds.largest, 0 if bounds.synapse is None else bounds.synapse.largest),
            flush_interval=None if product is None else product.interval,
        )

"""What a bundle's manifest says of a network, its golden vectors and its graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from qleaky._version import VERSION as QLEAKY_VERSION
from qleaky.export import twin
from qleaky.export.artefact import Options, sequences
from qleaky.export.bundle_manifest import (
    KIND,
    VERSION,
    ArtefactEntry,
    FileEntry,
    FinalEntry,
    GroupEntry,
    InputEntry,
    Kind,
    Manifest,
    NetworkEntry,
    OutputEntry,
    ProbeEntry,
    StateEntry,
    StepEntry,
)
from qleaky.export.graph import KINDS
from qleaky.integer import FloatNetwork, IntegerNetwork

INT32 = range(-(1 << 31), 1 << 31)
BYTE = range(256)
DTYPES: dict[int, Any] = {kind: dtype.name for dtype, kind in KINDS.items()}
Network = IntegerNetwork | FloatNetwork
Arrays = Mapping[str, NDArray[Any]]
Kinds = dict[str, tuple[Kind, ...]]


@dataclass(frozen=True, eq=False)
class GoldenVectors:
    """What goes in and what must come out.

    Attributes:
        codes: inputs by name, (T, B, ...), or (B, ...) of a static one.
        outputs: by name.
        digests: of every layer and kind, uint8 (T, B, 32).
        groups: name and number of the samples of each kind, in order.
    """

    codes: Arrays
    outputs: Arrays
    digests: Mapping[tuple[str, Kind], NDArray[np.uint8]]
    groups: Sequence[tuple[str, int]]


def state_kinds(network: Network) -> Kinds:
    """Which kinds of codes every layer has, in order."""
    return {lif.name: ("mem", "syn", "spk") if getattr(lif, "synapse", None) else ("mem", "spk") for lif in network.lif_layers}


def places(network: Network) -> list[tuple[str, Kind]]:
    """Every layer and kind, in order."""
    return [(layer, kind) for layer, kinds in state_kinds(network).items() for kind in kinds]


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Integers in the first of uint8, int32 and int64 that holds them; floats as float32."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    ends = {int(end) for end in (array.min(), array.max())}
    kind = np.uint8 if all(end in BYTE for end in ends) else np.int32 if all(end in INT32 for end in ends) else np.int64
    return array.astype(kind)


def artefact_entry(
    network: Network, choice: Options, model: onnx.ModelProto, outputs: Mapping[tuple[str, str], list[str]]
) -> ArtefactEntry:
    """The entry of a graph.

    Args:
        network: the contract.
        choice: how it became this graph.
        model: the shipped graph.
        outputs: the twin's, by layer and kind.
    """
    offsets = twin.membrane_offsets(model)
    probes = tuple(
        ProbeEntry(
            layer=layer, kind=kind, outputs=tuple(outputs[layer, kind]), offset=offsets.get(layer, 0) if kind == "mem" else 0
        )
        for layer, kind in places(network)
    )
    return ArtefactEntry(
        form=choice.form,  # type: ignore[arg-type]
        carrier=choice.carrier,  # type: ignore[arg-type]
        model=f"models/{choice.form}.onnx",
        probe=f"models/{choice.form}.probe.onnx",
        probes=probes,
        final_states=tuple(_final_states(model, network, choice.form)),
        steps=tuple(_steps(model, network)) if choice.form == "step" else None,
    )


def _final_states(model: onnx.ModelProto, network: Network, form: str) -> Iterator[FinalEntry]:
    names = {output.name for output in model.graph.output}
    for layer, kind in places(network):
        name = f"{layer}.{kind}.next" if form == "step" else f"{layer}.final_{kind}"
        if name in names and kind != "spk":
            yield FinalEntry(output=name, layer=layer, kind=kind)


def _steps(model: onnx.ModelProto, network: Network) -> Iterator[StepEntry]:
    """The states of a step graph: every input that is none of the network's."""
    outside = {source.name for source in network.inputs}
    for value in model.graph.input:
        if value.name not in outside:
            tensor = value.type.tensor_type
            shape = tuple(int(dim.dim_value) for dim in tensor.shape.dim[1:])
            yield StepEntry(input=value.name, output=f"{value.name}.next", dtype=DTYPES[tensor.elem_type], shape=shape)


def manifest_of(
    network: Network, vectors: GoldenVectors, artefacts: Sequence[ArtefactEntry], files: Mapping[str, bytes]
) -> Manifest:
    """The manifest of a bundle of these graphs and files."""
    return Manifest(
        kind=KIND,  # type: ignore[arg-type]
        version=VERSION,
        created_by=f"qleaky {QLEAKY_VERSION}",
        network=_network(network),
        files={name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in files.items()},
        inputs=tuple(_inputs(network)),
        outputs=tuple(_outputs(network, vectors)),
        states=tuple(_states(network)),
        vectors=tuple(_groups(vectors)),
        samples=sum(count for _, count in vectors.groups),
        artefacts=tuple(artefacts),
    )


def _network(network: Network) -> NetworkEntry:
    integer = isinstance(network, IntegerNetwork)
    reasons = network.proof.artefact_reasons or (() if integer else ("a float network has no proof.",))
    return NetworkEntry(
        digest=network.digest,
        numbers="integer" if integer else "float32",
        num_steps=network.num_steps,
        proved=not reasons,
        reasons=reasons,
    )


def _groups(vectors: GoldenVectors) -> Iterator[GroupEntry]:
    first = 0
    for name, count in vectors.groups:
        yield GroupEntry(name=name, first=first, count=count)
        first += count


def _states(network: Network) -> Iterator[StateEntry]:
    for i, (layer, kind) in enumerate(places(network)):
        shape = network.shapes[layer] if isinstance(network, FloatNetwork) else network.signals[layer].shape
        yield StateEntry(layer=layer, kind=kind, shape=shape, digests=f"golden/digests/{i}.npy")


def _inputs(network: Network) -> Iterator[InputEntry]:
    sources: tuple[Any, ...] = network.inputs
    for i, source in enumerate(sources):
        fmt = source.format if isinstance(network, IntegerNetwork) else None
        yield InputEntry(
            name=source.name,
            dtype="float32" if fmt is None else fmt.dtype.name,
            shape=source.shape,
            time=source.time,
            low=None if fmt is None else fmt.lowest,
            high=None if fmt is None else fmt.highest,
            zero=None if fmt is None else fmt.zero_point,
            golden=f"golden/inputs/{i}.npy",
        )


def _outputs(network: Network, vectors: GoldenVectors) -> Iterator[OutputEntry]:
    over_time = sequences(network)
    for i, name in enumerate(network.output_names):
        array = narrowed(vectors.outputs[name])
        yield OutputEntry(
            name=name,
            dtype=array.dtype.name,  # type: ignore[arg-type]
            over_time=name in over_time,
            shape=array.shape[2 if name in over_time else 1 :],
            golden=f"golden/outputs/{i}.npy",
        )

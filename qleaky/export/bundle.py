"""The bundle: one zip with graphs, their twins, golden vectors and a validator, which a device checks itself with."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from qleaky._share import shared_folder
from qleaky._version import VERSION as QLEAKY_VERSION
from qleaky.errors import InputError, LoweringError
from qleaky.export import twin
from qleaky.export.artefact import Options, emit, sequences
from qleaky.export.bundle_arrays import npy_bytes
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

EPOCH = (1980, 1, 1, 0, 0, 0)
INT32 = range(-(1 << 31), 1 << 31)
DTYPES: dict[int, Any] = {kind: dtype.name for dtype, kind in KINDS.items()}
Network = IntegerNetwork | FloatNetwork
Arrays = Mapping[str, NDArray[Any]]
Files = dict[str, bytes]


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


@dataclass(frozen=True)
class Graph:
    """A graph of the bundle: the shipped bytes, the twin's, and the entry that describes them."""

    data: bytes
    probe: bytes
    entry: ArtefactEntry


@dataclass(frozen=True)
class Extras:
    """Files beside the graphs and vectors, by name; what the web page needs, for one."""

    files: Files = field(default_factory=dict)


def bundle_bytes(network: Network, vectors: GoldenVectors, choices: Sequence[Options], extras: Extras | None = None) -> bytes:
    """The zip: the same bytes for the same arguments.

    Args:
        network: the contract.
        vectors: golden vectors of it.
        choices: the graphs to put in; of each form one.
        extras: more files.

    Raises:
        InputError, LoweringError: as :func:`qleaky.export_onnx`; or two graphs of one form; or names and numbers that digests
            have no room for.
    """
    check_digestible(network)
    if len({choice.form for choice in choices}) < len(choices) or not choices:
        raise InputError(
            f"forms are {', '.join(c.form for c in choices) or 'none'}; a bundle holds one graph of each, at least one."
        )
    graphs = [_graph(network, choice) for choice in choices]
    files = _device_files() | (extras or Extras()).files
    for graph in graphs:
        files |= {graph.entry.model: graph.data, graph.entry.probe: graph.probe}
    files |= _golden_files(network, vectors)
    manifest = _manifest(network, vectors, [graph.entry for graph in graphs], files)
    return _zip(files | {"manifest.json": manifest.encode()})


def check_digestible(network: Network) -> None:
    """Refuse layers whose digests would not be well-defined: names outside printable ASCII, codes outside int32.

    Raises:
        LoweringError: saying which.
    """
    for lif in network.lif_layers:
        if not (lif.name.isascii() and lif.name.isprintable()):
            raise LoweringError(f"layer {lif.name!r}: digests name their layer in printable ASCII; give it such a name.")
        if isinstance(network, IntegerNetwork):
            signal = network.signals[lif.name]
            if signal.low not in INT32 or signal.high not in INT32:
                raise LoweringError(
                    f"layer {lif.name!r} emits integers from {signal.low:,} to {signal.high:,}; digests are of int32. Use a "
                    f"smaller graded output."
                )


def state_kinds(network: Network) -> dict[str, tuple[Kind, ...]]:
    """Which kinds of codes every layer has, in order."""
    return {lif.name: ("mem", "syn", "spk") if getattr(lif, "synapse", None) else ("mem", "spk") for lif in network.lif_layers}


def _graph(network: Network, choice: Options) -> Graph:
    data = emit(network, choice)
    model = onnx.load_model_from_string(data)
    kinds = state_kinds(network)
    probe, outputs = twin.with_probes(model, kinds, choice.form, network.num_steps)
    offsets = twin.membrane_offsets(model)
    probes = tuple(
        ProbeEntry(
            layer=layer, kind=kind, outputs=tuple(outputs[layer, kind]), offset=offsets.get(layer, 0) if kind == "mem" else 0
        )
        for layer in kinds
        for kind in kinds[layer]
    )
    entry = ArtefactEntry(
        form=choice.form,  # type: ignore[arg-type]
        carrier=choice.carrier,  # type: ignore[arg-type]
        model=f"models/{choice.form}.onnx",
        probe=f"models/{choice.form}.probe.onnx",
        probes=probes,
        final_states=tuple(_final_states(model, kinds, choice.form)),
        steps=tuple(_steps(model, network)) if choice.form == "step" else None,
    )
    return Graph(data, probe, entry)


def _final_states(model: onnx.ModelProto, kinds: Mapping[str, tuple[Kind, ...]], form: str) -> Iterator[FinalEntry]:
    names = {output.name for output in model.graph.output}
    for layer, kind in ((layer, kind) for layer in kinds for kind in kinds[layer]):
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


def _device_files() -> Files:
    device = shared_folder("export") / "device"
    return {name: (device / name).read_bytes() for name in ("README.txt", "validate.py")}


def _golden_files(network: Network, vectors: GoldenVectors) -> Files:
    files = {f"golden/inputs/{i}.npy": npy_bytes(vectors.codes[s.name]) for i, s in enumerate(network.inputs)}
    outputs = (_narrow(vectors.outputs[name]) for name in network.output_names)
    files |= {f"golden/outputs/{i}.npy": npy_bytes(array) for i, array in enumerate(outputs)}
    digests = (vectors.digests[place] for place in _places(network))
    return files | {f"golden/digests/{i}.npy": npy_bytes(array) for i, array in enumerate(digests)}


def _places(network: Network) -> list[tuple[str, Kind]]:
    return [(layer, kind) for layer, kinds in state_kinds(network).items() for kind in kinds]


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """Integers in the first of uint8, int32 and int64 that holds them; floats as they are."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    kind = np.uint8 if 0 <= low and high < 256 else np.int32 if low in INT32 and high in INT32 else np.int64
    return array.astype(kind)


def _manifest(network: Network, vectors: GoldenVectors, artefacts: list[ArtefactEntry], files: Files) -> Manifest:
    integer = isinstance(network, IntegerNetwork)
    proof = network.proof
    reasons = proof.artefact_reasons if integer else network.reasons or ("a float network has no proof.",)  # type: ignore[union-attr]
    firsts = [sum(count for _, count in vectors.groups[:i]) for i in range(len(vectors.groups))]
    shapes = _shapes(network)
    return Manifest(
        kind=KIND,  # type: ignore[arg-type]
        version=VERSION,
        created_by=f"qleaky {QLEAKY_VERSION}",
        network=NetworkEntry(
            digest=network.digest,
            numbers="integer" if integer else "float32",
            num_steps=network.num_steps,
            proved=integer and not reasons,
            reasons=reasons,
        ),
        files={name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in files.items()},
        inputs=tuple(_inputs(network)),
        outputs=tuple(_outputs(network, vectors)),
        states=tuple(
            StateEntry(layer=layer, kind=kind, shape=shapes[layer], digests=f"golden/digests/{i}.npy")
            for i, (layer, kind) in enumerate(_places(network))
        ),
        vectors=tuple(
            GroupEntry(name=name, first=first, count=count) for (name, count), first in zip(vectors.groups, firsts, strict=True)
        ),
        samples=sum(count for _, count in vectors.groups),
        artefacts=tuple(artefacts),
    )


def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    if isinstance(network, FloatNetwork):
        return network.shapes
    return {name: signal.shape for name, signal in network.signals.items()}


def _inputs(network: Network) -> Iterator[InputEntry]:
    for i, source in enumerate(network.inputs):
        fmt = source.format if isinstance(network, IntegerNetwork) else None
        yield InputEntry(
            name=source.name,
            dtype="float32" if fmt is None else fmt.dtype.name,  # type: ignore[arg-type]
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
        array = vectors.outputs[name]
        yield OutputEntry(
            name=name,
            dtype=_narrow(array).dtype.name,  # type: ignore[arg-type]
            over_time=name in over_time,
            shape=array.shape[2 if name in over_time else 1 :],
            golden=f"golden/outputs/{i}.npy",
        )


def _zip(files: Files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(info, files[name])
    return stream.getvalue()

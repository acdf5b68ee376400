"""The bundle: one zip with graphs, their twins, golden vectors and a validator, with which a device checks itself."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx
from numpy.typing import NDArray

from qleaky._share import shared_folder
from qleaky.errors import InputError, LoweringError
from qleaky.export import twin
from qleaky.export.artefact import Options, emit
from qleaky.export.bundle_arrays import npy_bytes
from qleaky.export.bundle_entries import (
    INT32,
    GoldenVectors,
    Network,
    artefact_entry,
    manifest_of,
    narrowed,
    places,
    state_kinds,
)
from qleaky.export.bundle_manifest import MAX_BUNDLE_BYTES, ArtefactEntry
from qleaky.integer import IntegerNetwork

EPOCH = (1980, 1, 1, 0, 0, 0)
DEVICE_FILES = ("README.txt", "validate.py")
Files = dict[str, bytes]
NOTHING: Mapping[str, bytes] = MappingProxyType({})


def bundle_bytes(
    network: Network, vectors: GoldenVectors, choices: Sequence[Options], extras: Mapping[str, bytes] = NOTHING
) -> bytes:
    """The zip: the same bytes for the same arguments.

    Args:
        network: the contract.
        vectors: golden vectors of it.
        choices: the graphs to put in, of each form one.
        extras: more files by name, such as those of the web page.

    Raises:
        InputError, LoweringError: as :func:`qleaky.export_onnx`; or no form, or one twice; or names and numbers that digests
            have no room for; or more bytes than a bundle may have.
    """
    check_digestible(network)
    forms = [choice.form for choice in choices]
    if len(set(forms)) < len(forms) or not forms:
        raise InputError(f"forms are {', '.join(forms) or 'none'}; a bundle holds at least one, and one graph of each.")
    files = _device_files() | dict(extras)
    entries = []
    for choice in choices:
        entry, graphs = _graphs(network, choice)
        entries.append(entry)
        files |= graphs
    files |= _golden_files(network, vectors)
    if (size := sum(map(len, files.values()))) > MAX_BUNDLE_BYTES:
        raise LoweringError(
            f"The bundle would hold {size:,} bytes, more than the {MAX_BUNDLE_BYTES:,} it may have. Put in fewer forms, or "
            f"lower the network with fewer time steps."
        )
    return _zip(files | {"manifest.json": manifest_of(network, vectors, entries, files).encode()})


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


def _graphs(network: Network, choice: Options) -> tuple[ArtefactEntry, Files]:
    """The entry of a graph, and its files: the shipped bytes and the twin's."""
    data = emit(network, choice)
    model = onnx.load_model_from_string(data)
    probe, outputs = twin.with_probes(model, state_kinds(network), choice.form, network.num_steps)
    entry = artefact_entry(network, choice, model, outputs)
    return entry, {entry.model: data, entry.probe: probe}


def _device_files() -> Files:
    return {name: (shared_folder("export") / "device" / name).read_bytes() for name in DEVICE_FILES}


def _golden_files(network: Network, vectors: GoldenVectors) -> Files:
    files = {f"golden/inputs/{i}.npy": npy_bytes(codes) for i, codes in enumerate(_inputs(network, vectors))}
    outputs = (narrowed(vectors.outputs[name]) for name in network.output_names)
    files |= {f"golden/outputs/{i}.npy": npy_bytes(array) for i, array in enumerate(outputs)}
    return files | {f"golden/digests/{i}.npy": npy_bytes(vectors.digests[p]) for i, p in enumerate(places(network))}


def _inputs(network: Network, vectors: GoldenVectors) -> list[NDArray[Any]]:
    sources: tuple[Any, ...] = network.inputs
    return [vectors.codes[source.name] for source in sources]


def _zip(files: Files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(info, files[name])
    return stream.getvalue()

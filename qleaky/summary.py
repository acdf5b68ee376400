"""The table that an export prints: layers, formats, accumulator bits, proof, nodes, bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qleaky.integer import FloatNetwork, IntegerNetwork


def print_export(network: IntegerNetwork | FloatNetwork, model: bytes, files: tuple[str, ...], console: Any) -> None:
    """Print what was exported."""
    from rich.table import Table

    table = Table(title=_title(network))
    for heading in ("layer", "kind", "sample", "format", "accumulator"):
        table.add_column(heading, justify="right" if heading == "accumulator" else "left", overflow="fold")
    for row in rows(network):
        table.add_row(*row)
    console.print(table)
    facts = Table(show_header=False, box=None)
    for name, value in (*_facts(network, model), ("written", ", ".join(files))):
        facts.add_row(name, value)
    console.print(facts)


def _title(network: IntegerNetwork | FloatNetwork) -> str:
    return f"{len(network.layers)} layers, T={network.num_steps}"


def rows(network: IntegerNetwork | FloatNetwork) -> Iterator[tuple[str, ...]]:
    """Name, kind, per-sample shape, format and accumulator bits of every input and layer."""
    from qleaky.integer import IntegerNetwork

    bounds = {b.layer: b for b in network.proof.layers}
    shapes = _shapes(network)
    for source in network.inputs:
        yield source.name, f"input, {source.time}", _shape(source.shape), _format(source), ""
    for layer in network.layers:
        bits = bounds[layer.name].accumulator_bits if layer.name in bounds else None
        width = "" if bits is None or not isinstance(network, IntegerNetwork) else f"{bits} bits"
        yield layer.name, _kind(layer), _shape(shapes[layer.name]), _format(layer), width


def _shapes(network: Any) -> dict[str, tuple[int, ...]]:
    signals = getattr(network, "signals", None)
    return network.shapes if signals is None else {name: signal.shape for name, signal in signals.items()}


def _kind(layer: Any) -> str:
    return str(layer.__struct_config__.tag).replace("_", " ")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def _format(layer: Any) -> str:
    """The format of an input, of a layer's membrane, or the bits of its weights."""
    if (fmt := getattr(layer, "state", None) or getattr(layer, "format", None)) is not None:
        return repr(fmt)
    if (weight := getattr(layer, "weight", None)) is None:
        return "float32" if hasattr(layer, "beta") or hasattr(layer, "time") else ""
    if weight.dtype.kind == "f":
        return "float32"
    bits = max(int(weight.max()).bit_length(), (-int(weight.min()) - 1).bit_length()) + 1
    return f"{bits}-bit weights"


def _facts(network: IntegerNetwork | FloatNetwork, model: bytes) -> Iterator[tuple[str, str]]:
    import onnx

    proto = onnx.load_model_from_string(model)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    yield "form", f"{metadata.get('qleaky.form', '?')}, {metadata.get('qleaky.carrier', 'float')} carrier"
    yield "nodes", f"{len(proto.graph.node):,}"
    yield "bytes", f"{len(model):,}"
    yield "contract", network.digest
    proof = network.proof
    if proof.exact:
        yield "proof", "exact: artefact and torch network compute the contract for all inputs in the declared range"
    elif proof.artefact_exact:
        yield "proof", "the artefact computes the contract for all inputs in the declared range; not the torch network:"
    else:
        yield "proof", "none: the artefact will be measured"
    for reason in proof.reasons:
        yield "", reason

"""Contract -> the bytes of an ONNX file, checked before anyone sees them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import onnx

from qleaky._version import VERSION
from qleaky.errors import InputError, LoweringError
from qleaky.export.arithmetic import IntegerArithmetic
from qleaky.export.cell_choice import Style
from qleaky.export.float_arithmetic import FloatArithmetic
from qleaky.export.graph import Graph
from qleaky.export.readouts import write_outputs
from qleaky.export.stepping import write_step
from qleaky.export.whole import Plan, WholeSequence
from qleaky.integer import FloatNetwork, IntegerNetwork

FORMS = ("auto", "unrolled", "scan", "step")
CARRIERS = ("integer", "float", "quantized")
NODES_PER_STEP = 6
NODE_BUDGET, WIDTH_BUDGET = 1_000, 256
HOISTED_BYTES = 8 << 20
MAX_UNROLLED = 1_000_000

Network = IntegerNetwork | FloatNetwork


class Options(msgspec.Struct, frozen=True):
    """How a network becomes a graph, with nothing left to choose."""

    form: str
    carrier: str
    placement: str
    probe: bool

    @classmethod
    def of(cls, metadata: dict[str, str]) -> Options:
        """The options that a file names.

        Raises:
            InputError: it names none, or unknown ones.
        """
        keys = ("form", "carrier", "placement", "probe")
        form, carrier, placement, probe = (metadata.get(f"qleaky.{key}", "") for key in keys)
        known = form in FORMS[1:] and carrier in CARRIERS and placement in ("hoisted", "inside") and probe in ("true", "false")
        if not known:
            raise InputError(
                f"it names form {form!r}, carrier {carrier!r}, placement {placement!r} and probe {probe!r}, which this version "
                f"of qleaky does not know."
            )
        return cls(form, carrier, placement, probe == "true")


def onnx_bytes(
    network: Network, form: str = "auto", carrier: str = "integer", batch_hint: int | None = None, probe: bool = False
) -> bytes:
    """The serialized ONNX model of a network; see :func:`qleaky.export_onnx` for the arguments.

    The same bytes for the same network and arguments, without paths or names of users.

    Raises:
        InputError: an unknown form or carrier, a batch_hint below 1, or an input that has the name of an output.
        LoweringError: sums that 64-bit integers cannot hold, numbers that no ONNX file can, or an endless unrolled graph.
    """
    return emit(network, choose(network, form, carrier, batch_hint, probe))


def choose(network: Network, form: str, carrier: str, batch_hint: int | None, probe: bool) -> Options:
    """Form and placement by measured rules.

    Unrolled up to about 1,000 nodes of narrow layers, else Scan. Matrix products are hoisted out of time while the largest
    current of all steps stays within 8 MB for the batch; more than that costs more memory traffic than it saves.

    Raises:
        InputError: an unknown form or carrier, or a batch_hint below 1.
    """
    for name, value, known in (("form", form, FORMS), ("carrier", carrier, CARRIERS)):
        if value not in known:
            raise InputError(f"{name}={value!r} is unknown. Choose one of {', '.join(known)}.")
    if batch_hint is not None and (isinstance(batch_hint, bool) or not isinstance(batch_hint, int) or batch_hint < 1):
        raise InputError(f"batch_hint={batch_hint!r}; it is the number of samples that will run together, at least 1.")
    shapes = network.shapes if isinstance(network, FloatNetwork) else {name: s.shape for name, s in network.signals.items()}
    widest = max(math.prod(shapes[lif.name]) for lif in network.lif_layers)
    inside = network.num_steps * (batch_hint or 1) * widest * 4 > HOISTED_BYTES and batch_hint is not None
    if form == "auto":
        nodes = NODES_PER_STEP * len(network.lif_layers) * network.num_steps
        form = "unrolled" if nodes <= NODE_BUDGET and widest <= WIDTH_BUDGET and not inside else "scan"
    return Options(form, carrier, "inside" if inside or form == "step" else "hoisted", bool(probe))


def emit(network: Network, options: Options) -> bytes:
    """The model in one form.

    Raises:
        InputError, LoweringError: as :func:`onnx_bytes`.
    """
    if isinstance(network, IntegerNetwork) and not network.proof.artefact_exact:
        raise LoweringError("No graph computes this network: " + " ".join(network.proof.artefact_reasons))
    _check_names(network)
    _check_size(network, options)
    graph = Graph()
    plan = Plan(network, inside=options.placement == "inside", probe=options.probe)
    style = Style(options.form, plan.stacked, options.placement == "hoisted")
    arithmetic: Any
    if isinstance(network, FloatNetwork):
        arithmetic = FloatArithmetic(graph, network)
    else:
        arithmetic = IntegerArithmetic(graph, network, options.carrier, style)
    if options.form == "step":
        write_step(graph, network, arithmetic, options.probe)
    else:
        write_outputs(graph, WholeSequence(graph, plan, arithmetic, scan=options.form == "scan"))
    model = graph.model("qleaky", _metadata(network, options, arithmetic.carried(), arithmetic.offsets()))
    data: bytes = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(data, full_check=True)
    return data


def _check_names(network: Network) -> None:
    clashes = sorted({source.name for source in network.inputs} & {"class", *network.output_names})
    if clashes:
        raise InputError(f"input {clashes[0]!r} has the name of an output; a graph needs both. Give the input another name.")


def _check_size(network: Network, options: Options) -> None:
    nodes = NODES_PER_STEP * len(network.layers) * network.num_steps
    if options.form == "unrolled" and nodes > MAX_UNROLLED:
        raise LoweringError(
            f"{network.num_steps:,} unrolled steps of {len(network.layers)} layers are about {nodes:,} nodes, more than the "
            f"{MAX_UNROLLED:,} that a runtime can load. Use form='scan', which takes any number of steps."
        )


def _metadata(network: Network, options: Options, carried: dict[str, str], offsets: dict[str, int]) -> dict[str, str]:
    """What a file says of itself: the contract's digest, the options and the formats, never the contract."""
    return {
        "qleaky.version": VERSION,
        "qleaky.contract": "integer" if isinstance(network, IntegerNetwork) else "float",
        "qleaky.digest": network.digest,
        "qleaky.form": options.form,
        "qleaky.carrier": options.carrier,
        "qleaky.placement": options.placement,
        "qleaky.probe": "true" if options.probe else "false",
        "qleaky.num_steps": str(network.num_steps),
        "qleaky.inputs": _json({i.name: [_format(network, i.format), i.time] for i in network.inputs}),
        "qleaky.sequences": _json(sequences(network)),
        "qleaky.states": _json({lif.name: repr(lif.state) for lif in network.lif_layers}),
        "qleaky.carried": _json(carried),
        "qleaky.offsets": _json(offsets),
    }


def sequences(network: Network) -> list[str]:
    """Outputs that have a value for each step: spikes, and their classes."""
    readouts = [readout for readout in network.readouts if readout.kind == "spikes"]
    return [network.output_name(r, kind) for r in readouts for kind in (None, *(["class"] if r.argmax else []))]


def _format(network: Network, fmt: Any) -> str:
    return "float32" if fmt is None or isinstance(network, FloatNetwork) else repr(fmt)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

"""Readouts: what adds up over the first T steps, and the functions that read it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qleaky.export.c.arrays import Array, row
from qleaky.export.c.context import Context
from qleaky.export.c.interface import ReadoutFunction
from qleaky.export.c.memory import Field
from qleaky.export.c.text import block, function, loop
from qleaky.integer.layers import Readout

SUFFIX = {"spike_count": "count", "membrane_mean": "membrane_sum", "last_membrane": "last_membrane"}
_MEANING = {
    "spike_count": "how much element `element` of {layer} has emitted in the first {steps} steps since the reset",
    "membrane_mean": "the membrane codes of element `element` of {layer}, summed over the first {steps} steps since the reset",
    "last_membrane": "the membrane code of element `element` of {layer} after the last step",
    "spikes": "what element `element` of {layer} emitted in the last step",
}


@dataclass(frozen=True)
class ReadoutCode:
    """One function of the header: its declaration, what it tells, and its text."""

    port: ReadoutFunction
    declaration: str
    comment: str
    text: str


@dataclass(frozen=True, eq=False)
class ReadoutPart:
    """The C of one readout: ``field`` and ``add`` where sums are kept."""

    functions: tuple[ReadoutCode, ...]
    field: Field | None
    add: tuple[str, ...]


def readout_part(context: Context, readout: Readout, mem: Array) -> ReadoutPart:
    """The functions of a readout; ``mem`` is how its layer's membranes are stored."""
    network, identifier = context.network, context.ids[readout.layer]
    prefix = context.prefix if len(network.readouts) == 1 else context.name(readout.layer)
    emitted, elements = context.result(readout.layer), math.prod(mem.shape)
    field: Field | None = None
    add: tuple[str, ...] = ()
    number = emitted.load(f"state->{identifier}_spk", "{k}")
    if readout.kind == "last_membrane":
        number = mem.load(f"state->{identifier}_mem", "{k}")
    elif readout.kind != "spikes":
        spikes = readout.kind == "spike_count"
        name = f"{identifier}_{'count' if spikes else 'sum'}"
        array, source = (emitted, f"{identifier}_spk") if spikes else (mem, f"{identifier}_mem")
        field = Field("int32_t", name, elements, _field_comment(readout), zeroed=True)
        add = tuple(loop("k", elements, [f"state->{name}[k] += {array.load(f'state->{source}', 'k')};"]))
        number = f"state->{name}[{{k}}]"
    functions = [] if readout.kind == "spikes" else [_numbers(context, readout, prefix, number, elements)]
    if readout.argmax:
        functions.append(_argmax(context, readout, prefix, number, mem.shape))
    return ReadoutPart(tuple(functions), field, add)


def _field_comment(readout: Readout) -> str:
    what = "what it emitted" if readout.kind == "spike_count" else "its membranes"
    return f"{readout.layer}: {what}, summed over the first steps since the reset."


def _numbers(context: Context, readout: Readout, prefix: str, number: str, elements: int) -> ReadoutCode:
    name = f"{prefix}_{SUFFIX[readout.kind]}"
    head = f"int32_t {name}(const {context.prefix}_state *state, uint32_t element)"
    meaning = _MEANING[readout.kind].format(layer=readout.layer, steps=context.network.num_steps)
    comment = f"{meaning[0].upper()}{meaning[1:]}; element < {elements}."
    text = function(head, [f"return {number.format(k='element')};"], meaning)
    return ReadoutCode(ReadoutFunction(context.network.output_name(readout), name, "numbers", elements), head, comment, text)


def _argmax(context: Context, readout: Readout, prefix: str, number: str, shape: tuple[int, ...]) -> ReadoutCode:
    name, classes = f"{prefix}_argmax", row(shape)
    rows = math.prod(shape) // classes
    head = f"uint32_t {name}(const {context.prefix}_state *state, uint32_t row)"
    k = f"row * {classes}u + i"
    better = block("if (value > largest)", ["largest = value;", "best = i;"])
    body = [
        "uint32_t best = 0u;",
        f"int32_t largest = {number.format(k=f'row * {classes}u')};",
        f"for (uint32_t i = 1u; i < {classes}u; ++i) {{",
        f"    const int32_t value = {number.format(k=k)};",
        *(f"    {line}" for line in better),
        "}",
        "return best;",
    ]
    which = "i" if rows == 1 else f"row * {classes} + i"
    meaning = _MEANING[readout.kind].format(layer=readout.layer, steps=context.network.num_steps).replace("`element`", which)
    comment = f"The class: the lowest of all i < {classes} for which this is largest: {meaning}. row < {rows}."
    text = function(head, body, "argmax: the lowest index of the largest number of a row")
    port = ReadoutFunction(context.network.output_name(readout, "class"), name, "class", rows)
    return ReadoutCode(port, head, comment, text)

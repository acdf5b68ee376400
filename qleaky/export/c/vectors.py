"""``qleaky_vectors.c``: golden inputs of a model, and the digests of what the reference computes of them.

The text is the same on every machine. Its inputs can be read back (:mod:`qleaky.export.c.golden_inputs`), so that a judge need
not believe its digests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.export.c.interface import BITS, CModel, InputPort, Kind, Tensor
from qleaky.export.c.text import listed, literal

Codes = dict[str, NDArray[Any]]
_TYPES = {
    BITS: "QLEAKY_BITS",
    "int8_t": "QLEAKY_I8",
    "uint8_t": "QLEAKY_U8",
    "int16_t": "QLEAKY_I16",
    "uint16_t": "QLEAKY_U16",
    "int32_t": "QLEAKY_I32",
    "uint32_t": "QLEAKY_U32",
}


@dataclass(frozen=True, eq=False)
class GoldenRuns:
    """Inputs, and 32-bit FNV-1a digests of what the reference computes of them.

    ``codes`` are encoded inputs by name, (T, B, ...), or (B, ...) of a static input. ``digests`` holds uint32 (T, B) by layer
    and kind, ``outputs`` uint32 (B,) by output.
    """

    codes: Codes
    digests: dict[tuple[str, Kind], NDArray[np.uint32]]
    outputs: dict[str, NDArray[np.uint32]]

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return int(next(iter(self.outputs.values())).size if self.outputs else next(iter(self.digests.values())).shape[1])


def vectors_source(model: CModel, golden: GoldenRuns) -> str:
    """The text of ``qleaky_vectors.c``, with one external symbol, ``NAME_vectors`` of type ``const qleaky_vectors``.

    Spikes stand there as words of 32, other inputs as numbers; a static input once for each sample.
    """
    parts = [_head(model, golden), *(_input(model, port, golden) for port in model.inputs), _expected(model, golden)]
    parts += [_run(model), _step(model), _read(model), _description(model, golden)]
    return "\n".join(parts)


def _head(model: CModel, golden: GoldenRuns) -> str:
    return f"""\
/* Golden vectors of {model.name}: {golden.samples} samples of {model.num_steps} steps.
 * contract {model.digest}
 * Written by qleaky; ports/check.c runs them. Digests are 32-bit FNV-1a of what the reference computes. */
#include "ports/qleaky_check.h"
#include "qleaky_model.h"

#include <stddef.h>
"""


def _input(model: CModel, port: InputPort, golden: GoldenRuns) -> str:
    """The samples of one input, one after the other: [sample][t][element], without t where it is static."""
    codes = golden.codes[port.name]
    samples = codes if port.static else np.moveaxis(codes, 1, 0)
    values = _words(samples.reshape(-1, port.tensor.elements)) if port.tensor.ctype == BITS else samples
    return _array(input_name(model, port), "uint32_t" if port.tensor.ctype == BITS else port.tensor.ctype, values)


def input_name(model: CModel, port: InputPort) -> str:
    """The array of an input's samples."""
    return f"{model.name}_golden_{port.argument}"


def _words(bits: NDArray[Any]) -> NDArray[np.uint32]:
    """Rows of 0 and 1 -> rows of words: element i is bit i % 32 of word i / 32."""
    padded = np.pad(bits.astype(np.uint8), ((0, 0), (0, -bits.shape[1] % 32)))
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)


def _places(model: CModel) -> list[tuple[str, Kind]]:
    """The columns of the expected digests: every layer and kind that is checked, once."""
    states = [(tensor.layer, tensor.kind) for tensor in model.tensors]
    emitted: list[tuple[str, Kind]] = [(port.layer, "spk") for port in model.spikes]
    return list(dict.fromkeys([*states, *emitted]))


def _expected(model: CModel, golden: GoldenRuns) -> str:
    places, names = _places(model), [readout.output for readout in model.readouts]
    states = np.stack([golden.digests[place] for place in places], axis=-1).swapaxes(0, 1)
    parts = [_array(f"{model.name}_expected", "uint32_t", states, digits=8)]
    if names:
        outputs = np.stack([golden.outputs[name] for name in names], axis=-1)
        parts.append(_array(f"{model.name}_expected_outputs", "uint32_t", outputs, digits=8))
    return "\n".join(parts)


def _array(name: str, ctype: str, values: NDArray[Any], digits: int = 0) -> str:
    """A constant array of any shape, flat, in lines that are no longer than the rest."""
    numbers = values.reshape(-1).tolist()
    items = (f"0x{n:0{digits}x}u" if ctype == "uint32_t" else literal(n) for n in numbers)
    return f"static const {ctype} {name}[{len(numbers)}] = {{\n{listed(items, 128)}\n}};\n"


def _run(model: CModel) -> str:
    """The state, and what the step function writes."""
    fields = [f"    {word_type(port.tensor)} {port.argument}[{port.tensor.words}];" for port in model.spikes]
    lines = ["typedef struct golden_run {", f"    {model.name}_state state;", *fields, "} golden_run;\n"]
    return "\n".join([*lines, "static golden_run run;\n"])


def word_type(tensor: Tensor) -> str:
    """The elements of the C array that holds a tensor."""
    return "uint32_t" if tensor.ctype == BITS else tensor.ctype


def _step(model: CModel) -> str:
    """The functions that the harness calls for a reset and for one step of one sample."""
    arguments = ["&golden->state", *(_argument(model, port) for port in model.inputs)]
    arguments += [f"golden->{port.argument}" for port in model.spikes]
    unused = [f"    (void){name};" for name in _unused(model)]
    return "\n".join(
        [
            "static void reset(void *golden)",
            "{",
            f"    {model.name}_reset(&((golden_run *)golden)->state);",
            "}\n",
            "static void step(void *any, uint32_t sample, uint32_t t)",
            "{",
            "    golden_run *const golden = (golden_run *)any;",
            *unused,
            f"    {model.step_function}({', '.join(arguments)});",
            "}\n",
        ]
    )


def _unused(model: CModel) -> list[str]:
    return ["t"] if all(port.static for port in model.inputs) else []


def _argument(model: CModel, port: InputPort) -> str:
    place = "sample" if port.static else f"(sample * {model.num_steps}u + t)"
    return f"{input_name(model, port)} + {place} * {port.tensor.words}u"


def _read(model: CModel) -> str:
    """The function that the harness calls for a number of an output."""
    if not model.readouts:
        return ""
    cases = [
        f"    case {i}u:\n        return {'(int32_t)' if readout.kind == 'class' else ''}{readout.function}(state, element);"
        for i, readout in enumerate(model.readouts)
    ]
    return "\n".join(
        [
            "static int32_t read(const void *golden, uint32_t output, uint32_t element)",
            "{",
            f"    const {model.name}_state *const state = &((const golden_run *)golden)->state;",
            "    switch (output) {",
            *cases,
            "    default:\n        return 0;\n    }",
            "}\n",
        ]
    )


def _description(model: CModel, golden: GoldenRuns) -> str:
    places = _places(model)
    rows = [_row(t.layer, t.kind, t.tensor, f"state.{t.tensor.field}", places) for t in model.tensors]
    rows += [_row(port.layer, "spk", port.tensor, port.argument, places) for port in model.spikes]
    outputs = [f"    {{{_text(readout.output)}, {readout.elements}u}}," for readout in model.readouts]
    listed = ["static const qleaky_output outputs[] = {", *outputs, "};\n"] if outputs else []
    fields = {
        "name": _text(model.name),
        "contract": _text(model.digest),
        "state_size": f"(uint32_t)sizeof({model.name}_state)",
        "run_size": "(uint32_t)sizeof(golden_run)",
        "samples": f"{golden.samples}u",
        "steps": f"{model.num_steps}u",
        "tensors": f"{len(rows)}u",
        "columns": f"{len(places)}u",
        "outputs": f"{len(outputs)}u",
        "tensor": "tensors",
        "output": "outputs" if outputs else "0",
        "expected": f"{model.name}_expected",
        "expected_outputs": f"{model.name}_expected_outputs" if outputs else "0",
        "run": "&run",
        "reset": "reset",
        "step": "step",
        "read": "read" if outputs else "0",
    }
    return "\n".join(
        [
            "static const qleaky_tensor tensors[] = {",
            *rows,
            "};\n",
            *listed,
            f"extern const qleaky_vectors {model.name}_vectors;\n",
            f"const qleaky_vectors {model.name}_vectors = {{",
            *(f"    .{field} = {value}," for field, value in fields.items()),
            "};\n",
        ]
    )


def _row(layer: str, kind: Kind, tensor: Tensor, member: str, places: list[tuple[str, Kind]]) -> str:
    shape, offset = ",".join(map(str, tensor.shape)), f"(uint32_t)offsetof(golden_run, {member})"
    column = places.index((layer, kind))
    texts = ", ".join(map(_text, (layer, kind, shape)))
    return f"    {{{texts}, {offset}, {tensor.elements}u, {column}u, {_TYPES[tensor.ctype]}}},"


def _text(text: str) -> str:
    """A C string of the bytes of a digest's line: what is not plain stands as three octal digits, which never run on."""
    plain = re.compile(rb"[A-Za-z0-9 _.,:;+*/()\[\]<>=-]")
    data = text.encode("utf-8", "backslashreplace")
    return '"' + "".join(chr(b) if plain.fullmatch(bytes([b])) else f"\\{b:03o}" for b in data) + '"'

"""How a program uses one model: its calls with its own names and sizes, and a loop that compiles as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qleaky.export.c.interface import BITS, CModel, InputPort, ReadoutFunction, SpikePort, Tensor

ENCODED = "a number as its code: raw × 2^-raw_frac_bits, rounded half up and saturated, as `network.encode` takes it"


@dataclass(frozen=True)
class Call:
    """A function of the header, and a sentence about it."""

    call: str
    what: str


def calls(model: CModel) -> list[Call]:
    """The functions of a model, in the order in which a program needs them."""
    name = model.name
    arguments = ", ".join([f"{name}_state *state", *map(_input, model.inputs), *map(_output, model.spikes)])
    found = [
        Call(f"void {name}_reset({name}_state *state)", "the state before the first step; call it once for each inference"),
        Call(f"void {model.step_function}({arguments})", f"one of the {model.num_steps} steps: {_sizes(model)}"),
    ]
    found += [Call(encoder, ENCODED) for encoder in _encoders(model)]
    return found + [_readout(model, readout) for readout in model.readouts]


def main_loop(model: CModel) -> str:
    """About fifteen lines of C that run one inference; the whole of a file but for who calls it."""
    name, returned = model.name, next(iter(sorted(model.readouts, key=lambda readout: readout.kind)), None)
    parameters = ", ".join(f"const {_code(port)} {port.argument}{_shape(model, port)}" for port in model.inputs)
    passed = [port.argument if port.static else f"{port.argument}[t]" for port in model.inputs]
    passed += ["0" for _ in model.spikes]  # nobody asks for what is emitted in each step
    result = "uint32_t" if returned is not None and returned.kind == "class" else "int32_t"
    lines = [
        f'#include "{name}.h"',
        "",
        f"static {name}_state state;{'':>4}/* yours: static, on the stack, or one of many */",
        "",
        f"{result} {name}_infer({parameters})",
        "{",
        f"    {name}_reset(&state);",
        f"    for (uint32_t t = 0; t < {model.num_steps}u; t++) {{",
        f"        {model.step_function}(&state, {', '.join(passed)});",
        "    }",
        f"    return {'0' if returned is None else f'{returned.function}(&state, 0)'};",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _code(port: InputPort) -> str:
    """The element type of an input in the header: words of bits, or its codes."""
    return port.code or "uint32_t"


def _shape(model: CModel, port: InputPort) -> str:
    return f"[{port.tensor.words}]" if port.static else f"[{model.num_steps}][{port.tensor.words}]"


def _input(port: InputPort) -> str:
    return f"const {_code(port)} *{port.argument}"


def _output(port: SpikePort) -> str:
    return f"{_word(port.tensor)} *{port.argument}"


def _word(tensor: Tensor) -> str:
    return "uint32_t" if tensor.ctype == BITS else tensor.ctype


def _sizes(model: CModel) -> str:
    parts = [f"`{port.argument}` {_size(port.tensor)}" for port in model.inputs]
    parts += [f"`{port.argument}` takes {_size(port.tensor)}, or is 0" for port in model.spikes]
    return "; ".join(parts)


def _size(tensor: Tensor) -> str:
    words = f"{tensor.words:,} word{'s' if tensor.words > 1 else ''} of {tensor.elements:,} bits"
    return words if tensor.ctype == BITS else f"{tensor.elements:,} numbers"


def _encoders(model: CModel) -> Iterator[str]:
    for port in model.inputs:
        if port.code is not None:
            yield f"{port.code} {port.code.removesuffix('_code')}_encode(int32_t raw, int32_t raw_frac_bits)"


def _readout(model: CModel, readout: ReadoutFunction) -> Call:
    if readout.kind == "class":
        what = "the class: the lowest index of the largest" + (
            f", of row 0 to {readout.elements - 1}" if readout.elements > 1 else ""
        )
        return Call(f"uint32_t {readout.function}(const {model.name}_state *state, uint32_t row)", what)
    what = f"`{readout.output}` of element 0 to {readout.elements - 1}"
    return Call(f"int32_t {readout.function}(const {model.name}_state *state, uint32_t element)", what)

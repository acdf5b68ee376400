"""What goes in and out of the step function: its parameters, their types, and their names."""

from __future__ import annotations

from dataclasses import dataclass

from qleaky.export.c.arrays import SUFFIXES, Array
from qleaky.export.c.context import Context
from qleaky.export.c.interface import BITS, InputPort, SpikePort, Tensor
from qleaky.export.c.text import block, loop


@dataclass(frozen=True)
class CodeType:
    """The C type of an integer input's codes: ``NAME_code``, or ``NAME_<input>_code`` of several."""

    input: str
    name: str
    ctype: str
    encoder: str


def code_types(context: Context) -> dict[str, CodeType]:
    """The types of all inputs that are no spikes."""
    found = {}
    for name, array in context.inputs.items():
        prefix = context.prefix if len(context.inputs) == 1 else context.name(name)
        if not array.bits:
            found[name] = CodeType(name, f"{prefix}_code", array.ctype, f"{prefix}_encode")
    return found


def input_ports(context: Context) -> tuple[InputPort, ...]:
    """One parameter for each input, in order."""
    ports, types = [], code_types(context)
    for source in context.network.inputs:
        array, code = context.inputs[source.name], types[source.name].name if source.name in types else None
        infix = "" if len(context.inputs) == 1 else f"{context.ids[source.name]}_"
        argument = f"in_{infix}bits" if array.bits else f"in_{infix}codes" if infix else "codes"
        tensor = Tensor(argument, array.ctype, source.shape)
        ports.append(InputPort(source.name, argument, tensor, source.time == "static", code))
    return tuple(ports)


def spike_ports(context: Context) -> tuple[SpikePort, ...]:
    """One parameter for each layer that a readout names, in order."""
    layers = dict.fromkeys(readout.layer for readout in context.network.readouts)
    ports = []
    for layer in layers:
        array = context.result(layer)
        infix = "" if len(layers) == 1 else f"{context.ids[layer]}_"
        argument = f"out_{infix}{'bits' if array.bits else 'numbers'}"
        ports.append(SpikePort(layer, argument, Tensor(argument, BITS if array.bits else "int32_t", array.shape)))
    return tuple(ports)


def step_function(context: Context) -> str:
    """``NAME_step`` where all inputs are spikes, else ``NAME_step_i8``, ``_i16`` or ``_i32``, by the widest codes."""
    widths = [int(SUFFIXES[array.ctype][1:]) for array in context.inputs.values() if not array.bits]
    return f"{context.prefix}_step" + (f"_i{max(widths)}" if widths else "")


def step_declaration(context: Context) -> str:
    """The head of the step function."""
    inputs = [(port.code or "uint32_t", port.argument) for port in input_ports(context)]
    outputs = [("uint32_t" if p.tensor.ctype == BITS else "int32_t", p.argument) for p in spike_ports(context)]
    parameters = [f"{context.prefix}_state *state"]
    parameters += [f"const {ctype} *{argument}" for ctype, argument in inputs]
    parameters += [f"{ctype} *{argument}" for ctype, argument in outputs]
    return f"void {step_function(context)}({', '.join(parameters)})"


def emitting(array: Array, stored: str, argument: str) -> list[str]:
    """The copy of an emission to a parameter, where that is no null pointer."""
    copy = f"qleaky_put_i32({argument}, k, {array.load(stored, 'k')});"
    if array.bits:
        copy = f"qleaky_put_u32({argument}, k, {stored}[k]);"
    return block(f"if ({argument} != 0)", loop("k", array.length, [copy]))

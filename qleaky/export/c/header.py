"""The text of ``qleaky_model.h``: every function and every member, with what it means."""

from __future__ import annotations

from collections.abc import Sequence

from qleaky.export.c.context import Context
from qleaky.export.c.interface import BITS, InputPort, SpikePort, Tensor
from qleaky.export.c.memory import Field, state_size
from qleaky.export.c.ports import code_types, input_ports, spike_ports, step_declaration
from qleaky.export.c.readouts import ReadoutCode
from qleaky.export.c.text import commented
from qleaky.integer.layers import Input


def header(context: Context, fields: Sequence[Field], functions: Sequence[ReadoutCode]) -> str:
    """The header of a model, for C99 and C++."""
    prefix = context.prefix
    guard = f"QLEAKY_MODEL_{prefix.upper()}_H"
    parts = [
        _about(context, fields) + f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n",
        _macros(context),
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        _state(prefix, fields),
        *_codes(context),
        _declared(f"void {prefix}_reset({prefix}_state *state)", "Before the first step of every sample."),
        _declared(step_declaration(context), _step_comment(context)),
        *_encoders(context),
        *(_declared(code.declaration, code.comment) for code in functions),
        "#ifdef __cplusplus\n}\n#endif\n\n#endif\n",
    ]
    return "\n".join(parts)


def _about(context: Context, fields: Sequence[Field]) -> str:
    network, prefix = context.network, context.prefix
    return commented(
        f"A spiking network of integers as C99, written by qleaky. Contract: {network.digest}\n\n"
        f"Inputs: {', '.join(map(_of_input, network.inputs))}.\n"
        f"One sample: {prefix}_reset, then {network.num_steps} times the step, then the readouts.\n\n"
        f"The state ({state_size(fields)} bytes) belongs to the caller: one for each sample that runs at a time. All functions "
        f"are reentrant, use no other memory but a small stack, and call nothing. Codes must lie in the range of their input. "
        f"Elements of arrays are in C order of their shapes. Element i of bits is bit i % 32 of word i / 32; bits after the "
        f"last element may be anything where they are read, and are 0 where they are written."
    )


def _of_input(source: Input) -> str:
    time = "the same in all steps" if source.time == "static" else "new in each step"
    return f"{source.name} {source.shape} {source.format} ({time})"


def _macros(context: Context) -> str:
    prefix = context.prefix
    return f'#define {prefix}_DIGEST "{context.network.digest}"\n#define {prefix}_STEPS {context.network.num_steps}\n'


def _state(prefix: str, fields: Sequence[Field]) -> str:
    lines = []
    for field in fields:
        length = "" if field.length is None else f"[{field.length}]"
        comment = commented(field.comment).strip().replace("\n", "\n    ")
        lines.append(f"    {field.ctype} {field.name}{length}; {comment}\n")
    return f"typedef struct {prefix}_state {{\n{''.join(lines)}}} {prefix}_state;\n"


def _codes(context: Context) -> list[str]:
    """The types of codes; their ranges and values."""
    types, found = code_types(context), []
    for source in context.network.inputs:
        if source.name in types:
            fmt, kind = source.format, types[source.name]
            number = "code" if not fmt.zero_point else f"(code - {fmt.zero_point})".replace("- -", "+ ")
            value = number if not fmt.frac_bits else f"{number} * 2^{-fmt.frac_bits}"
            text = f"Codes of {source.name}: {fmt.lowest} to {fmt.highest}, of the value {value}."
            found.append(f"{commented(text)}typedef {kind.ctype} {kind.name};\n")
    return found


def _step_comment(context: Context) -> str:
    inputs = "".join(f"\n{_input(port)}" for port in input_ports(context))
    return f"One time step.{inputs}" + "".join(f"\n{_output(port)}" for port in spike_ports(context))


def _input(port: InputPort) -> str:
    kind = _amount(port.tensor, "codes")
    when = "; read in the first step after a reset, and not again" if port.static else ""
    return f"{port.argument}: {kind} of {port.name}, shape {port.tensor.shape}{when}."


def _output(port: SpikePort) -> str:
    kind = _amount(port.tensor, "numbers")
    return f"{port.argument}: what {port.layer} emits, {kind}; or a null pointer."


def _amount(tensor: Tensor, what: str) -> str:
    words = f"{tensor.elements} bits in {tensor.words} word{'s' if tensor.words > 1 else ''}"
    return words if tensor.ctype == BITS else f"{tensor.elements} {what}"


def _encoders(context: Context) -> list[str]:
    return [
        _declared(
            f"{kind.name} {kind.encoder}(int32_t raw, int32_t raw_frac_bits)",
            f"The code of the number raw * 2^-raw_frac_bits of {kind.input}, rounded half up, saturated.",
        )
        for kind in code_types(context).values()
    ]


def _declared(declaration: str, comment: str) -> str:
    return f"{commented(comment)}{declaration};\n"

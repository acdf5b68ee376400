"""``qleaky_weights.c``: the constant arrays of a model. They are numbers, so no byte order matters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qleaky.export.c.interface import CModel, ConstArray

COLUMNS = 120


def weights_source(model: CModel) -> str:
    """The text of the file: each array declared, as other files declare it, and defined.

    Array elements stand in the order in which the model reads them; ``uint32_t`` words of packed weights are hexadecimal.
    """
    head = f"/* Constant arrays of {model.name}.\n * contract {model.digest}\n * Written by qleaky. */\n#include <stdint.h>\n"
    return "\n".join([head, *(_definition(array) for array in model.constants)])


def _definition(array: ConstArray) -> str:
    declared = f"const {array.ctype} {array.name}[{array.values.size}]"
    items = (literal(int(value), array.ctype) for value in array.values.reshape(-1).tolist())
    return f"extern {declared};\n{declared} = {{\n" + "\n".join(_lines(items)) + "\n};\n"


def literal(value: int, ctype: str) -> str:
    """A number as C text of its type.

    >>> literal(255, "uint32_t"), literal(-3, "int8_t"), literal(-(1 << 31), "int32_t")
    ('0x000000ffu', '-3', '(-2147483647 - 1)')
    """
    if ctype == "uint32_t":
        return f"0x{value:08x}u"
    return "(-2147483647 - 1)" if value == -(1 << 31) else str(value)


def _lines(items: Iterable[str]) -> Iterator[str]:
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > COLUMNS:
            yield line
            line = "   "
        line += f" {item},"
    yield line

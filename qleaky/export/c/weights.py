"""``qleaky_weights.c``: the constant arrays of a model. They are numbers, so no byte order matters."""

from __future__ import annotations

from qleaky.export.c.interface import CModel, ConstArray
from qleaky.export.c.text import listed, literal


def weights_source(model: CModel) -> str:
    """The text of the file: each array declared, as other files declare it, and defined.

    Array elements stand in the order in which the model reads them; ``uint32_t`` words of packed weights are hexadecimal.
    """
    head = f"/* Constant arrays of {model.name}.\n * contract {model.digest}\n * Written by qleaky. */\n#include <stdint.h>\n"
    return "\n".join([head, *(_definition(array) for array in model.constants)])


def _definition(array: ConstArray) -> str:
    declared = f"const {array.ctype} {array.name}[{array.values.size}]"
    numbers = map(int, array.values.reshape(-1).tolist())
    items = (f"0x{number:08x}u" if array.ctype == "uint32_t" else literal(number) for number in numbers)
    return f"extern {declared};\n{declared} = {{\n{listed(items)}\n}};\n"

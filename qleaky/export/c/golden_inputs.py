"""Reading the inputs of a ``qleaky_vectors.c`` back, so that the reference can run them again."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import ArtefactError
from qleaky.export.c.interface import BITS, CModel, InputPort
from qleaky.export.c.text import literal
from qleaky.export.c.vectors import Codes, input_name, word_type


def golden_inputs(text: str, model: CModel) -> Codes:
    """The inputs that a ``qleaky_vectors.c`` holds, as :attr:`GoldenRuns.codes` has them.

    Raises:
        ArtefactError: the text is not what :func:`vectors_source` writes for this model.
    """
    return {port.name: _read_input(text, model, port) for port in model.inputs}


def _read_input(text: str, model: CModel, port: InputPort) -> NDArray[Any]:
    name, tensor = input_name(model, port), port.tensor
    ctype = word_type(tensor)
    start = rf"static const {ctype} {re.escape(name)}"
    found = re.findall(rf"^{start}\[(\d{{1,9}})\] = \{{\n([-0-9a-fxu, \n()]*)\n\}};$", text, re.M)
    each = tensor.words * (1 if port.static else model.num_steps)
    numbers = [_number(item.strip()) for item in found[0][1].split(",")[:-1]] if len(found) == 1 else []
    if not numbers or len(numbers) != int(found[0][0]) or len(numbers) % each:
        raise ArtefactError(
            f"qleaky_vectors.c: there is no array {name} of {ctype} with {each:,} numbers for each sample, as this network's "
            f"inputs have; export the folder again."
        )
    return _codes(np.array(numbers, np.int64), port, model.num_steps)


def _number(item: str) -> int:
    if item == literal(-(1 << 31)):
        return -(1 << 31)
    if not re.fullmatch(r"-?[0-9]{1,10}|0x[0-9a-f]{1,8}u", item):
        raise ArtefactError(f"qleaky_vectors.c: {item[:20]!r} is no number of a golden input; export the folder again.")
    return int(item.rstrip("u"), 0) if item.startswith("0x") else int(item)


def _codes(numbers: NDArray[Any], port: InputPort, num_steps: int) -> NDArray[Any]:
    tensor, lead = port.tensor, (-1,) if port.static else (-1, num_steps)
    if tensor.ctype == BITS:
        numbers = _bits(numbers.astype(np.uint32).reshape(-1, tensor.words), tensor.elements)
    samples = numbers.reshape(*lead, *tensor.shape)
    return samples if port.static else np.moveaxis(samples, 1, 0)


def _bits(words: NDArray[np.uint32], elements: int) -> NDArray[np.uint8]:
    """Rows of words -> rows of 0 and 1: element i is bit i % 32 of word i / 32."""
    return np.unpackbits(words.astype("<u4").view(np.uint8), axis=1, bitorder="little")[:, :elements]

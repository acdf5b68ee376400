"""What the parts of the C exporter tell each other: constants, a model's state, its ports, its source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

Kind = Literal["mem", "spk", "syn"]
BITS = "bits"
SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}
_RANGES = {
    "int8_t": (-(1 << 7), (1 << 7) - 1),
    "uint8_t": (0, (1 << 8) - 1),
    "int16_t": (-(1 << 15), (1 << 15) - 1),
    "uint16_t": (0, (1 << 16) - 1),
    "int32_t": (-(1 << 31), (1 << 31) - 1),
}


def c_type(low: int, high: int) -> str:
    """The smallest C type that holds ``low`` to ``high``, signed where both do.

    >>> c_type(-128, 127), c_type(0, 255), c_type(-1, 255)
    ('int8_t', 'uint8_t', 'int16_t')

    Raises:
        StopIteration: none of 32 bits does; the plan refuses such numbers before anything asks.
    """
    return next(name for name, (lowest, highest) in _RANGES.items() if lowest <= low and high <= highest)


@dataclass(frozen=True, eq=False)
class ConstArray:
    """A constant array of ``qleaky_weights.c``: its whole C identifier, element type, and values in order."""

    name: str
    ctype: str
    values: NDArray[Any]

    @property
    def size(self) -> int:
        """Bytes of flash."""
        return int(self.values.size) * SIZES[self.ctype]


@dataclass(frozen=True)
class Tensor:
    """A field of ``NAME_state``: ``elements`` codes in C order of a sample, each a ``ctype``, or ``bits`` of uint32_t words.

    Element i of bits is bit i % 32 of word i / 32.
    """

    field: str
    ctype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many codes there are."""
        return math.prod(self.shape)

    @property
    def words(self) -> int:
        """Length of the C array: words of bits, else elements."""
        return -(-self.elements // 32) if self.ctype == BITS else self.elements

    @property
    def size(self) -> int:
        """Bytes of RAM, without padding."""
        return self.words * (4 if self.ctype == BITS else SIZES[self.ctype])


@dataclass(frozen=True)
class StateTensor:
    """What a check reads of ``NAME_state`` after each step: membranes, emissions or synaptic currents of one layer."""

    layer: str
    kind: Kind
    tensor: Tensor


@dataclass(frozen=True)
class InputPort:
    """A parameter of the step function: codes as :meth:`IntegerNetwork.encode` gives them, or spikes as bits.

    A static input is read in the first step after a reset, and not again. ``code`` is the header's type of a code, None of
    bits: ``NAME_code``, or ``NAME_<input>_code`` of several inputs.
    """

    name: str
    argument: str
    tensor: Tensor
    static: bool
    code: str | None = None


@dataclass(frozen=True)
class SpikePort:
    """A parameter of the step function which takes what a readout's layer emits, or a null pointer."""

    layer: str
    argument: str
    tensor: Tensor


@dataclass(frozen=True)
class ReadoutFunction:
    """A function of the header which reads one output of the network from a state.

    ``kind`` "numbers": ``int32_t function(const NAME_state *, uint32_t element)``. "class": ``uint32_t function(const
    NAME_state *, uint32_t row)``, the lowest index of the largest number of one row of the last axis. ``elements``: how many.
    """

    output: str
    function: str
    kind: Literal["numbers", "class"]
    elements: int


@dataclass(frozen=True, eq=False)
class CModel:
    """A network as C: ``header`` and ``source`` are the text of ``qleaky_model.h`` and ``qleaky_model.c``.

    ``runtime`` names the files of ``export/c/runtime`` that the source includes. ``state_size`` is sizeof(NAME_state) on a
    32-bit machine.
    """

    name: str
    digest: str
    num_steps: int
    step_function: str
    inputs: tuple[InputPort, ...]
    spikes: tuple[SpikePort, ...]
    tensors: tuple[StateTensor, ...]
    readouts: tuple[ReadoutFunction, ...]
    constants: tuple[ConstArray, ...]
    header: str
    source: str
    runtime: tuple[str, ...]
    state_size: int

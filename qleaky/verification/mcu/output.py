"""What a harness prints, read line by line: anything else is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from qleaky._strict_json import printable
from qleaky.errors import ArtefactError

LONGEST_OUTPUT = 1 << 20
_NUMBER, _HASH = r"(0|[1-9][0-9]{0,9})", r"([0-9a-f]{8})"
_MODEL = re.compile(rf"model ([A-Za-z][A-Za-z0-9_]*) contract ([0-9a-f]{{64}}) state {_NUMBER}")
_SAMPLE = re.compile(rf"sample {_NUMBER} digest {_HASH}")
_DIFFERS = re.compile(
    rf"differs sample {_NUMBER} layer ([ -~]*) kind (mem|spk|syn|out) step {_NUMBER} expected {_HASH} got {_HASH}"
)
_COST = re.compile(rf"(instructions|cycles) {_NUMBER}")
_STACK = re.compile(rf"stack (overflow|{_NUMBER})")
_EQUAL = re.compile(rf"equal {_NUMBER} digests of {_NUMBER} samples")
_UNEQUAL = re.compile(rf"differs {_NUMBER} of {_NUMBER} digests")


@dataclass(frozen=True)
class Difference:
    """A digest that the harness found unequal; ``layer`` as it was printed."""

    sample: int
    layer: str
    kind: str
    step: int
    expected: int
    got: int


@dataclass(frozen=True)
class Output:
    """What a harness said: the samples' ``digests``, and how many digests it says differ, of how many ``compared``.

    ``cost`` is a step's average in ``unit``; ``stack`` bytes, and None where the machine could not tell.
    """

    name: str
    contract: str
    state_size: int
    digests: tuple[int, ...]
    differences: tuple[Difference, ...]
    unit: Literal["instructions", "cycles"] | None
    cost: int | None
    stack: int | None
    overflow: bool
    differing: int
    compared: int | None
    samples: int | None


class _Lines:
    """Lines, taken in order."""

    def __init__(self, lines: list[str]) -> None:
        self._lines, self._next = lines, 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The next line, if it is one of these."""
        match = pattern.fullmatch(self._lines[self._next]) if self._next < len(self._lines) else None
        self._next += match is not None
        return match

    def refuse(self, wanted: str) -> ArtefactError:
        if self._next >= len(self._lines):
            return ArtefactError(f"The program's output ends after line {self._next}: {wanted} is missing.")
        found = printable(self._lines[self._next], 60)
        return ArtefactError(
            f"The program's output is not that of ports/check.c: line {self._next + 1}, {found!r}, is not {wanted}."
        )

    @property
    def ended(self) -> bool:
        return self._next == len(self._lines)


def read_output(data: bytes) -> Output:
    """The output of ports/check.c.

    Raises:
        ArtefactError: it is anything else, longer than 1 MB, or cut off.
    """
    if len(data) > LONGEST_OUTPUT:
        raise ArtefactError(f"The program printed more than the {LONGEST_OUTPUT:,} bytes that a check prints; it was stopped.")
    text = data.decode("ascii", "backslashreplace").replace("\r\n", "\n")
    lines = _Lines(text.split("\n")[:-1])
    if lines.take(re.compile("qleaky-check 1")) is None:
        raise lines.refuse("'qleaky-check 1'")
    model = lines.take(_MODEL)
    if model is None:
        raise lines.refuse("the model's name, contract and size")
    digests, differences = _samples(lines)
    cost, stack = lines.take(_COST), lines.take(_STACK)
    equal, unequal = lines.take(_EQUAL), lines.take(_UNEQUAL)
    verdict = equal or unequal
    if verdict is None or not lines.ended or not text.endswith("\n"):
        raise lines.refuse("the verdict, and nothing after it")
    return Output(
        name=model[1],
        contract=model[2],
        state_size=int(model[3]),
        digests=digests,
        differences=differences,
        unit=None if cost is None else _unit(cost[1]),
        cost=None if cost is None else int(cost[2]),
        stack=None if stack is None or stack[2] is None else int(stack[2]),
        overflow=stack is not None and stack[2] is None,
        differing=0 if unequal is None else int(unequal[1]),
        compared=int(equal[1]) if equal is not None else int(verdict[2]),
        samples=int(equal[2]) if equal is not None else None,
    )


def _unit(text: str) -> Literal["instructions", "cycles"]:
    return "instructions" if text == "instructions" else "cycles"


def _samples(lines: _Lines) -> tuple[tuple[int, ...], tuple[Difference, ...]]:
    """The lines of all samples: what differs comes before a sample's digest."""
    digests, differences = list[int](), list[Difference]()
    while True:
        if (found := lines.take(_DIFFERS)) is not None:
            differences.append(
                Difference(int(found[1]), found[2], found[3], int(found[4]), int(found[5], 16), int(found[6], 16))
            )
        elif (found := lines.take(_SAMPLE)) is not None:
            if int(found[1]) != len(digests):
                raise ArtefactError(f"The program's output names sample {found[1]} where sample {len(digests)} was due.")
            digests.append(int(found[2], 16))
        else:
            return tuple(digests), tuple(differences)

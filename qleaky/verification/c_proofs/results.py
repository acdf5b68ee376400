"""What a proof of C text says: statements that hold for all inputs, those that do not with numbers, and those left open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Proved:
    """A statement about one layer that holds for all inputs."""

    layer: str
    statement: str
    seconds: float

    def __str__(self) -> str:
        return f"proved    {self.layer}: {self.statement} ({self.seconds:.2f} s)"


@dataclass(frozen=True)
class Refuted:
    """A statement that does not hold: inputs for which it fails, and what the C and its specification give there.

    ``what`` says in words what is wrong. ``neuron`` numbers one that has these constants and inputs, None where none is meant.
    """

    layer: str
    statement: str
    what: str
    neuron: int | None
    inputs: dict[str, int]
    c: dict[str, int]
    specification: dict[str, int]

    def __str__(self) -> str:
        where = "" if self.neuron is None else f" in neuron {self.neuron}"
        return (
            f"refuted   {self.layer}: {self.statement}: {self.what}{where}, at {_numbers(self.inputs)}: "
            f"the C gives {_numbers(self.c)}, the specification {_numbers(self.specification)}"
        )


@dataclass(frozen=True)
class Open:
    """A statement that was neither proved nor refuted, and why."""

    layer: str
    statement: str
    reason: str

    def __str__(self) -> str:
        return f"open      {self.layer}: {self.statement}: {self.reason}"


Result = Proved | Refuted | Open


@dataclass(frozen=True)
class CProofs:
    """All statements about one model's C."""

    results: tuple[Result, ...]

    @property
    def proved(self) -> bool:
        """Whether every statement holds for all inputs, and there is one."""
        return bool(self.results) and all(isinstance(result, Proved) for result in self.results)

    @property
    def refuted(self) -> tuple[Refuted, ...]:
        """The statements that do not hold."""
        return tuple(result for result in self.results if isinstance(result, Refuted))

    @property
    def open(self) -> tuple[Open, ...]:
        """The statements that were left open."""
        return tuple(result for result in self.results if isinstance(result, Open))

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __str__(self) -> str:
        return "\n".join(str(result) for result in self.results)


def _numbers(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} = {number}" for name, number in numbers.items()) or "nothing"

"""One function of a generated model: what it reads, what it writes, and its text."""

from __future__ import annotations

from dataclasses import dataclass, field

from qleaky.export.c.arrays import Array
from qleaky.export.c.context import Source
from qleaky.export.c.interface import ConstArray
from qleaky.export.c.text import function


@dataclass(frozen=True)
class Temporary:
    """Memory that an operation uses only while it runs: a parameter of its function."""

    name: str
    ctype: str
    length: int


@dataclass(frozen=True, eq=False)
class Operation:
    """A static function which runs once a step, or, where nothing it reads moves, in the first step after a reset.

    Its parameters are the state (``uses_state``), the sources ``x`` or ``x0``, ``x1`` ..., the result ``y``, and temporaries.
    ``key`` is what its result is stored under; None where it only changes the state.
    """

    function: str
    comment: str
    moving: bool
    sources: tuple[Source, ...]
    body: tuple[str, ...]
    key: str | None = None
    result: Array | None = None
    temporaries: tuple[Temporary, ...] = ()
    uses_state: bool = False
    constants: tuple[ConstArray, ...] = ()
    headers: tuple[str, ...] = ()
    helpers: tuple[str, ...] = field(default=())

    def text(self, prefix: str) -> str:
        """The function."""
        parameters = [f"{prefix}_state *state"] if self.uses_state else []
        parameters += [
            f"const {s.array.element} *{x}" for s, x in zip(self.sources, parameter_names(self.sources), strict=True)
        ]
        parameters += [f"{self.result.element} *y"] if self.result is not None else []
        parameters += [f"{t.ctype} *{t.name}" for t in self.temporaries]
        return function(f"static void {self.function}({', '.join(parameters)})", self.body, self.comment)


def parameter_names(sources: tuple[Source, ...]) -> list[str]:
    """``x``, or ``x0``, ``x1`` ... of several."""
    return ["x"] if len(sources) == 1 else [f"x{i}" for i in range(len(sources))]

"""The operation by which a runtime differs."""

from __future__ import annotations

import msgspec

from qleaky.verification.divergence import worded


class Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first operation of a graph that a runtime computes otherwise than another one from the same inputs.

    ``step`` is the time step inside a Scan or of a step graph; ``element`` is the place in ``output``, and ``inputs`` say what
    went in there. ``alone``: it differs with every value of the graph in sight. Else it differs only while values before it
    are not looked at, as where a runtime computes several operations as one. NaN and infinities are kept as words.
    """

    runtime: str
    trusted: str
    op_type: str
    node: str
    output: str
    step: int | None
    element: tuple[int, ...]
    inputs: tuple[str, ...]
    expected: float | str
    got: float | str
    alone: bool

    def __post_init__(self) -> None:
        for name in ("expected", "got"):
            msgspec.structs.force_setattr(self, name, worded(getattr(self, name)))

    def __str__(self) -> str:
        where = f"output {self.output!r}" + (f", step {self.step}" if self.step is not None else "")
        found = f"{_short(self.got)} found, {_short(self.expected)} expected as {self.trusted} computes it"
        rest = "" if self.alone else ", computed together with operations before it"
        return f"{self.op_type} ({where}, element {list(self.element)}) of {', '.join(self.inputs) or 'nothing'}: {found}{rest}"


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.9g}"

"""Where two runs first part, and what led there."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

Number = int | float | str | None
KINDS = {"mem": "membrane", "syn": "synaptic current", "spk": "spike", "out": "output"}
GAP = 2


class HistoryStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of the neuron that diverged: what it received, and its states and spike as expected and as found.

    ``current`` is the integer code of its input. None stands for what cannot be known: currents of float networks, what was
    found where the run could not be repeated, synaptic currents of a layer that has none.
    """

    step: int
    current: Number = None
    synapse_expected: Number = None
    synapse_found: Number = None
    membrane_expected: Number = None
    membrane_found: Number = None
    spike_expected: Number = None
    spike_found: Number = None


class Term(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One addend, ``value * weight``, of the current at the step of the divergence: an element of what ``source`` emitted."""

    source: str
    element: tuple[int, ...]
    value: int
    weight: int


class Divergence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where two runs first part: layer, kind ("mem", "syn", "spk" or "out"), time step, sample, element, and both numbers.

    For an output of the network ("out"), ``layer`` is its name, and ``step`` is 0 where it has no time axis.

    ``history`` are the last steps of that neuron up to this one; ``terms`` the largest addends of its current in this step, and
    ``terms_left`` how many others there are. All three are empty where they are not known, as for outputs.

    NaN and infinities, which JSON lacks, are kept as the words "nan", "inf" and "-inf".
    """

    layer: str
    kind: str
    step: int
    sample: int
    element: tuple[int, ...]
    expected: float | str
    got: float | str
    history: tuple[HistoryStep, ...] = ()
    terms: tuple[Term, ...] = ()
    terms_left: int = 0

    def __post_init__(self) -> None:
        for name in ("expected", "got"):
            msgspec.structs.force_setattr(self, name, worded(getattr(self, name)))

    def __str__(self) -> str:
        return (
            f"layer {self.layer!r}, step {self.step}, sample {self.sample}, element {list(self.element)}: "
            f"{KINDS.get(self.kind, self.kind)} {_short(self.expected)} expected, {_short(self.got)} found"
        )


def worded(value: Number) -> Number:
    """A number; NaN and infinities as words."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def history_table(found: Divergence) -> Iterator[str]:
    """The history as lines of text with aligned columns, then what made the last current; "*" marks what differs."""
    if not found.history:
        return
    synaptic = any(step.synapse_expected is not None for step in found.history)
    kinds = ["synapse"] * synaptic + ["membrane", "spike"]
    rows = [["step", "input", *(f"{kind} {what}" for kind in kinds for what in ("expected", "found"))]]
    for step in found.history:
        cells = [str(step.step), _short(step.current)]
        for kind in kinds:
            expected, got = getattr(step, f"{kind}_expected"), getattr(step, f"{kind}_found")
            cells += [_short(expected), _short(got) + ("*" if got is not None and got != expected else "")]
        rows.append(cells)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield (" " * GAP).join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    if found.terms:
        terms = ", ".join(f"{t.source!r}{list(t.element)} {t.value} * {t.weight}" for t in found.terms)
        yield f"input of step {found.step} is the sum of {terms}" + (f" and {found.terms_left} more" * (found.terms_left > 0))


def _short(number: Number) -> str:
    return (
        "-"
        if number is None
        else number
        if isinstance(number, str)
        else f"{number:.9g}"
        if isinstance(number, float)
        else str(number)
    )

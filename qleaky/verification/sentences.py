"""A report in a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from qleaky.verification.certificate import VectorsRun, Verdict
from qleaky.verification.compare import Comparison
from qleaky.verification.coverage import LayerCoverage
from qleaky.verification.divergence import Divergence, history_table


class Told(Protocol):
    """What the lines are made from: a :class:`~qleaky.verification.Report`."""

    @property
    def verdict(self) -> Verdict: ...  # noqa: D102
    @property
    def artefact_verdict(self) -> Verdict: ...  # noqa: D102
    @property
    def torch_verdict(self) -> Verdict | None: ...  # noqa: D102
    @property
    def total(self) -> Comparison: ...  # noqa: D102
    @property
    def samples(self) -> int: ...  # noqa: D102
    @property
    def vectors(self) -> Sequence[VectorsRun]: ...  # noqa: D102
    @property
    def coverage(self) -> Sequence[LayerCoverage]: ...  # noqa: D102
    @property
    def reasons(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def notes(self) -> Sequence[str]: ...  # noqa: D102


def lines(report: Told) -> Iterator[str]:
    """The verdict with its counts, what ran, what stands against a proof, and where runs first part."""
    yield _sentence(report)
    if report.coverage:
        yield f"  coverage: {_coverage(report.coverage)}"
    yield from (f"  no proof: {reason}" for reason in report.reasons)
    yield from (f"  note: {note}" for note in report.notes)
    if (found := report.total.first_divergence) is not None:
        yield from _divergence(found)


def _divergence(found: Divergence) -> Iterator[str]:
    yield f"  first divergence: {found}"
    yield from (f"    {line}" for line in history_table(found))


def _coverage(layers: Sequence[LayerCoverage]) -> str:
    neurons, fired, threshold = (sum(getattr(c, n) for c in layers) for n in ("neurons", "fired", "threshold"))
    low, high = (sum(getattr(c, n) for c in layers) for n in ("saturated_low", "saturated_high"))
    codes = " (by their recorded codes)" if any(c.basis == "codes" for c in layers) else ""
    return (
        f"of {neurons:,} neurons {fired:,} spiked, {threshold:,} were exactly at the threshold, {low:,} saturated at the "
        f"lowest and {high:,} at the highest code{codes}."
    )


def _sentence(report: Told) -> str:
    total = report.total
    samples = "1 sample" if report.samples == 1 else f"{report.samples:,} samples"
    counts = f"{total.compared:,} numbers compared on {samples}, {total.mismatches:,} differ"
    if total.mismatches:
        places = {"spikes": total.spike_mismatches, "membranes": total.membrane_mismatches, "outputs": total.output_mismatches}
        counts += f" ({', '.join(f'{count:,} {what}' for what, count in places.items())})"
    torch = "torch was not compared" if report.torch_verdict is None else f"torch: {report.torch_verdict}"
    match report.verdict:
        case "proved" if report.torch_verdict is None:
            return f"proved: the artefact is bit-exact to the contract for all inputs in the declared range; {counts}; {torch}."
        case "proved":
            return f"proved: artefact and torch network are bit-exact to the contract for all inputs in its range; {counts}."
        case "measured":
            return f"measured: {counts}; there is no proof for other inputs. Artefact: {report.artefact_verdict}, {torch}."
        case "differs":
            return f"differs: {counts}. Artefact: {report.artefact_verdict}, {torch}."

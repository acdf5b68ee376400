"""The tables of what ran: samples, ways of running, what both made the network do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qleaky.report.tables import Table
from qleaky.report.text import percent, visible

if TYPE_CHECKING:
    from qleaky.verification.certificate import Run, VectorsRun
    from qleaky.verification.coverage import Approach, LayerCoverage

VECTORS = {
    "given": "inputs that were given",
    "all_spikes": "every input at its highest code",
    "all_lowest": "every input at its lowest code",
    "maximum_weights": "the largest sums that were found",
    "threshold": "membranes exactly at the threshold",
    "saturation_low": "sums below the state’s format",
    "saturation_high": "sums above the state’s format",
    "reset_chain": "many spikes on end",
    "random": "random, of all densities",
}


def runs(given: tuple[Run, ...]) -> Table:
    """Every way in which the artefact ran."""
    headings = ("runtime", "graph optimisation", "threads", "batch", "numbers compared", "differ")
    rows = [
        (
            *(visible(run.runtime), "on" if run.optimized else "off", str(run.threads), str(run.batch)),
            *(f"{run.comparison.compared:,}", f"{run.comparison.mismatches:,}"),
        )
        for run in given
    ]
    return Table("Runs of the artefact", headings, tuple(rows), frozenset({2, 3, 4, 5}))


def vectors(given: tuple[VectorsRun, ...]) -> Table:
    """The samples, and what they are for."""
    rows = [
        (
            visible(VECTORS.get(group.name, group.name)),
            f"{group.count:,}",
            f"{group.first:,}" if group.count == 1 else f"{group.first:,} to {group.first + group.count - 1:,}",
            group.sha256[:16],
        )
        for group in given
    ]
    return Table("Samples", ("samples", "how many", "numbered", "SHA-256 begins"), tuple(rows), frozenset({1}))


def coverage(given: tuple[LayerCoverage, ...]) -> Table:
    """How many neurons did what at least once."""
    headings = ("layer", "neurons", "fired", "reset", "at the threshold", "saturated low", "saturated high")
    rows = [
        (
            visible(each.layer),
            *(f"{count:,}" for count in (each.neurons, each.fired, each.reset, each.threshold)),
            *(f"{count:,}" for count in (each.saturated_low, each.saturated_high)),
        )
        for each in given
    ]
    how = " (by their recorded membranes)" if any(each.basis == "codes" for each in given) else ""
    return Table(f"Neurons that did it at least once{how}", headings, tuple(rows), frozenset(range(1, 7)))


def approached(given: tuple[Approach, ...]) -> Table:
    """How closely the samples came to the bounds."""
    headings = ("layer", "of what", "bound", "reached", "share", "by sample")
    rows = [
        (
            *(visible(each.layer), each.kind.replace(".", " "), f"{each.bound:,}", f"{each.reached:,}"),
            *(percent(each.reached, each.bound), f"{each.sample:,}"),
        )
        for each in given
    ]
    return Table("How closely the samples came to the bounds", headings, tuple(rows), frozenset({2, 3, 4, 5}))

"""The table of a mutation campaign in markdown, and the list of what was not caught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qleaky.verification.mutants import OPERATORS

COLUMNS = {
    "caught": "caught by the vectors",
    "equal: all inputs": "equal on all inputs",
    "equal: bounds": "equal by bounds",
    "equal: z3": "equal by z3",
    "missed": "missed",
    "open": "open",
}


def page(outcomes: Sequence[Any]) -> str:
    """Tables by operator, by form and carrier, and by network, then every survivor."""
    wheres = [each.where.rsplit(", ", 2) for each in outcomes]
    parts = [
        f"{len(outcomes)} mutants of {len({name for name, _, _ in wheres})} networks.",
        "### By operator\n\n" + table("operator", outcomes, lambda each: each.mutant.operator, list(OPERATORS)),
        "### By form and carrier\n\n" + table("artefact", outcomes, lambda each: ", ".join(each.where.rsplit(", ", 2)[1:])),
        "### By network\n\n" + table("network", outcomes, lambda each: each.where.rsplit(", ", 2)[0]),
        "### Not caught\n\n" + survivors(outcomes),
    ]
    return "\n".join(f"{part}\n" for part in parts)


def table(title: str, outcomes: Sequence[Any], key: Callable[[Any], str], order: Sequence[str] | None = None) -> str:
    rows = order or list(dict.fromkeys(key(each) for each in outcomes))
    names = list(COLUMNS)
    lines = [
        f"| {title} | mutants | caught by random samples | {' | '.join(COLUMNS.values())} |",
        f"|{'---|' * (3 + len(names))}",
    ]
    for row in [*rows, "all"]:
        here = [each for each in outcomes if row in ("all", key(each))]
        counts = Counter(each.result for each in here)
        cells = [len(here), sum(each.at_random for each in here), *(counts[name] for name in names)]
        lines += [f"| {row} | {' | '.join(map(str, cells))} |"] if here else []
    return "\n".join(lines)


def survivors(outcomes: Sequence[Any]) -> str:
    """One line for each; those that are wrong and were not caught come first."""
    order = list(COLUMNS)
    found = sorted((each for each in outcomes if each.result != "caught"), key=lambda each: -order.index(each.result))
    return "\n".join(f"- {'' if each.result.startswith('equal') else f'**{each.result}** '}{each}" for each in found) or "None."


def others(draws: Mapping[int, Sequence[Any]]) -> str:
    """The totals of other mutants of the same networks, and what of these was missed or is open."""
    lines = [
        f"| seed | mutants | caught by random samples | {' | '.join(COLUMNS.values())} |",
        f"|{'---|' * (3 + len(COLUMNS))}",
    ]
    for seed, outcomes in draws.items():
        counts = Counter(each.result for each in outcomes)
        cells = [seed, len(outcomes), sum(each.at_random for each in outcomes), *(counts[name] for name in COLUMNS)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    wrong = [each for outcomes in draws.values() for each in outcomes if each.result in ("missed", "open")]
    listed = "\n".join(f"- **{each.result}** {each}" for each in wrong)
    return "\n### Other draws\n\n" + "\n".join(lines) + f"\n\n{listed}\n"

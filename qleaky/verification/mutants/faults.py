"""What all operators make: a fault, which is a place, a few words, and an edit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.verification.mutants.editing import Editor
from qleaky.verification.mutants.reading import Reading, Site

Edit = Callable[[Editor], None]


@dataclass(frozen=True)
class Fault:
    """One change to a graph, of the neurons of ``layer`` (or the output of that name)."""

    layer: str
    what: str
    edit: Edit


Operator = Callable[[Reading, np.random.Generator], Iterator[Fault]]


def everywhere(sites: Sequence[Site], what: str, edit: Callable[[Editor, Site], None]) -> Iterator[Fault]:
    """The same edit at all sites of a layer: of constants, which are stored once for all steps."""
    for layer, places in _by_layer(sites).items():
        yield Fault(layer, what, partial(_all, sites=places, edit=edit))


def everywhere_and_once(sites: Sequence[Site], what: str, edit: Callable[[Editor, Site], None]) -> Iterator[Fault]:
    """The same edit at all sites of a layer, and where there are several at each of them: of nodes, which every step has."""
    for layer, places in _by_layer(sites).items():
        yield Fault(layer, what, partial(_all, sites=places, edit=edit))
        if len(places) > 1:
            for site in places:
                yield Fault(layer, f"{what}, {at(site)} alone", partial(_all, sites=[site], edit=edit))


def _by_layer(sites: Sequence[Site]) -> dict[str, list[Site]]:
    layers: dict[str, list[Site]] = {}
    for site in sites:
        layers.setdefault(site.layer, []).append(site)
    return layers


def _all(editor: Editor, sites: Iterable[Site], edit: Callable[[Editor, Site], None]) -> None:
    for site in sites:
        edit(editor, site)


def at(site: Site) -> str:
    """Where a node stands, for a description."""
    return f"at step {site.step} ({site.name})" if site.step is not None else f"at {site.name}"


def moved(numbers: NDArray[Any], by: float) -> NDArray[Any]:
    """The same numbers, all one more or less, in their type."""
    return np.asarray(numbers + np.asarray(by, numbers.dtype), numbers.dtype)


def unit_in_last_place(numbers: NDArray[Any]) -> float:
    """The largest power of two of which all numbers are multiples; at most 1."""
    unit = 1.0
    while unit > 2.0**-40 and np.any(np.mod(numbers.astype(np.float64), unit)):
        unit /= 2
    return unit

"""Faults in what a spike does to the membrane: off by one, dropped, zero in place of a subtraction."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qleaky.verification.mutants.editing import Editor
from qleaky.verification.mutants.faults import Fault, everywhere, everywhere_and_once
from qleaky.verification.mutants.reading import Reading, Site


class Term(NamedTuple):
    """What a reset takes off: ``slot`` of ``maker`` holds the threshold; a neuron that did not fire gives ``silent``."""

    maker: Site
    slot: int
    threshold: NDArray[Any]
    silent: Any


def resets(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """One code more or less taken off; nothing taken off; a membrane set to zero where the threshold is subtracted."""
    found = {site.name: term for site in reading.neurons("Sub") if (term := _term(reading, site)) is not None}
    sites = [site for site in reading.neurons("Sub") if site.name in found]
    for by in (1, -1):
        edit = partial(_take_more, reading, found, by=by)
        yield from everywhere(sites, f"a reset takes off one code {'more' if by > 0 else 'less'}", edit)
    yield from everywhere_and_once(sites, "reset dropped", partial(_drop, found))
    zeroed = [site for site in sites if _at_zero(reading, site) is not None]
    yield from everywhere_and_once(zeroed, "a reset to zero, not by subtraction", partial(_to_zero, reading, found))


def zero_resets(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """Of neurons that are set to zero: they are not, or to one."""
    sites = [site for site in reading.neurons("Where") if _sets_to_zero(reading, site)]
    yield from everywhere_and_once(sites, "reset dropped", lambda e, s: e.become(s.name, "Identity", s.node.input[2]))

    def to_one(editor: Editor, site: Site) -> None:
        zero = reading.constant(site.node.input[1])
        assert zero is not None
        editor.take(site.name, 1, editor.constant(zero + 1, zero.dtype))

    yield from everywhere(sites, "a reset to one, not to zero", to_one)


def _sets_to_zero(reading: Reading, site: Site) -> bool:
    return reading.number(site.node.input[1]) == 0 and reading.constant(site.node.input[2]) is None


def _term(reading: Reading, site: Site) -> Term | None:
    """The reset in a Sub, else None: a product of spikes and threshold, a choice, or a clipped code."""
    maker = reading.by_name.get(site.node.input[1])
    if maker is None or reading.state_of(site.node.input[0]) is not None:
        return None
    node = maker.node
    slot = {"Mul": 1, "Where": 1, "DequantizeLinear": 1, "Clip": 2}.get(node.op_type)
    threshold = None if slot is None else reading.constant(node.input[slot])
    if slot is None or threshold is None or (node.op_type == "Clip" and not reading.is_gate(maker)):
        return None
    gate = reading.by_name.get(node.input[0])
    low = reading.ends(gate) if node.op_type == "Mul" and gate is not None and reading.is_gate(gate) else None
    return Term(maker, slot, threshold, np.asarray((low or (0,))[0] * threshold, threshold.dtype))


def _take_more(reading: Reading, terms: dict[str, Term], editor: Editor, site: Site, by: int) -> None:
    term = terms[site.name]
    node, dtype = term.maker.node, term.threshold.dtype
    new = np.asarray(term.threshold + by * reading.divisor(site), dtype)
    if np.any(term.silent):
        low = reading.ends(reading.by_name[node.input[0]])
        assert low is not None
        fired = editor.before(site.name, "Sub", node.input[0], editor.constant(low[0], dtype))
        more = editor.before(site.name, "Mul", fired, editor.constant(by * reading.divisor(site), dtype))
        editor.take(site.name, 1, editor.before(site.name, "Add", term.maker.name, more))
        return
    inputs = list(node.input)
    inputs[term.slot] = editor.constant(new, dtype)
    if node.op_type == "Clip":  # between 0 and the threshold, of codes that are scaled by it
        source = reading.by_name[node.input[0]].node
        inputs[0] = editor.before(site.name, "DequantizeLinear", source.input[0], inputs[term.slot], source.input[2])
    editor.take(site.name, 1, editor.before(site.name, node.op_type, *inputs))


def _drop(terms: dict[str, Term], editor: Editor, site: Site) -> None:
    term = terms[site.name]
    editor.take(site.name, 1, editor.constant(term.silent, term.threshold.dtype))


def _at_zero(reading: Reading, site: Site) -> tuple[str, Any] | None:
    """The current that a sum has besides the decayed membrane, and what a membrane of zero would decay to."""
    total = reading.by_name.get(site.node.input[0])
    if total is None or total.node.op_type != "Add":
        return None
    decayed, offset = reading.by_name.get(total.node.input[0]), reading.offsets.get(site.layer, 0)
    if decayed is None or decayed.node.op_type not in ("Mul", "DequantizeLinear"):
        return None
    numbers = reading.constant(decayed.node.input[1])
    if numbers is None or reading.state_of(decayed.node.input[0]) is None:
        return None
    return total.node.input[1], np.asarray(-offset * numbers, numbers.dtype)


def _to_zero(reading: Reading, terms: dict[str, Term], editor: Editor, site: Site) -> None:
    """current + decay(0) where the neuron fired, else what was there; the silent reset is taken off either way."""
    term, found = terms[site.name], _at_zero(reading, site)
    assert found is not None
    current, decayed = found
    silent = editor.constant(term.silent, term.threshold.dtype)
    fired = editor.before(site.name, "Greater", term.maker.name, silent)
    alone = editor.before(site.name, "Add", current, editor.constant(decayed, decayed.dtype))
    editor.take(site.name, 0, editor.before(site.name, "Where", fired, alone, site.node.input[0]))
    editor.take(site.name, 1, silent)

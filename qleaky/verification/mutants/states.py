"""Faults in what passes from step to step and from neuron to neuron: too late, cut off, exchanged, shared, lost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from qleaky.verification.mutants.editing import Editor
from qleaky.verification.mutants.faults import Fault, everywhere_and_once
from qleaky.verification.mutants.reading import Reading, Site, body_of, state_count

DRAWN = 6  # neurons, of each layer


def late_states(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The state of the step before: steps that take the one but last, or a loop that hands on what it was given."""
    if reading.form == "unrolled":
        sites = [site for site in reading.neurons() if _older(reading, site)]
        yield from everywhere_and_once(sites, "the state of one step before", partial(_take_older, reading))
        return
    for name, (old, layer) in _handed_on(reading).items():
        edit = partial(_hand_on, name=name, old=old)
        yield Fault(layer, f"{name}: the state of the step before is handed on", edit)


def late_inputs(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The current of the step before, or the spikes of the step before for the next layer."""
    pieces = [site for site in reading.neurons() if _piece_before(reading, site) is not None]
    yield from everywhere_and_once(pieces, "the current of one step before", partial(_take_piece_before, reading))
    for node in reading.model.graph.node:
        if (body := body_of(node)) is None:
            continue
        layer, states = reading.by_name[node.output[0]].layer, state_count(node)
        for slot in range(states, len(node.input)):
            if body.input[slot].name in reading.users:
                edit = partial(_shift, name=node.output[0], slot=slot)
                yield Fault(layer, f"{node.output[0]}: its input {slot} one step late", edit)
        for value in node.output[states:]:
            for user, slot in reading.users.get(value, []):
                edit = partial(_shift, name=user.name, slot=slot)
                yield Fault(layer, f"{user.name} takes {value} one step late", edit)


def truncated_states(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """A membrane without its lowest bit, or wrapped at one bit fewer, or at 8 bits where it has more."""
    sites = [site for site in reading.sites if (a := reading.anchor(site.name)) and a.kind in ("mem", "syn")]
    for what in ("without its lowest bit", "wrapped at one bit fewer"):
        yield from everywhere_and_once(sites, f"the state {what}", partial(_truncate, reading, what=what))
    wide = [site for site in sites if reading.states[site.layer].bits > 8]
    yield from everywhere_and_once(wide, "the state wrapped at 8 bits", partial(_truncate, reading, what="wrapped at 8 bits"))


def shared_states(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """A neuron has the membrane of another."""
    yield from _gathered(reading, rng, "mem", "neuron {b} has the membrane of {a}", swap=False)


def swapped_spikes(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The spikes of two channels exchanged."""
    yield from _gathered(reading, rng, "spk", "the spikes of {a} and {b} swapped", swap=True)


def lost_neurons(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The spikes of one channel are never emitted."""
    for layer, sites in _anchored(reading, "spk").items():
        channels = _channels(reading, sites[0].name)
        for lost in rng.permutation(channels)[:DRAWN]:
            keep = np.arange(channels) != lost
            yield Fault(layer, f"the spikes of {int(lost)} are lost", partial(_mask, reading, sites=sites, keep=keep))


def _older(reading: Reading, site: Site) -> list[tuple[int, str]]:
    """Inputs of a step that hold the layer's own state, and the state one step earlier."""
    found = []
    for slot, value in enumerate(site.node.input):
        anchor = reading.anchor(value)
        if anchor is None or anchor.layer != site.layer or not anchor.step or site.step != anchor.step + 1:
            continue
        found.append((slot, f"{anchor.layer}/{anchor.kind}/{anchor.step - 1}"))
    return [(slot, value) for slot, value in found if value in reading.by_name]


def _take_older(reading: Reading, editor: Editor, site: Site) -> None:
    for slot, value in _older(reading, site):
        editor.take(site.name, slot, value)


def _hand_on(editor: Editor, name: str, old: str) -> None:
    editor.take(name, 0, old)


def _handed_on(reading: Reading) -> dict[str, tuple[str, str]]:
    """Identities that hand a state on to the next step, with what the step was given, and the layer."""
    if reading.form == "step":
        given = {value.name for value in reading.model.graph.input}
        names = [value.name for value in reading.model.graph.output if value.name.removesuffix(".next") in given]
        return {name: (name.removesuffix(".next"), name.rsplit(".", 2)[0]) for name in names if name.endswith(".next")}
    found = {}
    for node in reading.model.graph.node:
        if (body := body_of(node)) is not None:
            identities = {inner.output[0]: inner.input[0] for inner in body.node if inner.op_type == "Identity"}
            for given_, made in zip(list(body.input)[: state_count(node)], body.output, strict=False):
                if (anchor := reading.anchor(identities.get(made.name, ""))) is not None:
                    found[made.name] = given_.name, anchor.layer
    return found


def _piece_before(reading: Reading, site: Site) -> tuple[int, str] | None:
    """Which input is one of the pieces of all steps, and the piece before it."""
    for slot, value in enumerate(site.node.input):
        source = reading.by_name.get(value)
        if site.step is not None and source is not None and source.node.op_type == "Split":
            place = list(source.node.output).index(value)
            if place:
                return slot, source.node.output[place - 1]
    if site.node.op_type == "Gather" and site.step and (number := reading.number(site.node.input[1])):
        return 1, str(int(number) - 1)
    return None


def _take_piece_before(reading: Reading, editor: Editor, site: Site) -> None:
    found = _piece_before(reading, site)
    assert found is not None
    slot, value = found
    editor.take(site.name, slot, editor.constant(int(value), np.int64) if site.node.op_type == "Gather" else value)


def _shift(editor: Editor, name: str, slot: int) -> None:
    """What a node takes, moved by one along axis 0; the first stands twice."""
    value = editor.node(name).input[slot]
    start, one, last = (editor.constant([number], np.int64) for number in (0, 1, -1))
    first = editor.before(name, "Slice", value, start, one, start)
    rest = editor.before(name, "Slice", value, start, last, start)
    editor.take(name, slot, editor.before(name, "Concat", first, rest, axis=0))


def _truncate(reading: Reading, editor: Editor, site: Site, what: str) -> None:
    """On the membrane's own code, in int32."""
    fmt, offset = reading.states[site.layer], reading.offsets.get(site.layer, 0)
    bits = {"without its lowest bit": fmt.bits, "wrapped at one bit fewer": fmt.bits - 1}.get(what, 8)
    hidden, name = editor.hide(site.name), site.name
    value = editor.before(name, "Cast", hidden, to=TensorProto.INT32)
    value = editor.before(name, "Add", value, editor.constant(offset, np.int32))
    if what == "without its lowest bit":
        value = editor.before(name, "BitwiseAnd", value, editor.constant(-2, np.int32))
    else:
        middle = editor.constant((1 << bits) // 2 if fmt.signed else 0, np.int32)
        value = editor.before(name, "Add", value, middle)
        value = editor.before(name, "BitwiseAnd", value, editor.constant((1 << bits) - 1, np.int32))
        value = editor.before(name, "Sub", value, middle)
    value = editor.before(name, "Sub", value, editor.constant(offset, np.int32))
    editor.become(name, "Cast", value, to=_typed(reading, name).elem_type)


def _gathered(reading: Reading, rng: np.random.Generator, kind: str, what: str, *, swap: bool) -> Iterator[Fault]:
    """Channels of a value put in another order, in every step."""
    for layer, sites in _anchored(reading, kind).items():
        channels = _channels(reading, sites[0].name)
        for _ in range(DRAWN if channels > 1 else 0):
            a, b = (int(i) for i in rng.choice(channels, 2, replace=False))
            order = np.arange(channels)
            order[b], order[a] = a, b if swap else a
            yield Fault(layer, what.format(a=a, b=b), partial(_reorder, sites=sites, order=order))


def _reorder(editor: Editor, sites: list[Site], order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    for site in sites:
        hidden = editor.hide(site.name)
        editor.become(site.name, "Gather", hidden, editor.constant(order, np.int64), axis=1)


def _mask(reading: Reading, editor: Editor, sites: list[Site], keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    for site in sites:
        hidden, typed = editor.hide(site.name), _typed(reading, site.name)
        mask = editor.constant(keep.reshape(-1, *[1] * (len(typed.shape.dim) - 2)), np.bool_)
        if typed.elem_type == TensorProto.BOOL:
            editor.become(site.name, "And", hidden, mask)
        else:
            zero = editor.constant(0, helper.tensor_dtype_to_np_dtype(typed.elem_type))
            editor.become(site.name, "Where", mask, hidden, zero)


def _anchored(reading: Reading, kind: str) -> dict[str, list[Site]]:
    found: dict[str, list[Site]] = {}
    for site in reading.sites:
        anchor = reading.anchor(site.name)
        if anchor is not None and anchor.kind == kind and site.name in reading.types:
            found.setdefault(anchor.layer, []).append(site)
    return found


def _typed(reading: Reading, value: str) -> Any:
    return reading.types[value]


def _channels(reading: Reading, value: str) -> int:
    dims = _typed(reading, value).shape.dim
    return int(dims[1].dim_value) if len(dims) > 1 else 0

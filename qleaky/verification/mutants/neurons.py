"""Faults in a neuron's step: threshold, comparison, decay, rounding, saturation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto

from qleaky.verification.mutants.editing import Editor
from qleaky.verification.mutants.faults import Fault, everywhere, everywhere_and_once, moved, unit_in_last_place
from qleaky.verification.mutants.reading import Reading, Site


def thresholds(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The threshold one code higher (with >=: lower), for spikes and resets alike, or for one of them alone."""
    sites = _comparisons(reading)

    def edit(editor: Editor, site: Site) -> None:
        by = -1 if site.node.op_type == "GreaterOrEqual" else 1
        _move_threshold(reading, editor, site, by)

    emitting = [site for site in sites if _emits(reading, site)]
    resetting = [site for site in sites if site not in emitting]
    yield from everywhere(sites, "threshold off by one", edit)
    if emitting and resetting:
        yield from everywhere(emitting, "threshold of the spikes off by one", edit)
        yield from everywhere(resetting, "threshold of the reset off by one", edit)


def comparisons(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """> becomes >=, or >= becomes >; where a spike is made by clipping, what is clipped is one more."""
    sites = [site for site in _comparisons(reading) if not _is_recorded(reading, site)]
    other = {"Greater": "GreaterOrEqual", "GreaterOrEqual": "Greater"}

    def edit(editor: Editor, site: Site) -> None:
        if site.node.op_type in other:
            editor.node(site.name).op_type = other[site.node.op_type]
        else:
            _move_threshold(reading, editor, site, -1)

    yield from everywhere_and_once(sites, "> and >= exchanged", edit)


def decays(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The multiplier of the decay one more or less in its last place; a shift by one bit more or less."""
    multiplied = [site for site in reading.neurons() if _is_decay(reading, site)]
    for by in (1, -1):
        yield from everywhere(multiplied, f"decay multiplier {by:+d}", partial(_move_constant, reading, by=by))
    shifted = [site for site in reading.neurons("Div") if _is_shift(reading, site)]
    for factor in (2.0, 0.5):
        edit = partial(_scale_shift, reading, factor=factor)
        yield from everywhere(shifted, f"decay shifted by a bit {'more' if factor > 1 else 'less'}", edit)


def saturations(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """A saturation dropped, on one side or both, or its ends moved by one; a cast that wraps in place of one that saturates."""
    clips = [s for s in reading.neurons("Clip") if reading.ends(s) and not reading.is_gate(s)]

    def drop(editor: Editor, site: Site, slots: tuple[int, ...]) -> None:
        for slot in slots:
            editor.take(site.name, slot, "")

    yield from everywhere_and_once(clips, "saturation dropped", lambda e, s: e.become(s.name, "Identity", s.node.input[0]))
    for slot, side in ((1, "lower"), (2, "upper")):
        yield from everywhere_and_once(clips, f"{side} saturation dropped", partial(drop, slots=(slot,)))
        for by in (1, -1):
            edit = partial(_move_end, reading, slot=slot, by=by)
            yield from everywhere(clips, f"{side} end of the saturation {by:+d}", edit)
    casts = [site for site in reading.neurons("QuantizeLinear") if (a := reading.anchor(site.name)) and a.kind == "mem"]
    yield from everywhere_and_once(casts, "a cast that wraps", partial(_wrap_instead, reading))


def roundings(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The half of the rounding dropped or added twice, half-even in its place, toward zero, or up."""
    rounded = [(s, "int") for s in reading.neurons("Div") if _rounds(reading, s)]
    rounded += [(s, "float") for s in reading.neurons("Floor")]
    rounded += [(s, "float") for s in reading.neurons("QuantizeLinear") if (a := reading.anchor(s.name)) and a.kind == "mem"]
    sites, kinds = [site for site, _ in rounded], {site.name: kind for site, kind in rounded}
    for what, move in (("a half less before rounding", -0.5), ("a half more before rounding", 0.5)):
        yield from everywhere(sites, what, partial(_add_before, reading, kinds=kinds, part=move))
    yield from everywhere_and_once(
        [s for s in sites if s.node.op_type != "QuantizeLinear"],
        "ties rounded to even",
        lambda e, s: _half_even(reading, e, s),
    )
    floors = [site for site in sites if site.node.op_type == "Floor"]
    yield from everywhere_and_once(floors, "rounded up", lambda e, s: setattr(e.node(s.name), "op_type", "Ceil"))
    yield from everywhere_and_once(floors, "rounded toward zero", _truncate)
    cleared = [s for s in sites if s.node.op_type == "Div" and _cleared(reading, s) is not None]
    yield from everywhere_and_once(
        cleared, "rounded toward zero", lambda e, s: e.take(s.name, 0, _required(_cleared(reading, s)).node.input[0])
    )


def operands(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """What is subtracted and what it is subtracted from, exchanged."""

    def swap(editor: Editor, site: Site) -> None:
        first, second = site.node.input
        editor.take(site.name, 0, second)
        editor.take(site.name, 1, first)

    yield from everywhere_and_once(reading.neurons("Sub"), "the operands of Sub exchanged", swap)


def _comparisons(reading: Reading) -> list[Site]:
    """Where membranes meet the threshold."""
    compared = ("Greater", "GreaterOrEqual")
    return [
        site
        for site in reading.neurons()
        if (site.node.op_type in compared and reading.constant(site.node.input[1]) is not None) or reading.is_gate(site)
    ]


def _emits(reading: Reading, site: Site) -> bool:
    """Whether a comparison makes the spikes that are emitted, and not those that reset alone."""
    anchor = reading.anchor(site.name)
    return _is_recorded(reading, site) or (anchor is not None and anchor.kind == "spk")


def _is_recorded(reading: Reading, site: Site) -> bool:
    """Whether what is clipped was recorded as uint8, which no longer tells a membrane at the threshold from one below."""
    source, low = reading.by_name.get(site.node.input[0]), reading.constant(site.node.input[1])
    made = source is not None and source.node.op_type in ("QuantizeLinear", "DequantizeLinear")
    return site.node.op_type == "Clip" and low is not None and low.dtype == np.uint8 and not made


def _move_threshold(reading: Reading, editor: Editor, site: Site, by: int) -> None:
    """Let a comparison see a membrane that is ``by`` smaller, or a threshold that is ``by`` larger."""
    node = site.node
    if node.op_type != "Clip":
        numbers = _required(reading.constant(node.input[1]))
        editor.take(site.name, 1, editor.constant(moved(numbers, by), numbers.dtype))
        return
    source = reading.by_name.get(node.input[0])
    if source is not None and source.node.op_type in ("QuantizeLinear", "DequantizeLinear") and not reading.anchor(source.name):
        _move_zero_point(reading, editor, site, source, by)
        return
    dtype = _required(reading.constant(node.input[1])).dtype
    if _is_recorded(reading, site):
        wide = editor.before(site.name, "Cast", node.input[0], to=TensorProto.INT32)
        low = editor.before(site.name, "Sub", wide, editor.constant(by, np.int32))
        clipped = editor.before(site.name, "Clip", low, editor.constant(0, np.int32), editor.constant(1, np.int32))
        editor.take(site.name, 0, editor.before(site.name, "Cast", clipped, to=TensorProto.UINT8))
        return
    editor.take(site.name, 0, editor.before(site.name, "Sub", node.input[0], editor.constant(by, dtype)))


def _move_zero_point(reading: Reading, editor: Editor, site: Site, source: Site, by: int) -> None:
    if source.node.op_type == "DequantizeLinear":
        zero = _required(reading.constant(source.node.input[2]))
        scaled = editor.constant(moved(zero, by), zero.dtype)
        value = editor.before(site.name, "DequantizeLinear", *source.node.input[:2], scaled)
    else:
        lower = editor.before(site.name, "Sub", source.node.input[0], editor.constant(by, np.float32))
        value = editor.before(site.name, "QuantizeLinear", lower, *source.node.input[1:])
    editor.take(site.name, 0, value)


def _is_decay(reading: Reading, site: Site) -> bool:
    """A membrane times a constant, or a code with a scale; not the threshold as often as a neuron fired."""
    node = site.node
    if node.op_type not in ("Mul", "DequantizeLinear") or reading.constant(node.input[1]) is None:
        return False
    users = reading.users.get(site.name, [])
    taken_off = any((user.node.op_type == "Sub" and slot == 1) or user.node.op_type == "Clip" for user, slot in users)
    return reading.state_of(node.input[0]) is not None and not taken_off


def _move_constant(reading: Reading, editor: Editor, site: Site, by: float) -> None:
    numbers = _required(reading.constant(site.node.input[1]))
    editor.take(site.name, 1, editor.constant(moved(numbers, by * unit_in_last_place(numbers)), numbers.dtype))


def _is_shift(reading: Reading, site: Site) -> bool:
    cleared = _cleared(reading, site)
    return cleared is not None and reading.state_of(cleared.node.input[0]) is not None


def _scale_shift(reading: Reading, editor: Editor, site: Site, factor: float) -> None:
    cleared, divisor = _required(_cleared(reading, site)), _required(reading.constant(site.node.input[1]))
    new = np.asarray(divisor * factor, divisor.dtype)
    editor.take(site.name, 1, editor.constant(new, divisor.dtype))
    masked = editor.before(site.name, "BitwiseAnd", cleared.node.input[0], editor.constant(-new, divisor.dtype))
    editor.take(site.name, 0, masked)


def _cleared(reading: Reading, site: Site) -> Site | None:
    """Where the low bits of what is divided are cleared."""
    source = reading.by_name.get(site.node.input[0])
    found = source is not None and source.node.op_type == "BitwiseAnd" and reading.constant(source.node.input[1]) is not None
    return source if found else None


def _rounds(reading: Reading, site: Site) -> bool:
    source, divisor = reading.by_name.get(site.node.input[0]), reading.number(site.node.input[1])
    ready = source is not None and source.node.op_type in ("Clip", "BitwiseAnd")
    return ready and divisor is not None and divisor > 1 and reading.state_of(_required(source).node.input[0]) is None


def _add_before(reading: Reading, editor: Editor, site: Site, kinds: dict[str, str], part: float) -> None:
    """Add a part of the unit to what is rounded, before what brings it to its range."""
    target, value, dtype, unit = _before_rounding(reading, site, kinds[site.name])
    by = np.asarray(part * unit, dtype)
    editor.take(target, 0, editor.before(target, "Add", value, editor.constant(by, dtype)))


def _before_rounding(reading: Reading, site: Site, kind: str) -> tuple[str, str, Any, float]:
    """The node whose first input is the sum that is rounded, that input, its type and its unit."""
    if kind == "float":
        return site.name, site.node.input[0], np.float32, 1.0
    source, divisor = reading.by_name[site.node.input[0]], _required(reading.constant(site.node.input[1]))
    return source.name, source.node.input[0], divisor.dtype, float(divisor.reshape(-1)[0])


def _half_even(reading: Reading, editor: Editor, site: Site) -> None:
    """One less where what is rounded, which has its half, lies on an odd multiple of the unit."""
    if site.node.op_type == "Floor":
        half = editor.before(site.name, "Sub", site.node.input[0], editor.constant(0.5, np.float32))
        editor.become(site.name, "Round", half)
        return
    target, value, dtype, unit = _before_rounding(reading, site, "int")
    low = editor.before(target, "BitwiseAnd", value, editor.constant(2 * int(unit) - 1, dtype))
    odd = editor.before(target, "Equal", low, editor.constant(int(unit), dtype))
    one = editor.before(target, "Where", odd, editor.constant(1, dtype), editor.constant(0, dtype))
    editor.take(target, 0, editor.before(target, "Sub", value, one))


def _truncate(editor: Editor, site: Site) -> None:
    whole = editor.before(site.name, "Cast", site.node.input[0], to=TensorProto.INT32)
    editor.become(site.name, "Cast", whole, to=TensorProto.FLOAT)


def _move_end(reading: Reading, editor: Editor, site: Site, slot: int, by: int) -> None:
    end = _required(reading.constant(site.node.input[slot]))
    unit = reading.divisor(site)
    editor.take(site.name, slot, editor.constant(moved(end, by * unit), end.dtype))


def _wrap_instead(reading: Reading, editor: Editor, site: Site) -> None:
    """Round, add the zero point, and cast: through int32, where what follows is the low bits."""
    zero = _required(reading.constant(site.node.input[2]))
    rounded = editor.before(site.name, "Round", site.node.input[0])
    whole = editor.before(site.name, "Cast", rounded, to=TensorProto.INT32)
    total = editor.before(site.name, "Add", whole, editor.constant(int(zero), np.int32))
    editor.become(site.name, "Cast", total, to=reading.tensors[site.node.input[2]].data_type)


def _required(found: Any) -> Any:
    assert found is not None
    return found

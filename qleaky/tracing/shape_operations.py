"""Torch functions that move numbers without changing them: indexing, reshaping, transposing, joining."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qleaky.tracing.events import Event, Ref
from qleaky.tracing.operations import TABLE, operation, unknown
from qleaky.tracing.symbols import Layout, Symbol, Symbols


@operation("flatten", "reshape", "view", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "ravel")
def reshape(symbols: Symbols, event: Event) -> Symbol:
    """Another shape for the same numbers; time and batch may be merged and split again."""
    return symbols.relaid(event, symbols.of(event.refs[0]), event.shapes[0])


_TURNED = {Layout.SEQUENCE: Layout.BATCH_FIRST, Layout.BATCH_FIRST: Layout.SEQUENCE}


@operation("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "T", "mT", "H", "mH", "t")
def transpose(symbols: Symbols, event: Event) -> Symbol:
    """Axes in another order; those of time and batch may trade places."""
    symbol = symbols.of(event.refs[0])
    rank = len(event.refs[0].shape)
    order = _order(event, rank)
    lead = symbol.layout.axes
    if order[:2] == [1, 0] and symbol.layout in _TURNED:
        symbol = replace(symbol, layout=_TURNED[symbol.layout])
        if order[2:] == list(range(2, rank)):
            return symbol
    elif order[:lead] != list(range(lead)):
        raise symbols.refuse(
            event,
            f"{event.name} moves the batch or time axis into the sample; data are (T, B, ...) or (B, T, ...), or (B, ...) "
            f"for a step.",
        )
    axes = tuple(axis - lead for axis in order[lead:])
    shape = tuple(symbol.node.shape[axis] for axis in axes)
    return symbols.node(event, "transpose", [symbol], shape, axes=axes)


def _order(event: Event, rank: int) -> list[int]:
    """Where each axis of the result comes from."""
    order = list(range(rank))
    given = [a for a in (*event.args[1:], *event.kwargs.values()) if not isinstance(a, Ref)]
    if event.name in ("T", "mT", "H", "mH", "t"):
        order[-2:] = order[-2:][::-1]
    elif event.name == "permute":
        order = [int(a) % rank for a in (given[0] if isinstance(given[0], (tuple, list)) else given)]
    elif event.name in ("movedim", "moveaxis"):
        sources, targets = ([g] if isinstance(g, int) else list(g) for g in given)
        moved = {t % rank: s % rank for s, t in zip(sources, targets, strict=True)}
        rest = iter(axis for axis in order if axis not in moved.values())
        order = [moved[i] if i in moved else next(rest) for i in range(rank)]
    else:
        first, second = (int(a) % rank for a in given)
        order[first], order[second] = order[second], order[first]
    return order


@operation("__getitem__", "select")
def index(symbols: Symbols, event: Event) -> Symbol:
    """x[t] of a sequence: one step."""
    symbol = symbols.of(event.refs[0])
    first, whole = _place(_parts(event, symbol.layout.time_axis or 0))
    steps = symbols.num_steps or 1
    if symbol.layout.time_axis is not None and whole and _is_number(first):
        return _step_of(symbols, event, symbol, first % steps)
    if symbol.layout is Layout.SINGLE and whole and _is_number(first) and first in (0, -1):
        return replace(symbol, layout=Layout.STEP)
    if all(part is None or part is Ellipsis or _is_all(part) for part in _parts(event)):
        return symbols.relaid(event, symbol, event.shapes[0])
    if symbol.layout is Layout.SEQUENCE and whole and isinstance(first, slice):
        start, stop, stride = first.indices(steps)
        if stop - start == 1 and stride == 1:
            return replace(_step_of(symbols, event, symbol, start), layout=Layout.SINGLE)
    axis = symbol.layout.time_axis
    what = "a part of the data" if axis is None else "some steps of the sequence"
    raise symbols.refuse(event, f"indexing picks {what}; take whole steps, x[{':, ' * (axis or 0)}t], and all channels.")


def _step_of(symbols: Symbols, event: Event, symbol: Symbol, t: int) -> Symbol:
    """One step of a sequence; of one that forward is still filling, what is not written yet is zero."""
    node = symbol.node
    if node.kind == "empty" or (node.kind == "filled" and t >= node["steps"] and not node["zeros"]):
        raise symbols.refuse(event, "indexing reads a step that was not written yet; begin with torch.zeros.")
    if node.kind == "filled":
        node = node.inputs[0] if t < node["steps"] else symbols.nodes.make("zero", shape=node.shape, where=str(event.line))
    return Symbol(node, Layout.STEP, t if symbol.moves and node.kind != "zero" else None)


def _parts(event: Event, time_axis: int = 0) -> tuple[Any, ...]:
    """The parts of an index, one for each axis, that of time first."""
    if event.name == "select":
        return (event.argument(2, "index"),) if event.argument(1, "dim") == time_axis else ("another axis",)
    which = event.args[1]
    parts = which if isinstance(which, tuple) and which else (which,)
    if time_axis == 0:
        return parts
    return parts[1:] if len(parts) > 1 and _is_all(parts[0]) else ("the batch axis",)


def _place(parts: tuple[Any, ...]) -> tuple[Any, bool]:
    """The first part of an index, and whether all others take everything."""
    return parts[0], all(part is Ellipsis or _is_all(part) for part in parts[1:])


def _is_all(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _is_number(part: Any) -> bool:
    return isinstance(part, int) and not isinstance(part, bool)


def takes_axis_1(event: Event) -> bool:
    """Whether an event looks as if time were axis 1: x[:, t], x.unbind(1), x.transpose(0, 1) and the like."""
    if event.module is not None or not event.refs:
        return False
    if event.name in ("__getitem__", "select"):
        return _is_number(_place(_parts(event, 1))[0])
    if event.name == "unbind":
        return bool(event.argument(1, "dim", 0) == 1)
    return TABLE.get(event.name) is transpose and _order(event, len(event.refs[0].shape))[:2] == [1, 0]


@operation("__setitem__")
def fill(symbols: Symbols, event: Event) -> Symbol:
    """x[t] = one step, for every t in order: a sequence when all are written."""
    base, _, value = event.args
    target, (first, whole), steps = symbols.of(base), _place(_parts(event)), symbols.num_steps or 1
    fillable = target.layout is Layout.SEQUENCE and target.node.kind in ("zero", "empty", "filled")
    part = symbols.of(value) if isinstance(value, Ref) else None
    if not (fillable and whole and _is_number(first) and part and part.layout is Layout.STEP):
        raise symbols.refuse(event, "it writes into a part of the data; write whole steps, x[t] = ..., or make a new tensor.")
    t, written = first % steps, target.node["steps"] if target.node.kind == "filled" else 0
    if t != written or part.t not in (None, t):
        came = f"the value of step {part.t}" if part.t is not None else "a value"
        raise symbols.refuse(event, f"it writes {came} to step {t}, where step {written} is next; write every step in order.")
    if written and target.node.inputs[0] is not part.node:
        raise symbols.refuse(event, f"step {t} is computed in another way than those before it; every step must do the same.")
    if t == steps - 1:
        return Symbol(part.node, Layout.SEQUENCE)
    zeros = target.node["zeros"] if written else target.node.kind == "zero"
    filled = symbols.nodes.make("filled", part.node, shape=part.node.shape, steps=t + 1, zeros=zeros, where=str(event.line))
    return Symbol(filled, Layout.SEQUENCE)


@operation("unbind", "split", "chunk")
def unbind(symbols: Symbols, event: Event) -> list[Symbol]:
    """All steps of a sequence, one by one."""
    symbol = symbols.of(event.refs[0])
    steps = symbols.num_steps or 1
    dim = event.argument(1, "dim", 0) if event.name == "unbind" else event.argument(2, "dim", 0)
    layout = Layout.STEP if event.name == "unbind" else Layout.SINGLE
    known = dim == symbol.layout.time_axis and (layout is Layout.STEP or dim == 0)
    if not known or len(event.outputs) != steps:
        raise symbols.refuse(event, f"{event.name} takes the data apart; only steps may be taken apart, along axis 0.")
    return [replace(symbol, layout=layout, t=t) for t in range(steps)]


@operation("stack")
def stack(symbols: Symbols, event: Event) -> Symbol:
    """The steps of one computation, in order, as a sequence."""
    dim = event.argument(1, "dim", 0)
    if dim not in (0, 1):
        return unknown(symbols, event)
    joined = _in_time(symbols, event, symbols.all_of(event.argument(0, "tensors"), event), Layout.STEP)
    return replace(joined, layout=Layout.BATCH_FIRST) if dim == 1 else joined


@operation("cat", "concat", "concatenate")
def cat(symbols: Symbols, event: Event) -> Symbol:
    """Signals side by side; or single steps one behind the other."""
    parts = symbols.all_of(event.argument(0, "tensors"), event)
    rank = len(event.shapes[0])
    dim = int(event.argument(1, "dim", 0)) % rank
    if dim == 0 and all(part.layout is Layout.SINGLE for part in parts):
        return _in_time(symbols, event, parts, Layout.SINGLE)
    layout, _, _ = symbols.aligned(event, parts)
    axis = dim - layout.axes
    if axis < 0:
        raise symbols.refuse(event, f"{event.name} along axis {dim} joins batches or steps; join channels or features.")
    shape = symbols.sample_shape(event, Symbol(parts[0].node, layout))
    return symbols.node(event, "concat", parts, shape, axis=axis)


def _in_time(symbols: Symbols, event: Event, parts: list[Symbol], layout: Layout) -> Symbol:
    """One node at steps 0, 1, 2, ... (or a static one, repeated) as a sequence."""
    steps = symbols.num_steps = symbols.num_steps or len(parts)
    ordered = all(part.t in (None, t) for t, part in enumerate(parts))
    generic = parts[-1].node
    if len(parts) != steps or not ordered or any(part.layout is not layout for part in parts):
        raise symbols.refuse(event, f"{event.name} joins {len(parts)} tensors that are not the {steps} steps in order.")
    if any(part.node is not generic for part in parts):
        raise symbols.refuse(event, f"{event.name} joins steps that were computed in different ways.")
    return Symbol(generic, Layout.SEQUENCE)


@operation("expand", "repeat", "tile", "broadcast_to", "repeat_interleave")
def repeat(symbols: Symbols, event: Event) -> Symbol:
    """A static input (1, B, ...), once for each step."""
    symbol = symbols.of(event.refs[0])
    shape = event.shapes[0]
    sample = (symbols.batch, *symbol.node.shape)
    if shape == event.refs[0].shape:
        return symbol
    lifts = symbol.layout is Layout.SINGLE or (symbol.layout is Layout.STEP and event.name in ("expand", "broadcast_to"))
    if lifts and not symbol.moves and shape[1:] == sample:
        symbols.num_steps = symbols.num_steps or shape[0]
        if shape[0] == symbols.num_steps:
            return replace(symbol, layout=Layout.SEQUENCE)
    raise symbols.refuse(event, f"{event.name} copies data along other axes than time.")

"""Layers without weights, and copies: one loop over the elements of the result each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qleaky.export.c.arrays import Array
from qleaky.export.c.context import Context, Source, kept_key
from qleaky.export.c.interface import ConstArray, c_type
from qleaky.export.c.loops import over_elements, strides_of
from qleaky.export.c.operations import Operation, parameter_names
from qleaky.export.c.sinks import NeuronSink
from qleaky.export.c.text import block, literal, loop, place
from qleaky.export.c.windows import Axis, axes_of, over_places, over_taps
from qleaky.integer.layers import LIF, Layer
from qleaky.integer.shaping import Add, AveragePool, Concat, MaxPool, Transpose
from qleaky.integer.signals import IntArray, as_integers
from qleaky.integer.weighted import Affine


def shaping_operation(context: Context, layer: Layer) -> Operation:
    """The operation of a layer without weights or state.

    Raises:
        TypeError: a layer of another kind.
    """
    sources = tuple(context.source(name, moving=context.moving(layer.name)) for name in layer.inputs)
    result = context.result(layer.name)
    constants: tuple[ConstArray, ...] = ()
    match layer:
        case AveragePool():
            comment, body = "y = the sum of x over each window", _pool(layer, sources[0].array, result, _summed)
        case MaxPool():
            comment, body = "y = the largest x of each window", _pool(layer, sources[0].array, result, _largest)
        case Transpose():
            comment, body = f"y = x with its axes in the order {layer.axes}", _transpose(layer, sources[0].array, result)
        case Add():
            comment, body = "y = the sum of its inputs", _add(context, layer, sources, result)
        case Concat():
            comment, body = "y = its inputs, one behind the other", _concat(context, layer, sources, result)
        case Affine():
            comment, (body, constants) = "y = scale * x + bias", _affine(context, layer, sources[0].array, result)
        case _:
            raise TypeError(f"{type(layer).__name__} is no layer without weights or state")
    name = context.name(layer.name)
    return Operation(
        function=f"{name}_run",
        comment=f"{layer.name}: {comment}",
        moving=context.moving(layer.name),
        sources=sources,
        body=tuple(body),
        key=layer.name,
        result=result,
        constants=constants,
    )


def neurons_operation(context: Context, layer: LIF) -> Operation:
    """The neurons of a layer whose current stands in an array."""
    sink, source = NeuronSink(context, layer), context.source(layer.input, moving=True)
    elements = source.array.elements
    body = [*sink.before(ordered=True), *loop("k", elements, sink.take("k", source.array.load("x", "k"), ordered=True))]
    return Operation(
        function=f"{context.name(layer.name)}_run",
        comment=f"{layer.name}: its neurons, by the current x",
        moving=True,
        sources=(source,),
        body=tuple(body),
        uses_state=True,
        constants=sink.constants,
        helpers=sink.helpers,
    )


def keeping_operation(context: Context, name: str) -> Operation:
    """The copy of a static input that later steps read."""
    source, result = context.source(name, moving=False), context.result(name)
    return Operation(
        function=f"{context.name(name)}_keep",
        comment=f"{name}: y = x, for the steps that follow",
        moving=False,
        sources=(source,),
        body=tuple(copied(source.array, result)),
        key=kept_key(name),
        result=result,
    )


def copied(x: Array, y: Array, *, source: str = "x", result: str = "y") -> list[str]:
    """y = x, element by element; whole words of bits."""
    if x.bits and y.bits:
        return loop("w", x.length, [f"qleaky_put_u32({result}, w, {source}[w]);"])
    return loop("k", x.elements, [y.store(result, "k", x.load(source, "k"))])


def _transpose(layer: Transpose, x: Array, y: Array) -> list[str]:
    own = strides_of(x.shape)
    arrays = (strides_of(y.shape), tuple(own[axis] for axis in layer.axes))
    return over_elements(y.shape, arrays, lambda k, i: [y.store("y", k, x.load("x", i))])


def _add(context: Context, layer: Add, sources: tuple[Source, ...], y: Array) -> list[str]:
    """y = the sum of sign * x * 2^shift."""
    arrays = [s.array for s in sources]
    shifts = layer.shifts(*(context.network.signals[name] for name in layer.inputs))

    def body(k: str, *indices: str) -> list[str]:
        numbers = zip(layer.signs, arrays, parameter_names(sources), indices, shifts, strict=True)
        terms = [(sign, _moved(x, x.load(name, i), shift)) for sign, x, name, i, shift in numbers]
        text = "".join(f" {'+' if sign > 0 else '-'} {term}" for sign, term in terms)
        return [y.store("y", k, text[3:] if terms[0][0] > 0 else f"0{text}")]

    return over_elements(y.shape, (strides_of(y.shape), *(strides_of(x.shape, y.shape) for x in arrays)), body)


def _moved(x: Array, value: str, shift: int) -> str:
    """value * 2^shift: a product, since the value may be negative; 0 where nothing else is in the range."""
    if shift == 0:
        return value
    return f"{value} * {1 << shift}" if shift < 31 else f"0 * {value}"


def _concat(context: Context, layer: Concat, sources: tuple[Source, ...], y: Array) -> list[str]:
    axis = layer.axis % len(y.shape)
    shifts = layer.shifts(*(context.network.signals[name] for name in layer.inputs))
    own, start, lines = strides_of(y.shape), 0, []
    for source, name, shift in zip(sources, parameter_names(sources), shifts, strict=True):
        x = source.array

        def body(k: str, i: str, x: Array = x, name: str = name, shift: int = shift) -> list[str]:
            return [y.store("y", k, _moved(x, x.load(name, i), shift))]

        lines += over_elements(x.shape, (own, strides_of(x.shape)), body, starts=(start, 0))
        start += x.shape[axis] * own[axis]
    return lines


def _affine(context: Context, layer: Affine, x: Array, y: Array) -> tuple[list[str], tuple[ConstArray, ...]]:
    """y = scale * x + bias; numbers that are the same for all elements stand in the text."""
    name, arrays, constants = context.name(layer.name), [strides_of(y.shape), strides_of(y.shape)], []
    scale = as_integers(1 << layer.scale_frac_bits) if layer.scale is None else _bounded(context, layer, layer.scale)
    if x.low == x.high == 0:
        scale = np.zeros((), np.int64)
    texts: list[tuple[str, int | None]] = []
    for what, codes in (("scale", scale), ("bias", as_integers(0 if layer.bias is None else layer.bias))):
        if np.all(codes == codes.reshape(-1)[0]):
            texts.append((literal(int(codes.reshape(-1)[0])), None))
            continue
        ctype = c_type(int(codes.min()), int(codes.max()))
        constants.append(ConstArray(f"{name}_{what}", ctype, codes.astype(np.int64).reshape(-1)))
        texts.append((f"(int32_t){name}_{what}", len(arrays)))
        arrays.append(strides_of(codes.shape, y.shape))

    def body(k: str, i: str, *indices: str) -> list[str]:
        factor, added = (text if at is None else f"{text}[{indices[at - 2]}]" for text, at in texts)
        value = x.load("x", i) if factor == "1" else f"{factor} * {x.load('x', i)}"
        value = value if added == "0" else f"{value} - {added[1:]}" if added[0] == "-" else f"{value} + {added}"
        return [y.store("y", k, value)]

    return over_elements(y.shape, arrays, body), tuple(constants)


def _bounded(context: Context, layer: Affine, scale: IntArray) -> IntArray:
    """The scale, with 0 in place of what only ever meets zeros, and may be any number."""
    codes = as_integers(scale)
    signal = context.network.signals[layer.input]
    lows, highs = (np.broadcast_to(bound, signal.shape) for bound in (signal.lows, signal.highs))
    idle = (lows == 0) & (highs == 0)
    if not idle.any():
        return codes
    return as_integers(np.where(idle, 0, np.broadcast_to(codes, signal.shape)))


def _pool(layer: AveragePool | MaxPool, x: Array, y: Array, taken: Any) -> list[str]:
    """Every channel and place: ``taken`` over the taps inside x."""
    rows, columns = axes_of(layer.window, x.shape[1:], y.shape[1:])
    channels, places = x.shape[0], math.prod(y.shape[1:])
    lead = [("c", rows.size * columns.size)] if channels > 1 else []
    value = x.load("x", place([*lead, *rows.index(columns.size), *columns.index(1)]))
    at = [("c", places)] if channels > 1 else []
    at += [(name, columns.places) for name, _ in rows.place_index] + columns.place_index
    body = over_places((rows, columns), taken((rows, columns), value, y, place(at)))
    return loop("c", channels, body) if channels > 1 else body


def _summed(axes: tuple[Axis, Axis], value: str, y: Array, k: str) -> list[str]:
    return ["int32_t sum = 0;", *over_taps(axes, [f"sum += {value};"]), y.store("y", k, "sum")]


def _largest(axes: tuple[Axis, Axis], value: str, y: Array, k: str) -> list[str]:
    taps = over_taps(axes, [f"const int32_t value = {value};", *block("if (value > largest)", ["largest = value;"])])
    return [f"int32_t largest = {literal(y.low)};", *taps, y.store("y", k, "largest")]

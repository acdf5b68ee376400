"""Convolutions: the window of every place gathered, then the product; with an average pool, over all taps of the pool."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from qleaky.export.c.arrays import SUFFIXES, Array
from qleaky.export.c.context import Context
from qleaky.export.c.interface import c_type
from qleaky.export.c.operations import Operation, Temporary
from qleaky.export.c.sinks import Sink, sink_of
from qleaky.export.c.text import block, loop, place
from qleaky.export.c.weighted import Take, WeightedSums, bias_of, product_of, weighted_operation
from qleaky.export.c.windows import Axis, axes_of, inside, over_places, over_taps
from qleaky.integer.layers import LIF
from qleaky.integer.shaping import AveragePool
from qleaky.integer.weighted import Conv


def conv_operation(context: Context, layer: Conv, pool: AveragePool | None, lif: LIF | None) -> Operation:
    """I[o, y, x] = sum of w over the window + b; pooled, and into the neurons of ``lif``, or an array."""
    source = context.source(layer.input, moving=context.moving(layer.name))
    pooled = layer.name if pool is None else pool.name
    sink = sink_of(context, pooled, lif)
    low, high = min(source.array.low, 0), max(source.array.high, 0)
    weight = layer.weight.reshape(layer.weight.shape[0], -1)
    product = product_of(context, layer, None if source.array.bits else (low, high))
    names = ("events", "count") if source.array.bits else ("patch", f"{weight.shape[1]}u")
    sums = WeightedSums(product, weight.shape[0], bias_of(context, layer), *names)
    axes = axes_of(layer.window, source.array.shape[1:], context.network.signals[layer.name].shape[1:])
    window = _Windows(layer, source.array, axes, sums)
    ctype = "uint16_t" if source.array.bits else c_type(low, high)
    temporaries = [Temporary(names[0], ctype, weight.shape[1])]
    if pool is None:
        body = _plain(window, sink)
    else:
        places = context.network.signals[pool.name].shape[1:]
        body = _pooled(window, axes_of(pool.window, context.network.signals[layer.name].shape[1:], places, "pool"), sink)
        temporaries.append(Temporary("totals", "int32_t", weight.shape[0]))
    last = pooled if lif is None else lif.name
    return weighted_operation(context, last, _comment(layer, pool, lif), source, body, sink, sums, temporaries)


def _comment(layer: Conv, pool: AveragePool | None, lif: LIF | None) -> str:
    text = f"{layer.name}: I = W * x{'' if layer.bias is None else ' + b'}, the products summed over each window"
    text += "" if pool is None else f"; {pool.name}: summed over the places of each of its windows"
    return text + ("" if lif is None else f"; then the neurons of {lif.name}")


def _plain(window: _Windows, sink: Sink) -> list[str]:
    """Every place, every output."""
    places = math.prod(axis.places for axis in window.axes)

    def take(o: str, value: str) -> list[str]:
        k = place([(o, places), *_at(window.axes)])
        return [f"const uint32_t k = {k};", *sink.take("k", value, ordered=False)]

    return over_places(window.axes, window.each(take))


def _pooled(window: _Windows, pool: tuple[Axis, Axis], sink: Sink) -> list[str]:
    """Every pooled place: the totals of all its taps that lie inside the convolution, then every output."""
    places, outputs = math.prod(axis.places for axis in pool), window.sums.outputs
    rows, columns = (replace(axis, place=taps.coordinate, signed=True) for axis, taps in zip(window.axes, pool, strict=True))
    taps = over_taps(pool, replace(window, axes=(rows, columns)).each(lambda o, value: [f"totals[{o}] += {value};"]))
    k = place([("o", places), *_at(pool)])
    results = loop("o", outputs, [f"const uint32_t k = {k};", *sink.take("k", "totals[o]", ordered=False)])
    return over_places(pool, [*loop("o", outputs, ["qleaky_put_i32(totals, o, 0);"]), *taps, *results])


def _at(axes: tuple[Axis, Axis]) -> list[tuple[str, int]]:
    """The terms of a place's index within its channel."""
    rows, columns = axes
    return [(name, stride * columns.places) for name, stride in rows.place_index] + columns.place_index


@dataclass(frozen=True, eq=False)
class _Windows:
    """The windows of a convolution over ``x``; ``axes`` name the variables of a place."""

    layer: Conv
    x: Array
    axes: tuple[Axis, Axis]
    sums: WeightedSums

    def each(self, take: Take) -> list[str]:
        """The window of one place, then ``take`` for every output."""
        if self.layer.groups == 1:
            return [*self._gather(), *self.sums.each(take)]
        rows = self.sums.outputs // self.layer.groups
        return loop("g", self.layer.groups, [*self._gather(), *self.sums.each_of_group("g", rows, take)])

    @property
    def _channels(self) -> int:
        return int(self.layer.weight.shape[1])

    def _gather(self) -> list[str]:
        columns = self.axes[1]
        if not self.x.bits:
            return self._over_channels(self._patch())
        if columns.dilation == 1 or columns.kernel == 1:
            return ["uint32_t count = 0u;", *self._range_start(), *self._over_channels(self._range())]
        event = [f"events[count] = (uint16_t)({self._tap()});", "++count;"]
        bit = block(f"if (qleaky_bit(x, {self._element()}) != 0u)", event)
        return ["uint32_t count = 0u;", *self._over_channels(over_taps(self.axes, bit))]

    def _over_channels(self, body: list[str]) -> list[str]:
        return loop("c", self._channels, body) if self._channels > 1 else body

    def _channel(self, stride: int) -> list[tuple[str, int]]:
        """The terms of a channel of x."""
        group = [("g", self._channels * stride)] if self.layer.groups > 1 else []
        return group + ([("c", stride)] if self._channels > 1 else [])

    def _element(self) -> str:
        """The index of a tap in x."""
        rows, columns = self.axes
        terms = self._channel(rows.size * columns.size) + rows.index(columns.size) + columns.index(1)
        return place(terms)

    def _tap(self, start: str | None = None) -> str:
        """The index of a tap in the window; ``start`` in place of the column."""
        rows, columns = self.axes
        terms = [("c", rows.kernel * columns.kernel)] if self._channels > 1 else []
        terms += [(rows.tap, columns.kernel)] if rows.kernel > 1 else []
        if start is not None:
            return place([*terms, (start, 1)] if start != "0u" else terms)
        return place(terms + ([(columns.tap, 1)] if columns.kernel > 1 else []))

    def _patch(self) -> list[str]:
        """patch[tap] = x there, or 0 outside."""
        rows, columns = self.axes
        ctype = c_type(min(self.x.low, 0), max(self.x.high, 0))
        value, condition = self.x.load("x", self._element()), inside(self.axes)
        value = value if condition is None else f"({condition}) ? {value} : 0"
        body = [f"qleaky_put_{SUFFIXES[ctype]}(patch, {self._tap()}, {value});"]
        for axis in (columns, rows):
            body = axis.defined(body)
            body = loop(axis.tap, axis.kernel, body) if axis.kernel > 1 else body
        return body

    def _range_start(self) -> list[str]:
        """The columns of x that a row of the window covers: ``width`` of them from ``left``, the first at tap ``skip``."""
        columns = self.axes[1]
        if columns.condition is None:
            return []
        size, kernel = columns.size, columns.kernel
        return [
            f"const int32_t first_column = {columns.start};",
            "const uint32_t skip = first_column < 0 ? (uint32_t)(-first_column) : 0u;",
            f"const int32_t room = {size} - first_column;",
            f"const uint32_t end = room < {kernel} ? (room < 0 ? 0u : (uint32_t)room) : {kernel}u;",
            "const uint32_t width = end > skip ? end - skip : 0u;",
            "const uint32_t left = first_column < 0 ? 0u : (uint32_t)first_column;",
        ]

    def _range(self) -> list[str]:
        """The events of one row of the window."""
        rows, columns = self.axes
        always = columns.condition is None
        terms = self._channel(rows.size * columns.size) + rows.index(columns.size)
        if not always:
            start, width, skip = place([*terms, ("left", 1)]), "width", "skip"
        else:
            start, width, skip = place([*terms, (f"(uint32_t)({columns.start})", 1)]), f"{columns.kernel}u", "0u"
        call = f"qleaky_events_range(x, {start}, {width}, {self._tap(skip)}, events + count)"
        body = [f"count += {call};"]
        if rows.condition is not None:
            body = block(f"if ({rows.condition})", body)
        body = rows.defined(body)
        return loop(rows.tap, rows.kernel, body) if rows.kernel > 1 else body

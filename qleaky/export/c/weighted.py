"""Linear layers and convolutions, with the pool and the neurons that alone read them, as one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qleaky.export.c.arrays import SUFFIXES
from qleaky.export.c.context import Context, Source
from qleaky.export.c.direct import DirectProduct, direct_product
from qleaky.export.c.interface import ConstArray, c_type
from qleaky.export.c.operations import Operation, Temporary
from qleaky.export.c.products import Product, product
from qleaky.export.c.sinks import Sink, sink_of
from qleaky.export.c.text import loop, place
from qleaky.integer.layers import LIF
from qleaky.integer.proof import INT32_MAX
from qleaky.integer.signals import absolute_sums, as_integers
from qleaky.integer.weighted import Conv, Linear

PART = 512  # events of a list: 1 KiB
Take = Callable[[str, str], list[str]]


@dataclass(frozen=True, eq=False)
class WeightedSums:
    """W x + b of one place: the product, the bias, and the C names of x (or of its events, and their count)."""

    product: Product | DirectProduct
    outputs: int
    bias: ConstArray | None
    source: str
    count: str

    @property
    def constants(self) -> tuple[ConstArray, ...]:
        """Weights and bias."""
        return self.product.constants + (() if self.bias is None else (self.bias,))

    def each(self, take: Take) -> list[str]:
        """``take(o, value)`` for every output o, two C expressions, in order."""
        group = self.product.group
        if self.outputs <= group:
            return [*self._call("0u"), *loop("o", self.outputs, take("o", self._value("sums[o]")))]
        if group == 1:
            return loop("o", self.outputs, [*self._call("o"), *take("o", self._value("sums[0]"))])
        whole = self.outputs % group == 0
        count = f"const uint32_t count_here = {self.outputs}u - first < {group}u ? {self.outputs}u - first : {group}u;"
        inner = ["const uint32_t o = first + i;", *take("o", self._value("sums[i]"))]
        body = [*self._call("first"), *([] if whole else [count]), *loop("i", group if whole else "count_here", inner)]
        return loop("first", self.outputs, body, step=group)

    def each_of_group(self, group: str, outputs: int, take: Take) -> list[str]:
        """As :meth:`each`, for the ``outputs`` of one group of channels alone; one output a call."""
        o = place([(group, outputs), ("r", 1)])
        return loop("r", outputs, [f"const uint32_t o = {o};", *self._call("o"), *take("o", self._value("sums[0]"))])

    def in_parts(self, take: Take) -> list[str]:
        """As :meth:`each` for few outputs of many bits ``x``, part by part, so that the list of events stays short."""
        inputs = self.product.inputs
        size = f"{PART}u" if inputs % PART == 0 else f"{inputs}u - start < {PART}u ? {inputs}u - start : {PART}u"
        part = [
            f"const uint32_t size = {size};",
            "const uint32_t count = qleaky_events_range(x, start, size, start, events);",
            *self._call("0u"),
            *loop("o", self.outputs, ["totals[o] += sums[o];"]),
        ]
        zero = loop("o", self.outputs, ["qleaky_put_i32(totals, o, 0);"])
        parts = loop("start", inputs, part, step=PART)
        results = loop("o", self.outputs, take("o", self._value("totals[o]")))
        return [f"int32_t totals[{self.outputs}];", *zero, *parts, *results]

    def _call(self, first: str) -> list[str]:
        call = self.product.call(first=first, source=self.source, count=self.count, sums="sums")
        return [f"int32_t sums[{self.product.group}];", *call]

    def _value(self, total: str) -> str:
        return total if self.bias is None else f"{total} + (int32_t){self.bias.name}[o]"


def product_of(context: Context, layer: Linear | Conv, x: tuple[int, int] | None) -> Product | DirectProduct:
    """The product of a layer's weights (out, in) with bits (None), or with integers in the range ``x``.

    Several groups of channels have few outputs each, and take theirs one by one; so does a layer whose sums stay in int32_t
    only because its inputs differ in their ranges.
    """
    weight, name = layer.weight.reshape(layer.weight.shape[0], -1), context.name(layer.name)
    magnitude = 1 if x is None else max(abs(x[0]), abs(x[1]), 1)
    if getattr(layer, "groups", 1) > 1 or int(absolute_sums(weight).max()) * magnitude > INT32_MAX:
        return direct_product(weight, bits=x is None, name=name)
    return product(weight, "bits" if x is None else x, name=name, dsp=context.dsp)


def bias_of(context: Context, layer: Linear | Conv) -> ConstArray | None:
    """The constants that are added to the sums, where one of them is not 0."""
    if layer.bias is None or not np.any(layer.bias):
        return None
    codes = as_integers(layer.bias)
    ctype = c_type(int(codes.min()), int(codes.max()))
    return ConstArray(f"{context.name(layer.name)}_bias", ctype, codes.astype(np.int64))


def linear_operation(context: Context, layer: Linear, lif: LIF | None) -> Operation:
    """I = W x + b at every position; into the neurons of ``lif``, or an array."""
    source = context.source(layer.input, moving=context.moving(layer.name))
    sink = sink_of(context, layer.name, lif)
    positions = source.array.elements // layer.weight.shape[1]
    gather = _events if source.array.bits else _integers
    prepared, at_position, temporaries, x, count = gather(source, layer.weight.shape[1], positions)
    bounds = None if source.array.bits else (source.array.low, source.array.high)
    product = product_of(context, layer, bounds)
    sums = WeightedSums(product, layer.weight.shape[0], bias_of(context, layer), x, count)

    def take(o: str, value: str) -> list[str]:
        if positions == 1:
            return sink.take(o, value, ordered=True)
        k = place([("p", sums.outputs), (o, 1)])
        return [f"const uint32_t k = {k};", *sink.take("k", value, ordered=True)]

    body = [*at_position, *sums.each(take)] if positions == 1 else loop("p", positions, [*at_position, *sums.each(take)])
    if source.array.bits and positions == 1 and sums.outputs <= product.group and product.inputs > PART:
        body, temporaries = sums.in_parts(take), [Temporary("events", "uint16_t", PART)]
    body = [*prepared, *sink.before(ordered=True), *body]
    last = layer.name if lif is None else lif.name
    comment = f"{layer.name}: I = W x{'' if sums.bias is None else ' + b'}, {_over(source)}" + _then(lif)
    return weighted_operation(context, last, comment, source, body, sink, sums, temporaries)


def weighted_operation(
    context: Context,
    last: str,
    comment: str,
    source: Source,
    body: list[str],
    sink: Sink,
    sums: WeightedSums,
    temporaries: list[Temporary],
) -> Operation:
    """The operation of a layer with weights, whose result is that of layer ``last``."""
    return Operation(
        function=f"{context.name(last)}_run",
        comment=comment,
        moving=context.moving(last),
        sources=(source,),
        body=tuple(body),
        key=None if sink.result is None else last,
        result=sink.result,
        temporaries=tuple(temporaries),
        uses_state=sink.uses_state,
        constants=sums.constants + sink.constants,
        headers=sums.product.headers,
        helpers=sink.helpers,
    )


def _over(source: Source) -> str:
    return "summed over the elements of x that are 1" if source.array.bits else "summed over all of x"


def _then(lif: LIF | None) -> str:
    return "" if lif is None else f"; then the neurons of {lif.name}"


Gathered = tuple[list[str], list[str], list[Temporary], str, str]


def _events(source: Source, inputs: int, positions: int) -> Gathered:
    """The events of every position: statements before all, statements of each, temporaries, their array, their count."""
    if positions == 1:
        lines = [f"const uint32_t count = qleaky_events(x, {inputs}u, events);"]
    else:
        lines = [f"const uint32_t count = qleaky_events_range(x, p * {inputs}u, {inputs}u, 0u, events);"]
    return [], lines, [Temporary("events", "uint16_t", inputs)], "events", "count"


def _integers(source: Source, inputs: int, positions: int) -> Gathered:
    """The integers of every position: x itself, or where codes have a zero point a copy without it."""
    array, lines, temporaries = "x", [], []
    if source.array.offset:
        ctype, elements = c_type(source.array.low, source.array.high), source.array.elements
        array = "numbers"
        lines = loop("k", elements, [f"qleaky_put_{SUFFIXES[ctype]}(numbers, k, {source.array.load('x', 'k')});"])
        temporaries = [Temporary("numbers", ctype, elements)]
    return lines, [], temporaries, array if positions == 1 else f"({array} + p * {inputs}u)", f"{inputs}u"

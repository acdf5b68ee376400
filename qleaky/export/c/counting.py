"""How often each part of a step runs: what the cost of a step is made of, whatever a core takes for each part.

The parts follow what :mod:`qleaky.export.c.plan` generates: events are found, added up in groups of outputs, handed to neurons.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.export.c.context import Context
from qleaky.export.c.direct import DirectProduct
from qleaky.export.c.neuron import neuron_code
from qleaky.export.c.products import PackedProduct, Product
from qleaky.export.c.weighted import PART, product_of
from qleaky.integer import IntegerNetwork
from qleaky.integer.layers import LIF, Add, Concat, Delay, Layer
from qleaky.integer.shaping import AveragePool, MaxPool, Reshape
from qleaky.integer.weighted import Conv, Linear

Rates = Mapping[str, NDArray[Any]]
_OPERATOR = re.compile(r"<<|>>|<=|>=|[-+*?<>&|]")


def uniform(network: IntegerNetwork, density: float) -> dict[str, NDArray[Any]]:
    """Rates of ``density`` for every signal that feeds weights."""
    fed = {layer.input for layer in network.layers if isinstance(layer, (Linear, Conv))}
    return {name: np.full(network.signals[name].shape, density) for name in fed}


def step_parts(network: IntegerNetwork, rates: Rates) -> dict[str, float]:
    """The parts of one step, the mean over the steps of an inference: what does not move runs in the first alone.

    Args:
        network: the contract.
        rates: of every signal that feeds weights the share of steps in which each element is not 0.
    """
    context = Context(network, "model")
    found: dict[str, float] = defaultdict(float, step=1.0)
    for layer in network.layers:
        if layer.name in context.needed and not isinstance(layer, Reshape):
            share = 1 if context.moving(layer.name) else 1 / network.num_steps
            for part, count in _layer(context, layer, rates):
                found[part] += count * share
    for readout in network.readouts:
        if readout.kind in ("spike_count", "membrane_mean"):
            found["readout"] += math.prod(network.signals[readout.layer].shape)
    return dict(found)


def code_parts(network: IntegerNetwork) -> dict[str, float]:
    """The parts of the code: each layer's once, the same names where a step's part is a piece of code too."""
    context = Context(network, "model")
    found = Counter({"model": 1})
    for layer in network.layers:
        if layer.name in context.needed and not isinstance(layer, Reshape):
            found.update(_code(context, layer))
    for readout in network.readouts:
        found["readout"] += 1
        found["argmax"] += readout.argmax
    found["encoder"] += sum(not array.bits for array in context.inputs.values())
    return dict(found)


def _layer(context: Context, layer: Layer, rates: Rates) -> Iterator[tuple[str, float]]:
    yield "operation", 1
    elements = math.prod(context.network.signals[layer.name].shape)
    match layer:
        case Linear() | Conv():
            yield from _weighted(context, layer, rates[layer.input])
        case LIF():
            yield "neuron", elements
            yield "neuron operator", elements * _operators(context, layer)
            if _scattered(context, layer):
                yield "scattered spike", elements
        case AveragePool() | MaxPool():
            if not _merged(context, layer):
                yield "pooled tap", elements * math.prod(layer.kernel)
        case Add() | Concat():
            yield "element", elements * (len(layer.inputs) if isinstance(layer, Add) else 1)
        case Delay():
            yield "element", context.result(layer.name).length
        case _:
            yield "element", elements


def _weighted(context: Context, layer: Linear | Conv, rate: NDArray[Any]) -> Iterator[tuple[str, float]]:
    """Events or numbers gathered, the products of every group of outputs, and the sums that come out."""
    product, bits = product_in(context, layer)
    inputs, outputs = math.prod(layer.weight.shape[1:]), layer.weight.shape[0]
    places = context.network.signals[layer.name].shape
    evaluated = math.prod(places) // outputs * _repeats(context, layer)
    groups = -(-outputs // product.group)
    yield from _gathered(context, layer, rate, evaluated)
    events = _events(layer, rate) * _repeats(context, layer) / getattr(layer, "groups", 1) if bits else evaluated * inputs
    parts = parts_of(context, layer, product, bits)
    kind = _kind(product, bits) + ("" if groups > 1 else ", once")
    yield kind, events * groups
    yield f"call of {kind}", evaluated * groups * parts
    if parts > 1:
        yield "part", parts
        yield "sum of a part", parts * outputs
    if isinstance(product, PackedProduct):
        if product.bits != 8:
            yield "flush", events * groups / (product.interval or 1)
        if product.packed.scale.size > 1:
            yield "rescaled sum", evaluated * outputs
    yield _sums(context, layer, product), evaluated * outputs


def parts_of(context: Context, layer: Linear | Conv, product: Product | DirectProduct, bits: bool) -> int:
    """In how many parts a long row of bits is summed, where its outputs are few."""
    inputs, outputs = layer.weight.shape[1], layer.weight.shape[0]
    places = math.prod(context.network.signals[layer.name].shape) // outputs
    long = isinstance(layer, Linear) and bits and places == 1 and outputs <= product.group and inputs > PART
    return -(-inputs // PART) if long else 1


def _sums(context: Context, layer: Linear | Conv, product: Product | DirectProduct) -> str:
    """How sums leave a group: compilers unroll those of one call, and loops of whole groups."""
    if _pooled(context, layer) is not None:
        return "pooled sum"
    outputs, where = layer.weight.shape[0], "sum of a window" if isinstance(layer, Conv) else "sum"
    if outputs <= product.group:
        return f"{where}, once"
    return where if outputs % product.group == 0 else f"{where}, uneven"


def _gathered(context: Context, layer: Linear | Conv, rate: NDArray[Any], evaluated: float) -> Iterator[tuple[str, float]]:
    """Ones found in words or rows of windows; numbers copied where their zero is moved or their window gathered."""
    source, inputs = context.source(layer.input, moving=context.moving(layer.name)).array, math.prod(layer.weight.shape[1:])
    if isinstance(layer, Linear):
        if source.bits:
            yield from (("word", -(-inputs // 32) * evaluated), ("event", float(rate.sum())))
        elif source.offset:
            yield "copied number", source.elements
    elif source.bits:
        yield "window row", evaluated * math.prod(layer.weight.shape[1:-1]) * layer.groups
        yield "event", _events(layer, rate) * _repeats(context, layer)
    else:
        yield "window tap", evaluated * inputs * layer.groups


def _events(layer: Linear | Conv, rate: NDArray[Any]) -> float:
    """Ones that reach the products of a step: those of each window."""
    if isinstance(layer, Linear):
        return float(rate.sum())
    return float((rate.reshape(rate.shape[0], -1).sum(0).reshape(rate.shape[1:]) * _covered(layer, rate.shape[1:])).sum())


def _covered(layer: Conv, sizes: tuple[int, ...]) -> NDArray[Any]:
    """In how many windows each place of the input lies."""
    found = np.ones(())
    for size, kernel, stride, (before, after), dilation in zip(sizes, *layer.window, strict=True):
        starts = np.arange(0, size + before + after - dilation * (kernel - 1), stride) - before
        taps = (starts[:, None] + dilation * np.arange(kernel)).reshape(-1)
        axis = np.bincount(taps[(taps >= 0) & (taps < size)], minlength=size)
        found = np.multiply.outer(found, axis)
    return found


def product_in(context: Context, layer: Linear | Conv) -> tuple[Product | DirectProduct, bool]:
    """The product of a layer, as its operation takes it, and whether it goes over events."""
    source = context.source(layer.input, moving=context.moving(layer.name)).array
    low, high = (source.low, source.high) if isinstance(layer, Linear) else (min(source.low, 0), max(source.high, 0))
    return product_of(context, layer, None if source.bits else (low, high)), source.bits


def _kind(product: Product | DirectProduct, bits: bool) -> str:
    """The name of a kernel."""
    if isinstance(product, PackedProduct):
        return f"lanes {product.bits}x{product.group}"
    what = "direct" if isinstance(product, DirectProduct) else "plain"
    return f"{what} {'event' if bits else 'number'} x{product.group}"


def _readers(context: Context, name: str) -> list[Layer]:
    return context.consumers.get(name, [])


def _pooled(context: Context, layer: Linear | Conv) -> AveragePool | None:
    """The pool that is computed with a convolution."""
    readers = _readers(context, layer.name)
    pool = readers[0] if len(readers) == 1 and isinstance(layer, Conv) else None
    return pool if isinstance(pool, AveragePool) and pool.input == layer.name else None


def _merged(context: Context, pool: AveragePool | MaxPool) -> bool:
    source = context.layers.get(pool.input)
    return isinstance(source, Conv) and _pooled(context, source) is pool


def _repeats(context: Context, layer: Linear | Conv) -> float:
    """How often each place of a convolution is computed: once for each window of its pool that it lies in."""
    pool = _pooled(context, layer)
    if pool is None:
        return 1.0
    sizes, taps = context.network.signals[layer.name].shape[1:], 1
    for size, kernel, stride, (before, after), dilation in zip(sizes, *pool.window, strict=True):
        starts = np.arange(0, size + before + after - dilation * (kernel - 1), stride) - before
        inside = starts[:, None] + dilation * np.arange(kernel)
        taps *= int(((inside >= 0) & (inside < size)).sum())
    return taps / math.prod(sizes)


def _scattered(context: Context, lif: LIF) -> bool:
    """Whether spikes are set bit by bit: behind a convolution they do not come in order."""
    source = context.layers.get(context.root(lif.input))
    if isinstance(source, AveragePool) and _merged(context, source):
        source = context.layers.get(source.input)
    return isinstance(source, Conv) and context.moving(source.name) and context.emission(lif).bits


def _operators(context: Context, layer: LIF) -> int:
    """Operators of one neuron's step, as its C spells them."""
    x = context.network.signals[layer.input]
    code = neuron_code(layer, x, context.bounds[layer.name], prefix="n")
    return len(_OPERATOR.findall(re.sub(r"/\*.*?\*/|int\d+_t \*|\*mem|\*syn|static inline", "", code.functions, flags=re.S)))


def _code(context: Context, layer: Layer) -> dict[str, int]:
    """The pieces of code that a layer adds."""
    match layer:
        case Linear() | Conv():
            product, bits = product_in(context, layer)
            where = "linear" if isinstance(layer, Linear) else "conv"
            outputs, inputs = layer.weight.shape[0], layer.weight.shape[1]
            found = {_kind(product, bits): 1, f"{where} of {'events' if bits else 'numbers'}": 1}
            found["parts"] = int(parts_of(context, layer, product, bits) > 1)
            found["groups"] = int(outputs > product.group)
            found["uneven groups"] = int(outputs > product.group and outputs % product.group > 0)
            found["words"] = int(bits and where == "linear" and inputs >= 64)
            found["last word"] = int(bits and where == "linear" and inputs % 32 > 0)
            return found
        case LIF():
            return {"neuron": 1, "neuron operator": _operators(context, layer)}
        case AveragePool() | MaxPool():
            return {"merged pool" if _merged(context, layer) else "pool": 1}
        case _:
            return {"element": 1}

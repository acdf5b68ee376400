"""Torch functions that slide windows over a sample: convolutions and pools."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch import Tensor

from qleaky.tracing.events import Event
from qleaky.tracing.operations import operation, weights_of
from qleaky.tracing.symbols import Symbol, Symbols

Pads = tuple[tuple[int, int], ...]


@operation("conv1d", "conv2d")
def conv(symbols: Symbols, event: Event) -> Symbol:
    """Cross-correlation with constant weights."""
    weight, bias = weights_of(symbols, event, event.argument(1, "weight"), event.argument(2, "bias"))
    stride, padding, dilation = (
        event.argument(3, "stride", 1),
        event.argument(4, "padding", 0),
        event.argument(5, "dilation", 1),
    )
    return convolved(
        symbols, event, event.argument(0, "input"), weight, bias, (stride, padding, dilation, event.argument(6, "groups", 1))
    )


def convolved(symbols: Symbols, event: Event, x: Any, weight: Tensor, bias: Tensor | None, settings: tuple[Any, ...]) -> Symbol:
    """A convolution's node; ``settings`` are stride, padding, dilation and groups as torch takes them."""
    stride, padding, dilation, groups = settings
    axes = weight.ndim - 2
    source, before = _sliding(symbols, event, symbols.of(x), axes)
    steps, gaps = _each(stride, axes), _each(dilation, axes)
    pads = _merged(_conv_pads(padding, tuple(weight.shape[2:]), gaps), before)
    shape = symbols.sample_shape(event, source)
    return symbols.node(
        event, "conv", [source], shape, (weight, bias), stride=steps, pads=pads, dilation=gaps, groups=int(groups)
    )


def _conv_pads(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> Pads:
    """Zeros before and after each axis; "same" puts the odd one behind, as torch does."""
    if padding == "valid":
        return tuple((0, 0) for _ in kernel)
    if padding == "same":
        totals = [gap * (size - 1) for size, gap in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in _each(padding, len(kernel)))


@operation("pad")
def pad(symbols: Symbols, event: Event) -> Symbol:
    """Zeros around a sample, which the convolution or average pool behind it takes over."""
    widths = [int(w) for w in event.argument(1, "pad")]
    mode, value = event.argument(2, "mode", "constant"), event.argument(3, "value", 0)
    pairs = tuple((widths[i], widths[i + 1]) for i in range(0, len(widths), 2))[::-1]
    if mode != "constant" or value not in (None, 0, 0.0) or any(w < 0 for w in widths):
        raise symbols.refuse(event, f"padding with mode={mode!r}, value={value} has no integer form; pad with zeros.")
    source, shape = symbols.of(event.refs[0]), symbols.sample_shape(event, symbols.of(event.refs[0]))
    if source.node.kind == "pad":
        longest = max(len(pairs), len(source.node["pads"]))
        pairs = _merged(_spread(pairs, longest), _spread(source.node["pads"], longest))
        source = replace(source, node=source.node.inputs[0])
    return symbols.node(event, "pad", [source], shape, pads=pairs)


def _spread(pads: Pads, axes: int) -> Pads:
    """Pads of the last axes as pads of so many."""
    return (*((0, 0) for _ in range(axes - len(pads))), *pads)


@operation("avg_pool1d", "avg_pool2d")
def average_pool(symbols: Symbols, event: Event) -> Symbol:
    """The mean of each window."""
    axes = int(event.name[-2])
    source, before = _sliding(symbols, event, symbols.of(event.refs[0]), axes)
    kernel = _each(event.argument(1, "kernel_size"), axes)
    stride = _each(event.argument(2, "stride") or kernel, axes)
    padding = _each(event.argument(3, "padding", 0), axes)
    pads = _merged(tuple((p, p) for p in padding), before)
    if any(padding) and not event.argument(5, "count_include_pad", True):
        raise symbols.refuse(
            event, "average pooling with padding and count_include_pad=False divides by varying counts; use True."
        )
    shape = symbols.sample_shape(event, source)
    if event.argument(4, "ceil_mode", False) and shape[1:] != _floor_sizes(source.node.shape[1:], kernel, stride, pads):
        raise symbols.refuse(event, "average pooling with ceil_mode=True divides by varying counts at the border; use False.")
    divisor = event.argument(6, "divisor_override") or math.prod(kernel)
    return symbols.node(event, "average_pool", [source], shape, kernel=kernel, stride=stride, pads=pads, divisor=int(divisor))


@operation("max_pool1d", "max_pool2d")
def max_pool(symbols: Symbols, event: Event) -> Symbol:
    """The largest of each window."""
    axes = int(event.name[-2])
    if event.argument(6, "return_indices", False):
        raise symbols.refuse(event, "max pooling with return_indices=True; leave the indices out.")
    source, before = _sliding(symbols, event, symbols.of(event.refs[0]), axes)
    if any(any(pair) for pair in before):
        raise symbols.refuse(event, "max pooling of zero-padded data; use the pool's own padding.")
    kernel = _each(event.argument(1, "kernel_size"), axes)
    stride = _each(event.argument(2, "stride") or kernel, axes)
    padding, dilation = _each(event.argument(3, "padding", 0), axes), _each(event.argument(4, "dilation", 1), axes)
    shape = symbols.sample_shape(event, source)
    spans = zip(source.node.shape[1:], shape[1:], kernel, stride, padding, dilation, strict=True)
    pads = tuple((p, max((out - 1) * s + d * (k - 1) + 1 - size - p, p)) for size, out, k, s, p, d in spans)
    return symbols.node(event, "max_pool", [source], shape, kernel=kernel, stride=stride, pads=pads, dilation=dilation)


@operation("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d")
def adaptive_pool(symbols: Symbols, event: Event) -> Symbol:
    """A pool to a fixed size, where that divides the sample's."""
    axes = int(event.name[-2])
    source, before = _sliding(symbols, event, symbols.of(event.refs[0]), axes)
    sizes = source.node.shape[1:]
    shape = symbols.sample_shape(event, source)
    if any(any(pair) for pair in before) or any(size % out for size, out in zip(sizes, shape[1:], strict=True)):
        raise symbols.refuse(
            event, f"{event.name} from {sizes} to {shape[1:]} has windows of varying size; use a size that divides."
        )
    kernel = tuple(size // out for size, out in zip(sizes, shape[1:], strict=True))
    pads = tuple((0, 0) for _ in kernel)
    if "max" in event.name:
        return symbols.node(event, "max_pool", [source], shape, kernel=kernel, stride=kernel, pads=pads, dilation=(1,) * axes)
    return symbols.node(
        event, "average_pool", [source], shape, kernel=kernel, stride=kernel, pads=pads, divisor=math.prod(kernel)
    )


def _sliding(symbols: Symbols, event: Event, source: Symbol, axes: int) -> tuple[Symbol, Pads]:
    """The symbol that a window slides over, a zero padding before it taken off and given too."""
    if source.layout.axes == 2 or len(source.node.shape) != axes + 1:
        raise symbols.refuse(
            event,
            f"{event.name} on samples of shape {source.node.shape}; it takes (B, C, ...): merge time and batch with "
            f"x.flatten(0, 1) before it, and split them again behind it.",
        )
    if source.node.kind != "pad":
        return source, tuple((0, 0) for _ in range(axes))
    pads: Pads = source.node["pads"]
    if len(pads) > axes:
        raise symbols.refuse(event, "padding of the channel axis has no integer form; pad the spatial axes.")
    return replace(source, node=source.node.inputs[0]), _spread(pads, axes)


def _merged(pads: Pads, before: Pads) -> Pads:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(pads, before, strict=True))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """One number for each axis."""
    numbers = [int(v) for v in value] if isinstance(value, (tuple, list)) else [int(value)]
    return tuple(numbers * axes) if len(numbers) == 1 else tuple(numbers)


def _floor_sizes(sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], pads: Pads) -> tuple[int, ...]:
    spans = zip(sizes, kernel, stride, pads, strict=True)
    return tuple((size + before + after - k) // s + 1 for size, k, s, (before, after) in spans)

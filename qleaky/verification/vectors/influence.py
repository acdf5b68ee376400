"""Which inputs drive a neuron up and which down: its weights carried back to the inputs, on integers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.integer import Add, Affine, AveragePool, Concat, Conv, Delay, IntegerNetwork, Linear, MaxPool, Reshape, Transpose
from qleaky.integer.layers import LIF, Layer, Signal
from qleaky.integer.windows import Window

Ints = NDArray[Any]
KEPT_BITS = 8


def influence(network: IntegerNetwork, target: str, wanted: Ints) -> dict[str, Ints]:
    """What ``wanted`` (N, *shape) on the output of ``target`` asks of every input, (N, *shape) each.

    Through layers that are linear these are the coefficients of sum(wanted * output), exactly. A spike is taken to rise with
    its current, the largest of a window with all of it, and what was emitted a step before is left out.
    """
    asked = _asked(network, target, wanted, (Delay,))
    count = len(wanted)
    return {i.name: asked.get(i.name, np.zeros((count, *i.shape), np.int64)).reshape(count, *i.shape) for i in network.inputs}


def addends(network: IntegerNetwork, target: str, wanted: Ints) -> dict[str, Ints]:
    """As :func:`influence`, but no further than to what emits: inputs, neurons, delays and maxima. Exact, but for biases."""
    return _asked(network, target, wanted, (LIF, Delay, MaxPool))


def _asked(network: IntegerNetwork, target: str, wanted: Ints, stop: tuple[type, ...]) -> dict[str, Ints]:
    """What is asked of every signal at which the way back ends: inputs, and layers of the kinds ``stop``."""
    asked = {target: np.asarray(wanted, np.int64)}
    for layer in reversed(network.layers):
        if layer.name not in asked or isinstance(layer, stop):
            continue
        backward = _backward(layer, [network.signals[name] for name in layer.inputs], asked.pop(layer.name))
        for name, found in zip(layer.inputs, backward, strict=True):
            asked[name] = asked[name] + found if name in asked else found
    return asked


def linear_fronts(network: IntegerNetwork) -> tuple[LIF, ...]:
    """Neurons whose current is a sum of inputs times constants: nothing with a state, and no maximum, lies between."""
    linear = {source.name for source in network.inputs}
    fronts = []
    for layer in network.layers:
        if not all(name in linear for name in layer.inputs) or isinstance(layer, Delay | MaxPool):
            continue
        if isinstance(layer, LIF):
            fronts.append(layer)
        else:
            linear.add(layer.name)
    return tuple(fronts)


def _backward(layer: Layer, signals: list[Signal], asked: Ints) -> list[Ints]:
    count, shapes = len(asked), [signal.shape for signal in signals]
    match layer:
        case LIF():
            most = int(np.abs(asked).max(initial=1))
            return [asked >> max(0, most.bit_length() - KEPT_BITS)]
        case Linear():
            return [product(asked, layer.weight)]
        case Conv():
            return [_conv(layer, shapes[0], asked)]
        case Affine():
            return [asked << layer.scale_frac_bits if layer.scale is None else asked * layer.scale.astype(np.int64)]
        case AveragePool() | MaxPool():
            return [_pool(layer.window, shapes[0], asked)]
        case Reshape():
            return [asked.reshape(count, *shapes[0])]
        case Transpose():
            return [asked.transpose(0, *(layer.axes.index(axis) + 1 for axis in range(len(shapes[0]))))]
        case Add():
            terms = zip(layer.signs, layer.shifts(*signals), shapes, strict=True)
            return [_unbroadcast(sign * (asked << shift), shape) for sign, shift, shape in terms]
        case Concat():
            axis = layer.axis + 1 if layer.axis >= 0 else layer.axis
            sizes = [shape[layer.axis] for shape in shapes]
            parts = np.split(asked, np.cumsum(sizes)[:-1], axis)
            return [part << shift for part, shift in zip(parts, layer.shifts(*signals), strict=True)]
    raise AssertionError(layer)


def product(left: Ints, right: Ints) -> Ints:
    """left @ right, by BLAS where every sum is an integer that float64 holds."""
    largest = int(np.abs(left).max(initial=0)) * max(abs(int(right.min())), abs(int(right.max()))) * right.shape[0]
    kind: Any = np.float64 if largest < 1 << 53 else np.int64
    found: Ints = (left.astype(kind) @ right.astype(kind)).astype(np.int64)
    return found


def _conv(layer: Conv, shape: tuple[int, ...], asked: Ints) -> Ints:
    window, groups = layer.window, layer.groups
    rows, per_group = layer.weight.shape[0] // groups, layer.weight.shape[1]
    padded = _padded(window, shape, len(asked))
    for tap in itertools.product(*(range(k) for k in window.kernel)):
        target = padded[_everywhere(_met(window, tap, asked.shape[2:]))]
        for group in range(groups):
            weight = layer.weight.transpose(*range(2, layer.weight.ndim), 0, 1)[tap][group * rows : (group + 1) * rows]
            part = np.moveaxis(asked[:, group * rows : (group + 1) * rows], 1, -1)
            target[:, group * per_group : (group + 1) * per_group] += np.moveaxis(product(part, weight), -1, 1)
    return _cropped(window, shape, padded)


def _pool(window: Window, shape: tuple[int, ...], asked: Ints) -> Ints:
    padded = _padded(window, shape, len(asked))
    for tap in itertools.product(*(range(k) for k in window.kernel)):
        padded[_everywhere(_met(window, tap, asked.shape[2:]))] += asked
    return _cropped(window, shape, padded)


def _padded(window: Window, shape: tuple[int, ...], count: int) -> Ints:
    sizes = [size + sum(pads) for size, pads in zip(shape[1:], window.pads, strict=True)]
    return np.zeros((count, shape[0], *sizes), np.int64)


def _met(window: Window, tap: tuple[int, ...], out: tuple[int, ...]) -> tuple[slice, ...]:
    """The elements of the padded input that one tap of the kernel meets, over all positions."""
    places = zip(tap, window.dilation, window.stride, out, strict=True)
    return tuple(slice(k * dilation, k * dilation + stride * (size - 1) + 1, stride) for k, dilation, stride, size in places)


def _cropped(window: Window, shape: tuple[int, ...], padded: Ints) -> Ints:
    spans = (slice(before, before + size) for (before, _), size in zip(window.pads, shape[1:], strict=True))
    return padded[_everywhere(spans)]


def _everywhere(spans: Iterable[slice]) -> tuple[slice, ...]:
    """These elements of the spatial axes in all samples and channels."""
    return (slice(None), slice(None), *spans)


def _unbroadcast(asked: Ints, shape: tuple[int, ...]) -> Ints:
    """Sum over the axes along which a sample was repeated."""
    extra = asked.ndim - 1 - len(shape)
    asked = asked.sum(axis=tuple(range(1, 1 + extra))) if extra else asked
    repeated = tuple(i + 1 for i, size in enumerate(shape) if size == 1 and asked.shape[i + 1] > 1)
    return asked.sum(axis=repeated, keepdims=True) if repeated else asked


def one_hot(layer: Linear | Conv, shape: tuple[int, ...], channels: Ints) -> Ints:
    """One output of each channel (N, *shape): of a convolution the one in the middle, of a linear map all positions."""
    wanted = np.zeros((len(channels), *shape), np.int64)
    rows = np.arange(len(channels))
    if isinstance(layer, Linear):
        np.moveaxis(wanted, -1, 1)[rows, channels] = 1
    else:
        middle = tuple(size // 2 for size in shape[1:])
        wanted.transpose(*range(2, wanted.ndim), 0, 1)[middle][rows, channels] = 1
    return wanted

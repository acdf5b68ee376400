"""Torch functions that add signals, and add or multiply constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qleaky.tracing.events import Event, Ref
from qleaky.tracing.operations import operation, unknown
from qleaky.tracing.symbols import Symbol, Symbols, constant


@operation("add", "__add__", "__radd__", "__iadd__")
def add(symbols: Symbols, event: Event) -> Symbol:
    """a + b."""
    return _sum(symbols, event, event.argument(0, "input"), event.argument(1, "other"), (1, 1))


@operation("sub", "__sub__", "__isub__", "subtract")
def sub(symbols: Symbols, event: Event) -> Symbol:
    """a - b."""
    return _sum(symbols, event, event.argument(0, "input"), event.argument(1, "other"), (1, -1))


@operation("rsub", "__rsub__")
def rsub(symbols: Symbols, event: Event) -> Symbol:
    """b - a."""
    return _sum(symbols, event, event.argument(0, "input"), event.argument(1, "other"), (-1, 1))


def _sum(symbols: Symbols, event: Event, first: Any, second: Any, signs: tuple[int, int]) -> Symbol:
    if event.kwargs.get("alpha", 1) != 1:
        raise symbols.refuse(event, f"alpha={event.kwargs['alpha']}; multiply the term before adding it.")
    if isinstance(first, Ref) and isinstance(second, Ref) and not (_is_fixed(symbols, first) or _is_fixed(symbols, second)):
        terms = symbols.all_of([first, second], event)
        layout, _, _ = symbols.aligned(event, terms)
        shape = symbols.sample_shape(event, Symbol(terms[0].node, layout))
        return symbols.node(event, "add", terms, shape, signs=signs)
    if not isinstance(first, Ref) or _is_fixed(symbols, first):
        first, second, signs = second, first, (signs[1], signs[0])
    scale = None if signs[0] == 1 else torch.tensor(-1.0)
    return _affine(symbols, event, first, scale, _number(symbols, event, second) * signs[1])


@operation("mul", "__mul__", "__rmul__", "__imul__", "multiply")
def mul(symbols: Symbols, event: Event) -> Symbol:
    """x times constants."""
    x, factor = event.argument(0, "input"), event.argument(1, "other")
    if constant(factor) is None or not isinstance(x, Ref):
        x, factor = factor, x
    if constant(factor) is None:
        return unknown(symbols, event)
    return _affine(symbols, event, x, _number(symbols, event, factor), None)


@operation("div", "__truediv__", "true_divide", "divide", "__itruediv__")
def div(symbols: Symbols, event: Event) -> Symbol:
    """x divided by constants."""
    x, divisor = event.argument(0, "input"), event.argument(1, "other")
    if not isinstance(x, Ref) or constant(divisor) is None or event.kwargs.get("rounding_mode"):
        return unknown(symbols, event)
    return _affine(symbols, event, x, 1.0 / _number(symbols, event, divisor).double(), None)


@operation("neg", "negative", "__neg__")
def neg(symbols: Symbols, event: Event) -> Symbol:
    """-x."""
    return _affine(symbols, event, event.argument(0, "input"), torch.tensor(-1.0), None)


def _is_fixed(symbols: Symbols, ref: Ref) -> bool:
    """Whether a tensor is a constant, and no batch of zeros with which a state begins."""
    return ref.constant is not None and not symbols.is_batch(ref.shape)


def _number(symbols: Symbols, event: Event, value: Any) -> Tensor:
    tensor = constant(value)
    if tensor is None:
        raise symbols.refuse(event, f"{event.name} with {value!r}, which is no number and no tensor.")
    return tensor.detach()


def _affine(symbols: Symbols, event: Event, x: Any, scale: Tensor | None, bias: Tensor | None) -> Symbol:
    if not isinstance(x, Ref):
        raise symbols.refuse(event, f"{event.name} of constants only; it is made inside forward, not fed by the input.")
    source = symbols.of(x)
    shape = symbols.sample_shape(event, source)
    constants = tuple(None if c is None else _per_sample(symbols, event, c, shape) for c in (scale, bias))
    if shape != source.node.shape:
        raise symbols.refuse(
            event, f"{event.name} with a constant widens the sample from {source.node.shape} to {shape}; expand it before."
        )
    return symbols.node(event, "affine", [source], shape, constants)


def _per_sample(symbols: Symbols, event: Event, numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Constants as one sample's: they must not differ between samples or steps."""
    extra = numbers.ndim - len(shape)
    if extra > 0 and any(size != 1 for size in numbers.shape[:extra]):
        if bool((numbers != numbers[(slice(0, 1),) * extra]).any()):
            what = f"{event.name} with constants of shape {tuple(numbers.shape)}, which differ between samples or steps"
            raise symbols.refuse(event, f"{what}; use the same for all.")
        numbers = numbers[(0,) * extra]
    return numbers.reshape(numbers.shape[max(numbers.ndim - len(shape), 0) :])

"""The torch functions that a step graph understands: each turns the symbols of its arguments into that of its result."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from qleaky.tracing.events import Event, Ref
from qleaky.tracing.symbols import BATCHES, Handler, Symbol, Symbols, Unsupported, constant

TABLE: dict[str, Handler] = {}
H = TypeVar("H", bound=Handler)


def operation(*names: str) -> Callable[[H], H]:
    """Register a handler for torch functions of these names."""

    def register(handler: H) -> H:
        TABLE.update(dict.fromkeys(names, handler))
        return handler

    return register


_HINTS = {
    "batch_norm": "fold it into the layer before it with qleaky.fold_batch_norm(net)",
    "relu": "spikes need none; drop it",
    "sigmoid": "only Leaky layers fire; drop it",
    "tanh": "only Leaky layers fire; drop it",
    "softmax": "read out spike counts or membranes; the largest is the same class",
    "log_softmax": "read out spike counts or membranes; the largest is the same class",
    "mul": "a product of two signals is no spiking layer; multiply with constants only",
    "matmul": "a product of two signals is no spiking layer; use Linear",
    "lstm": "only Leaky layers keep a state",
    "gru": "only Leaky layers keep a state",
    "layer_norm": "it has no integer form; train with BatchNorm and fold it",
    "group_norm": "it has no integer form; train with BatchNorm and fold it",
    "instance_norm": "it has no integer form; train with BatchNorm and fold it",
    "conv_transpose2d": "use Conv2d",
    "conv3d": "use Conv2d",
    "interpolate": "use Conv2d or pools",
    "upsample": "use Conv2d or pools",
    "flip": "reverse the input before the network",
    "roll": "shift the input before the network",
    "einsum": "use Linear",
    "bmm": "a product of two signals is no spiking layer; use Linear",
    "cumsum": "only Leaky layers keep a state over time",
    "embedding": "encode the input before the network",
    "softplus": "only Leaky layers fire; drop it",
    "gelu": "spikes need none; drop it",
    "leaky_relu": "spikes need none; drop it",
    "mem": "a layer's membrane is no data; pass its spikes",
    "in-place write": "a tensor that is read here, or a view of it, was changed before; write into a new one",
    "where": "thresholds belong into Leaky layers",
    "clamp": "saturation belongs into the state quantizers",
}
RANDOM = {"rand", "randn", "rand_like", "randn_like", "randint", "randint_like", "bernoulli", "normal", "poisson", "randperm"}


@operation("unknown")
def unknown(symbols: Symbols, event: Event) -> Symbol:
    """Anything else; what went into it is looked at too, so that all problems are listed at once."""
    for ref in event.refs:
        with contextlib.suppress(Unsupported):
            symbols.of(ref)
    name = event.function or event.name
    if event.name in RANDOM:
        raise symbols.refuse(
            event, f"{name} draws random numbers, which cannot be exported; encode the input before the network."
        )
    hint = _HINTS.get(event.name, "use Linear, Conv, pools, reshapes, sums, concatenation and Leaky layers")
    raise symbols.refuse(event, f"{name} cannot be exported; {hint}.")


@operation("zeros", "zeros_like", "new_zeros", "empty", "empty_like", "new_empty")
def zeros(symbols: Symbols, event: Event) -> Symbol:
    """What forward starts a state with, or a sequence that it will fill."""
    shape, kind = event.shapes[0], "empty" if "empty" in event.name else "zero"
    for layout in BATCHES:
        lead = symbols.lead(layout)
        if shape[: len(lead)] == lead:
            return Symbol(symbols.nodes.make(kind, shape=shape[len(lead) :], where=str(event.line)), layout)
    raise symbols.refuse(event, f"{event.name} of shape {shape} is no batch: (B, ...), or (T, B, ...).")


@operation(
    "clone",
    "detach",
    "contiguous",
    "requires_grad",
    "to",
    "float",
    "double",
    "cpu",
    "cuda",
    "data",
    "alias",
    "type_as",
    "real",
    "positive",
    "__pos__",
    "conj",
    "resolve_conj",
    "resolve_neg",
)
def unchanged(symbols: Symbols, event: Event) -> Symbol:
    """Functions that give back the same numbers."""
    if event.dtype not in (torch.float32, torch.float64):
        raise symbols.refuse(event, f"{event.name} turns data into {event.dtype}; keep it float32 or float64.")
    return symbols.of(event.refs[0])


@operation("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout")
def dropout(symbols: Symbols, event: Event) -> Symbol:
    """Dropped, unless forward asks for it in evaluation too."""
    if event.argument(2, "training", True):
        raise symbols.refuse(event, "dropout is applied in evaluation too (training=True), which is random; use nn.Dropout.")
    return symbols.of(event.refs[0])


@operation("linear")
def linear(symbols: Symbols, event: Event) -> Symbol:
    """W x + b."""
    x, weight, bias = event.argument(0, "input"), event.argument(1, "weight"), event.argument(2, "bias")
    return _linear(symbols, event, x, weight, bias)


@operation("matmul", "__matmul__", "mm")
def matmul(symbols: Symbols, event: Event) -> Symbol:
    """x @ W for a constant matrix W."""
    x, weight = event.argument(0, "input"), constant(event.argument(1, "other", event.kwargs.get("mat2")))
    if not isinstance(x, Ref) or weight is None or weight.ndim != 2:
        return unknown(symbols, event)
    return _linear(symbols, event, x, weight.t(), None)


def _linear(symbols: Symbols, event: Event, x: Any, weight: Any, bias: Any) -> Symbol:
    weight, bias = weights_of(symbols, event, weight, bias)
    if not isinstance(x, Ref):
        raise symbols.refuse(event, f"{event.name} of a constant with weights that depend on the data; weights are constants.")
    source = symbols.of(x)
    if not source.node.shape:
        raise symbols.refuse(event, f"{event.name} works along the batch axis; pass (B, features).")
    return symbols.node(event, "linear", [source], symbols.sample_shape(event, source), (weight, bias))


def weights_of(symbols: Symbols, event: Event, weight: Any, bias: Any) -> tuple[Tensor, Tensor | None]:
    """A layer's weight and bias, which must be constants."""
    held = constant(weight), constant(bias)
    if held[0] is None or (bias is not None and held[1] is None) or not event.refs:
        raise symbols.refuse(event, "the weights depend on the data; a layer's weights are constants.")
    return held[0], held[1]


@operation("sum", "mean")
def over_time(symbols: Symbols, event: Event) -> Symbol:
    """A sum or mean over all steps: a readout, if nothing but forward's result depends on it."""
    source = symbols.of(event.refs[0])
    dim = event.argument(1, "dim")
    axis = source.layout.time_axis
    if axis is None or dim not in (axis, (axis,), [axis]) or event.argument(2, "keepdim", False):
        raise symbols.refuse(event, f"{event.name} along axes of a sample cannot be exported; use a Linear layer or a pool.")
    return Symbol(symbols.nodes.make(f"time_{event.name}", source.node, shape=source.node.shape, where=event.where))


@operation("layer")
def layer(symbols: Symbols, event: Event) -> Symbol:
    """A leaf layer that is no Leaky: a quantizer on the input, or a Brevitas layer."""
    from qleaky.tracing.leaf_layers import leaf_layer

    return leaf_layer(symbols, event)

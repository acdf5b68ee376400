"""A network's layers as operations of one step, those that do not move first."""

from __future__ import annotations

from collections.abc import Iterator

from qleaky.export.c.context import Context
from qleaky.export.c.convolving import conv_operation
from qleaky.export.c.operations import Operation
from qleaky.export.c.shaping import keeping_operation, neurons_operation, shaping_operation
from qleaky.export.c.weighted import linear_operation
from qleaky.integer.layers import LIF, Delay, Layer
from qleaky.integer.shaping import AveragePool, Reshape
from qleaky.integer.weighted import Conv, Linear


def operations(context: Context) -> tuple[Operation, ...]:
    """All functions of a step, in order: what the first step after a reset runs, then what each step runs."""
    kept = [keeping_operation(context, name) for name in context.inputs if context.kept(name)]
    found = [*kept, *_of_layers(context)]
    return tuple(sorted(found, key=lambda operation: operation.moving))


def _of_layers(context: Context) -> Iterator[Operation]:
    """A layer with weights runs where the pool and the neurons stand that alone read it."""
    chains: dict[str, tuple[Linear | Conv, AveragePool | None]] = {}
    for layer in context.network.layers:
        if layer.name not in context.needed or isinstance(layer, (Reshape, Delay)):
            continue
        before = chains.pop(context.root(layer.inputs[0]), None)
        if isinstance(layer, (Linear, Conv)):
            before = (layer, None)
        elif before is not None and isinstance(layer, AveragePool):
            before = (before[0], layer)
        if before is None:
            yield neurons_operation(context, layer) if isinstance(layer, LIF) else shaping_operation(context, layer)
        elif not isinstance(layer, LIF) and _goes_on(context, layer):
            chains[layer.name] = before
        else:
            yield _weighted(context, *before, layer if isinstance(layer, LIF) else None)


def _goes_on(context: Context, layer: Layer) -> bool:
    """Whether one layer alone reads ``layer``, and takes its numbers as they come."""
    readers = context.consumers[layer.name]
    if len(readers) != 1:
        return False
    if isinstance(layer, Conv) and isinstance(readers[0], AveragePool):
        return readers[0].input == layer.name
    return isinstance(readers[0], LIF) and context.moving(layer.name)


def _weighted(context: Context, layer: Linear | Conv, pool: AveragePool | None, lif: LIF | None) -> Operation:
    if isinstance(layer, Linear):
        return linear_operation(context, layer, lif)
    return conv_operation(context, layer, pool, lif)

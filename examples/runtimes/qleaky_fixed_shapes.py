"""For compilers that want every length: a model is compiled anew for each shape of inputs that comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Compiled = Callable[[Arrays], Mapping[str, Any]]


class ByShape:
    """An executor: ``compiled(model)`` gets ``model`` with the lengths of the inputs at hand, once for each of their shapes."""

    def __init__(self, model: onnx.ModelProto, compiled: Callable[[onnx.ModelProto], Compiled]) -> None:
        self._model, self._compiled = model, compiled
        self._made: dict[Any, Compiled] = {}

    def run(self, arrays: Arrays) -> Mapping[str, Any]:
        """All outputs by name."""
        key = tuple(sorted((name, array.shape) for name, array in arrays.items()))
        if key not in self._made:
            self._made[key] = self._compiled(with_lengths(self._model, arrays))
        return self._made[key](arrays)


def with_lengths(model: onnx.ModelProto, arrays: Arrays) -> onnx.ModelProto:
    """The model with a number in place of each axis that had a name alone."""
    lengths = {
        dim.dim_param: length
        for value in model.graph.input
        for dim, length in zip(value.type.tensor_type.shape.dim, arrays[value.name].shape, strict=True)
        if dim.dim_param
    }
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for graph in _graphs(result.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param in lengths:
                    dim.dim_value = lengths[dim.dim_param]
    return onnx.shape_inference.infer_shapes(result, data_prop=True)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for attribute in (attribute for node in graph.node for attribute in node.attribute if attribute.HasField("g")):
        yield from _graphs(attribute.g)

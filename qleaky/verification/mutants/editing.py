"""Changing a copy of a model: nodes put in, inputs turned to other values, constants that one node alone sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from qleaky.verification.mutants.reading import body_of

PREFIX = "mutant"


class Editor:
    """A copy of ``model`` on which faults are carried out."""

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self._count = 0
        self._graphs = [self.model.graph, *(body for node in self.model.graph.node if (body := body_of(node)) is not None)]

    def node(self, name: str) -> NodeProto:
        """The node that makes a value."""
        found: NodeProto = next(node for graph in self._graphs for node in graph.node if name in node.output)
        return found

    def constant(self, numbers: Any, dtype: Any) -> str:
        """A new initializer."""
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(numbers, dtype), name := self._name()))
        return name

    def replace(self, tensor: TensorProto, numbers: NDArray[Any]) -> None:
        """Other numbers in an initializer of any width."""
        found = next(each for each in self.model.graph.initializer if each.name == tensor.name)
        if tensor.data_type in (TensorProto.INT2, TensorProto.INT4):
            new = helper.make_tensor(tensor.name, tensor.data_type, list(tensor.dims), numbers.reshape(-1).tolist())
        else:
            new = numpy_helper.from_array(np.ascontiguousarray(numbers), tensor.name)
        found.CopyFrom(new)

    def take(self, name: str, slot: int, value: str) -> None:
        """Let the node that makes ``name`` take ``value``."""
        self.node(name).input[slot] = value

    def before(self, name: str, kind: str, *inputs: str, **attributes: Any) -> str:
        """A new node in front of the one that makes ``name``; its output."""
        graph = next(graph for graph in self._graphs if any(name in node.output for node in graph.node))
        place = next(i for i, node in enumerate(graph.node) if name in node.output)
        graph.node.insert(place, helper.make_node(kind, list(inputs), [made := self._name()], **attributes))
        return made

    def hide(self, name: str) -> str:
        """Give what makes ``name`` another name, and let an Identity make it of that; the other name."""
        graph = next(graph for graph in self._graphs if any(name in node.output for node in graph.node))
        place = next(i for i, node in enumerate(graph.node) if name in node.output)
        node, hidden = graph.node[place], self._name()
        node.output[list(node.output).index(name)] = hidden
        graph.node.insert(place + 1, helper.make_node("Identity", [hidden], [name]))
        return hidden

    def become(self, name: str, kind: str, *inputs: str, **attributes: Any) -> None:
        """Another operator for the node that makes ``name``."""
        node = self.node(name)
        del node.input[:], node.attribute[:]
        node.op_type = kind
        node.input.extend(inputs)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())

    def data(self) -> bytes:
        """The changed model."""
        data: bytes = self.model.SerializeToString(deterministic=True)
        onnx.checker.check_model(data, full_check=True)
        return data

    def _name(self) -> str:
        self._count += 1
        return f"{PREFIX}_{self._count}"

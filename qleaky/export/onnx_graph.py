"""A thin builder over onnx-ir: typed values with stable names, shared constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

OPSET = 21
IR_VERSION = 10

Dim = int | str
Shape = tuple[Dim, ...]


class GraphBuilder:
    """Collects the nodes and constants of one graph, in order; names are unique and the same at every run."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._count = 0

    def input(self, name: str, dtype: Any, shape: Shape) -> ir.Value:
        """A graph input."""
        value = _value(name, dtype, shape)
        self.inputs.append(value)
        return value

    def output(self, name: str, value: ir.Value, dtype: Any, shape: Shape) -> None:
        """A graph output called ``name``, which is ``value``."""
        self.outputs.append(self.op("Identity", value, name=name, dtype=dtype, shape=shape))

    def constant(self, array: Any, dtype: Any, name: str | None = None) -> ir.Value:
        """An initializer; equal arrays are stored once."""
        data = np.ascontiguousarray(np.asarray(array, dtype=dtype)).reshape(np.shape(array))
        key = (data.dtype.str, data.shape, data.tobytes())
        if key not in self._constants:
            value = _value(name or f"const_{len(self._constants)}", data.dtype, data.shape)
            value.const_value = ir.tensor(data, name=value.name)
            self._constants[key] = value
        return self._constants[key]

    def op(
        self,
        kind: str,
        *inputs: ir.Value,
        name: str | None = None,
        dtype: Any = None,
        shape: Shape | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """A node with one output."""
        return self.ops(kind, inputs, [name or self._name(kind)], dtype, shape, attributes)[0]

    def split(self, value: ir.Value, parts: int) -> list[ir.Value]:
        """``value`` in ``parts`` equal pieces along axis 0."""
        if parts == 1:
            return [value]
        names = [self._name("Split") for _ in range(parts)]
        return self.ops("Split", (value,), names, None, None, {"axis": 0, "num_outputs": parts})

    def ops(
        self,
        kind: str,
        inputs: tuple[ir.Value, ...],
        names: list[str],
        dtype: Any,
        shape: Shape | None,
        attributes: dict[str, Any],
    ) -> list[ir.Value]:
        """A node with named outputs."""
        outputs = [_value(name, dtype, shape) for name in names]
        self.nodes.append(ir.node(kind, list(inputs), attributes=attributes, outputs=outputs))
        return outputs

    def model(self, name: str, metadata: dict[str, str]) -> ir.Model:
        """The finished model."""
        graph = ir.Graph(
            self.inputs,
            self.outputs,
            nodes=self.nodes,
            initializers=list(self._constants.values()),
            opset_imports={"": OPSET},
            name=name,
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="qleaky")
        model.metadata_props.update(metadata)
        return model

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


def _value(name: str, dtype: Any, shape: Shape | None) -> ir.Value:
    kind = None if dtype is None else ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
    return ir.Value(name=name, type=kind, shape=None if shape is None else ir.Shape(shape))

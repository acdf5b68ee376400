"""Building ONNX graphs: nodes in order, constants stored once, weights in the narrowest type that holds them."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from qleaky.errors import InputError, LoweringError

OPSET, OPSET_INT2 = 21, 25
IR_VERSION, IR_VERSION_INT2 = 10, 13
MAX_BYTES = (1 << 31) - 1
BATCH, TIME = "batch", "time"

Dim = int | str | None
Shape = tuple[Dim, ...]
KINDS: dict[np.dtype[Any], int] = {
    np.dtype(name): int(getattr(TensorProto, kind))
    for name, kind in {
        "bool": "BOOL", "int8": "INT8", "uint8": "UINT8", "int16": "INT16", "uint16": "UINT16", "int32": "INT32",
        "uint32": "UINT32", "int64": "INT64", "float32": "FLOAT", "float64": "DOUBLE",
    }.items()
}  # fmt: skip


class Graph:
    """One graph, or the body of a Scan inside ``root``; constants and names are the root's, and the same at every run."""

    def __init__(self, root: Graph | None = None) -> None:
        self.root = root or self
        self.packs = True  # weights below 8 bits are stored as such
        self._model = onnx.ModelProto()
        self.proto = self._model.graph
        if root is None:
            self._names: Counter[str] = Counter()
            self._taken: set[str] = set()
            self._stored: dict[Any, str] = {}
            self._seen: dict[tuple[int, str], tuple[Any, str]] = {}
            self._bytes = 0
            self._opset = OPSET

    def body(self) -> Graph:
        """A graph for the body of a Scan: it may use every value of this one."""
        body = Graph(self.root)
        body.proto.name = "step"
        return body

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """A node with one output; its name."""
        if name:
            self._claim(name)
        return self.ops(kind, inputs, [name or self.name(kind)], **attributes)[0]

    def ops(self, kind: str, inputs: tuple[str, ...], outputs: list[str], **attributes: Any) -> list[str]:
        """A node with several outputs; their names."""
        node = self.proto.node.add()
        node.op_type = kind
        node.input.extend(inputs)
        node.output.extend(outputs)
        for key in sorted(attributes):
            node.attribute.append(helper.make_attribute(key, attributes[key]))
        return outputs

    def cast(self, value: str, dtype: Any, name: str | None = None) -> str:
        """``value`` in another type."""
        return self.op("Cast", value, name=name, to=KINDS[np.dtype(dtype)])

    def split(self, value: str, parts: int) -> list[str]:
        """``value`` in equal pieces along axis 0."""
        if parts == 1:
            return [value]
        return self.ops("Split", (value,), [self.name("Split") for _ in range(parts)], axis=0, num_outputs=parts)

    def joined(self, pieces: list[str]) -> str:
        """Pieces one behind the other along axis 0."""
        return pieces[0] if len(pieces) == 1 else self.op("Concat", *pieces, axis=0)

    def reshaped(self, value: str, *shape: int) -> str:
        """``value`` with another shape; -1 is what is left."""
        return self.op("Reshape", value, self.constant(list(shape), np.int64))

    def name(self, kind: str) -> str:
        """A name that no other value has."""
        root = self.root
        while True:
            root._names[kind] += 1
            name = f"{kind}_{root._names[kind]}"
            if name not in root._taken:
                return name

    def constant(self, numbers: Any, dtype: Any, name: str | None = None) -> str:
        """An initializer; equal numbers are stored once. An array must not change afterwards."""
        root, dtype = self.root, np.dtype(dtype)
        seen = root._seen.get((id(numbers), dtype.str))
        if seen is not None:
            return seen[1]
        data = np.ascontiguousarray(np.asarray(numbers).astype(dtype)).reshape(np.shape(numbers))
        stored = root._store(data, KINDS[dtype], data.shape, name)
        if isinstance(numbers, np.ndarray):
            root._seen[id(numbers), dtype.str] = numbers, stored  # holding the array keeps its id
        return stored

    def weight(self, codes: NDArray[Any], dtype: Any, name: str) -> str:
        """Integer codes as ``dtype``, stored in the narrowest ONNX type that holds them, or them without trailing zeros."""
        root, dtype = self.root, np.dtype(dtype)
        seen = root._seen.get((id(codes), dtype.str))
        if seen is None:
            shift = _useful_shift(codes) if root.packs else 0
            kind, data = _narrowest(codes >> shift if shift else codes, packs=root.packs)
            if kind == TensorProto.INT2:
                root._opset = OPSET_INT2
            stored = root._store(data, kind, codes.shape, name)
            value = stored if kind == KINDS[dtype] else root.cast(stored, dtype, f"{name}.{dtype.name}")
            value = root.op("Mul", value, root.constant(1 << shift, dtype)) if shift else value
            seen = root._seen[id(codes), dtype.str] = codes, value
        return seen[1]

    def scaled_weight(self, codes: NDArray[Any], exponent: int, name: str) -> str:
        """Integer codes times 2**exponent in float32, stored as codes: runtimes fold what follows once."""
        weight = self.weight(codes, np.float32, name)
        if exponent == 0:
            return weight
        root, key = self.root, (id(codes), f"times 2**{exponent}")
        if key not in root._seen:
            factor = root.constant(2.0**exponent, np.float32)
            root._seen[key] = codes, root.op("Mul", weight, factor)
        return root._seen[key][1]

    def _store(self, data: NDArray[Any], kind: int, shape: tuple[int, ...], name: str | None) -> str:
        key = kind, shape, hashlib.sha256(data.reshape(-1).view(np.uint8).data).digest()
        if key in self._stored:
            return self._stored[key]
        self._bytes += data.nbytes
        if self._bytes > MAX_BYTES:
            raise LoweringError(
                f"The network's numbers take more than {MAX_BYTES:,} bytes, the most that one ONNX file can hold. Use fewer "
                f"bits per weight, or split the network."
            )
        tensor = self.proto.initializer.add()
        stored = name if name and name not in self._taken else self.name("const")
        tensor.name = self._stored[key] = stored
        self._taken.add(stored)
        tensor.data_type = kind
        tensor.dims.extend(shape)
        tensor.raw_data = data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes()
        return stored

    def input(self, name: str, dtype: Any, shape: Shape) -> str:
        """A graph input."""
        self._claim(name)
        self.proto.input.append(typed(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: Any, shape: Shape) -> None:
        """A graph output called ``name``, which is ``value``."""
        self.op("Identity", value, name=name)
        self.proto.output.append(typed(name, dtype, shape))

    def _claim(self, name: str) -> None:
        if name in self.root._taken:
            raise InputError(f"Two values of the graph would be called {name!r}; give an input or a layer another name.")
        self.root._taken.add(name)

    def describe(self, value: str, dtype: Any, shape: Shape) -> None:
        """Record type and shape of a value in the file."""
        self.proto.value_info.append(typed(value, dtype, shape))

    def model(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished model."""
        self.proto.name = name
        narrow = self._opset == OPSET_INT2
        model = self._model
        model.ir_version, model.producer_name = IR_VERSION_INT2 if narrow else IR_VERSION, "qleaky"
        model.opset_import.add(domain="", version=self._opset)
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        return model


def typed(name: str, dtype: Any, shape: Shape) -> onnx.ValueInfoProto:
    """A name with its type and shape."""
    return helper.make_tensor_value_info(name, KINDS[np.dtype(dtype)], shape)


def _useful_shift(codes: NDArray[Any]) -> int:
    """The number of zero bits in which all codes end, if they take a narrower type without them: a fine bias shifts weights."""
    union = int(np.bitwise_or.reduce(codes, axis=None))
    shift = (union & -union).bit_length() - 1
    if shift <= 0 or _narrowest(codes >> shift, packs=True)[0] == _narrowest(codes, packs=True)[0]:
        return 0
    return shift


def _narrowest(codes: NDArray[Any], *, packs: bool) -> tuple[int, NDArray[Any]]:
    """The narrowest ONNX type that holds the codes, and its bytes: INT2 and INT4 are packed, the first code lowest."""
    low, high = int(codes.min()), int(codes.max())
    for bits, kind in ((2, TensorProto.INT2), (4, TensorProto.INT4)) if packs else ():
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
            return int(kind), _packed(codes, bits)
    dtype = np.min_scalar_type(-max(-low, high + 1, 1))
    return KINDS[dtype], np.ascontiguousarray(codes.astype(dtype))


def _packed(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    per_byte, mask = 8 // bits, (1 << bits) - 1
    flat = codes.reshape(-1).astype(np.int8).view(np.uint8) & mask
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    padded[: flat.size] = flat
    lanes = padded.reshape(-1, per_byte)
    packed = lanes[:, 0].copy()
    for lane in range(1, per_byte):
        packed |= lanes[:, lane] << (lane * bits)
    return packed

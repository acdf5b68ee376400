"""The JSON Schema of the structure inside a ``.qleaky`` file, made from the types that read it.

``python -m qleaky.integer.schema`` prints the file that is kept as ``export/schema/qleaky.schema.json``.
"""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Any

import msgspec
import numpy as np

from qleaky.integer import storage
from qleaky.integer.float_network import FloatNetwork
from qleaky.integer.network import IntegerNetwork

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Version = Annotated[int, msgspec.Meta(ge=storage.VERSION, le=storage.VERSION)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class QleakyFile(msgspec.Struct, frozen=True):
    """The text under the key ``qleaky`` in the metadata of a ``.qleaky`` file, which is a safetensors file.

    ``digest`` is that of ``network`` and its arrays; an array appears as the name of a tensor of the file.
    """

    version: Version
    digest: Digest
    network: IntegerNetwork | FloatNetwork


class Tensor(msgspec.Struct, frozen=True):
    """An array: the name of a tensor of the file."""

    tensor: Annotated[str, msgspec.Meta(pattern="^[0-9]{4,}$")]


def schema() -> dict[str, Any]:
    """The schema of a whole file's structure."""
    (root,), parts = msgspec.json.schema_components([QleakyFile], schema_hook=_arrays)
    parts |= msgspec.json.schema_components([Tensor])[1]
    return {"$schema": DIALECT, **root, "$defs": {name: strict(parts[name]) for name in sorted(parts)}}


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def strict(part: dict[str, Any]) -> dict[str, Any]:
    """A type whose fields are all there, and no others: a file spells out every default."""
    part = part | {"description": inspect.cleandoc(part["description"])}
    if "properties" not in part:
        return part
    fields = {name: {k: v for k, v in field.items() if k != "default"} for name, field in part["properties"].items()}
    return part | {"properties": fields, "required": list(fields), "additionalProperties": False}


def _arrays(kind: type) -> dict[str, Any]:
    if kind is np.ndarray or getattr(kind, "__origin__", None) is np.ndarray:
        return {"$ref": "#/$defs/Tensor"}
    raise NotImplementedError(kind)


if __name__ == "__main__":
    print(schema_text(), end="")

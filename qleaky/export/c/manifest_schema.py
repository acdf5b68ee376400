"""The JSON Schema of ``MANIFEST.json`` in a folder of C, made from the types that read it.

``python -m qleaky.export.c.manifest_schema`` prints the file that is kept as ``export/schema/c-manifest.schema.json``.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from qleaky.export.c.manifest import Manifest
from qleaky.integer.schema import DIALECT, strict


def schema() -> dict[str, Any]:
    """The schema of the whole file."""
    (root,), parts = msgspec.json.schema_components([Manifest])
    return {"$schema": DIALECT, **root, "$defs": {name: strict(parts[name]) for name in sorted(parts)}}


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")

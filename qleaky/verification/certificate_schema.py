"""The JSON Schema of ``certificate.json``, made from the types that read it.

``python -m qleaky.verification.certificate_schema`` prints the file that is kept as ``export/schema/certificate.schema.json``.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from qleaky.integer.schema import DIALECT, strict
from qleaky.verification.certificate import Certificate


def schema() -> dict[str, Any]:
    """The schema of a certificate."""
    (root,), parts = msgspec.json.schema_components([Certificate])
    return {"$schema": DIALECT, **root, "$defs": {name: strict(parts[name]) for name in sorted(parts)}}


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")

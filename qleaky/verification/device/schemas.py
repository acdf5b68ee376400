"""The JSON Schemas of a bundle's manifest and of a device's report, made from the types that read them.

``python -m qleaky.verification.device.schemas export/schema`` writes ``manifest.schema.json`` and ``report.schema.json`` there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from qleaky.export.bundle_manifest import Manifest
from qleaky.integer.schema import DIALECT, strict
from qleaky.verification.device.report_file import DeviceFile

FILES: dict[str, type[msgspec.Struct]] = {"manifest.schema.json": Manifest, "report.schema.json": DeviceFile}


def schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of one of the two."""
    (root,), parts = msgspec.json.schema_components([kind])
    return {"$schema": DIALECT, **root, "$defs": {name: strict(parts[name]) for name in sorted(parts)}}


def schema_text(kind: type[msgspec.Struct]) -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, kind in FILES.items():
        (Path(sys.argv[1]) / name).write_text(schema_text(kind))

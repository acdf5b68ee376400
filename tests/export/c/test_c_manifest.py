"""MANIFEST.json: its schema is the code's, it comes back as it was written, and what is at odds with itself is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c_folders import manifest
from json_schemas import KNOWN, problems

from qleaky.errors import ArtefactError
from qleaky.export.c.manifest import Manifest
from qleaky.export.c.manifest_schema import schema, schema_text

KEPT = Path(__file__).resolve().parents[3] / "export" / "schema" / "c-manifest.schema.json"


def values() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest({"a.c": b"1"}).encode())
    return found


def test_the_kept_schema_is_the_one_of_the_code() -> None:
    command = "python -m qleaky.export.c.manifest_schema > export/schema/c-manifest.schema.json"
    assert KEPT.read_text() == schema_text(), f"run: {command}"


def test_the_schema_uses_keywords_that_the_check_knows() -> None:
    used = {key for part in schema()["$defs"].values() for key in part}
    used |= {key for part in schema()["$defs"].values() for field in part.get("properties", {}).values() for key in field}
    assert used - KNOWN == {"minLength", "maxLength", "maxProperties", "propertyNames"} & used


def test_a_manifest_satisfies_the_schema() -> None:
    assert problems(values(), schema(), schema()["$defs"]) == []


def test_an_independent_validator_agrees() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(schema()).validate(values())


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a field more": (lambda v: v.update(more=1), "unknown field `more`"),
    "a field less": (lambda v: v.pop("layers"), "missing required field `layers`"),
    "a name that is no identifier": (lambda v: v.update(name="a b"), r"`\$\.name`"),
    "a digest of other letters": (lambda v: v["network"].update(digest="x" * 64), r"network\.digest"),
    "a file above the folder": (lambda v: v["files"].update({"../a": v["files"]["a.c"]}), "matching regex"),
    "a file twice": (lambda v: v["files"].update({"A.c": v["files"]["a.c"]}), "names a file twice, or itself"),
    "itself": (lambda v: v["files"].update({"manifest.json": v["files"]["a.c"]}), "names a file twice, or itself"),
    "no vectors": (lambda v: v["vectors"].update(searched=0), "it has no golden vectors at all"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_manifest_that_was_changed_is_refused(what: str) -> None:
    change, message = CHANGES[what]
    changed = values()
    change(changed)
    with pytest.raises(ArtefactError, match=message):
        Manifest.decode(json.dumps(changed).encode())

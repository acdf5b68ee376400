"""What a JSON Schema forbids, for the keywords that the schemas of this repository use, and no others."""

import re
from typing import Any

KINDS = {
    "array": list,
    "object": dict,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
KNOWN = {
    *("$schema", "$ref", "$defs", "title", "description", "type", "enum", "anyOf", "properties", "required", "default"),
    *("additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minimum", "maximum", "pattern", "discriminator"),
}


def problems(value: Any, rule: dict[str, Any], parts: dict[str, Any], where: str = "file") -> list[str]:
    """What of ``value`` a rule forbids, whose references are to ``parts``."""
    if "$ref" in rule:
        return problems(value, parts[rule["$ref"].removeprefix("#/$defs/")], parts, where)
    if "anyOf" in rule:
        tried = [problems(value, option, parts, where) for option in rule["anyOf"]]
        return [] if not all(tried) else min(tried, key=len)
    kinds = KINDS.get(rule.get("type", ""), object)
    if not isinstance(value, kinds) or (isinstance(value, bool) and rule.get("type") in ("integer", "number")):  # type: ignore[arg-type]
        return [f"{where}: {value!r} is no {rule['type']}"]
    found = [f"{where}: {value!r}"] if "enum" in rule and value not in rule["enum"] else []
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        found.append(f"{where}: {value!r} is not like {rule['pattern']}")
    if isinstance(value, int) and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        found.append(f"{where}: {value}")
    if isinstance(value, list):
        rules = rule.get("prefixItems") or [rule.get("items", {})] * len(value)
        found += [] if len(rules) == len(value) else [f"{where}: {len(value)} items"]
        pairs = enumerate(zip(value, rules, strict=False))
        found += [p for i, (item, inner) in pairs for p in problems(item, inner, parts, f"{where}[{i}]")]
    if isinstance(value, dict):
        fields, others = rule.get("properties", {}), rule.get("additionalProperties", {})
        found += [f"{where}: {name} is missing" for name in rule.get("required", ()) if name not in value]
        for name, item in value.items():
            if name not in fields and others is False:
                found.append(f"{where}: {name} is unknown")
            else:
                found += problems(item, fields.get(name, others), parts, f"{where}.{name}")
    return found

"""Reading JSON that others wrote: no key twice, no depth or number without end, the fields of the type and no others."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from qleaky.errors import ArtefactError

LONGEST_NUMBER = 32
Decoded = TypeVar("Decoded")


def decode_strictly(data: bytes, wanted: type[Decoded], where: str, *, kind: str, version: int, limit: int) -> Decoded:
    """The JSON object in ``data`` as a ``wanted``.

    Args:
        data: UTF-8.
        wanted: a msgspec Struct with the fields ``kind`` and ``version``.
        where: what it is, for messages.
        kind: what its field ``kind`` must say.
        version: the latest version that this code reads; earlier ones are refused by the type.
        limit: the most bytes it may have.

    Raises:
        ArtefactError: it is not one, in one sentence.
    """
    if len(data) > limit:
        raise ArtefactError(f"{where} has {len(data):,} bytes, more than the {limit:,} it may have.")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_int=_integer, parse_float=_real, parse_constant=_constant
        )
        _check_characters(data, value)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{where} is damaged: it is no JSON of the kind that qleaky reads ({_short(error)}).") from error
    if not isinstance(value, dict) or value.get("kind") != kind:
        raise ArtefactError(f"{where} is no {kind}: it says of itself that it is something else, or nothing.")
    found = value.get("version")
    if isinstance(found, int) and not isinstance(found, bool) and found > version:
        raise ArtefactError(f"{where} has version {found}; this qleaky reads version {version}. Update qleaky.")
    try:
        return msgspec.convert(value, wanted, strict=True)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ArtefactError(f"{where} is damaged: {_short(error)}.") from error


def _check_characters(data: bytes, value: Any) -> None:
    """Refuse halves of characters, which JSON can escape and nothing can write."""
    if b"\\ud" in data.lower():
        json.dumps(value, ensure_ascii=False).encode("utf-8")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError("a number has too many digits")
    return int(text)


def _real(text: str) -> float:
    if len(text) > LONGEST_NUMBER:
        raise ValueError("a number has too many digits")
    return float(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _short(error: BaseException) -> str:
    """The error on one line that no terminal takes for a command."""
    text = "nested too deeply" if isinstance(error, RecursionError) else str(error).rstrip(".")
    return printable(text, 200)


def printable(text: str, most: int = 100) -> str:
    """Text of others for a message: control characters escaped, and no more than ``most`` characters."""
    shown = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)

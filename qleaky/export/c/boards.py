"""Boards by name: their core, flash and RAM. A core has neither; whether a network fits is a question about a board."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass

import msgspec

from qleaky._share import shared_folder
from qleaky.errors import InputError


@dataclass(frozen=True)
class Board:
    """A board of ``export/c/boards.toml``: bytes of flash, of RAM in one piece, and where these figures are from."""

    name: str
    title: str
    core: str
    flash: int
    ram: int
    source: str


def boards() -> dict[str, Board]:
    """All boards by name, in the order of the file."""
    tables = tomllib.loads((shared_folder("export") / "c" / "boards.toml").read_text(encoding="utf-8"))
    return {name: msgspec.convert({"name": name, **table}, Board) for name, table in tables.items()}


def board_named(name: str) -> Board:
    """A board.

    Raises:
        InputError: there is none of this name; the message lists them all.
    """
    known = boards()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"board={name!r} is unknown.{meant} Choose one of {', '.join(known)}.")
    return known[name]

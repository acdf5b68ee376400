"""Boards by name: their core, flash and RAM. A core has neither; whether a network fits is a question about a board."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass

import msgspec

from qleaky._share import shared_folder
from qleaky.errors import InputError
from qleaky.export.c.estimate import Estimate


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


def shortages(board: Board, found: Estimate, *, dsp: bool = False) -> list[str]:
    """What a board has too little of, with numbers; empty where the network fits."""
    core = found.on(board.core, dsp=dsp)
    needs = (("flash", found.flash(core), board.flash), ("RAM", found.ram(core), board.ram))
    return [f"{need:,} bytes of {what}, {need - has:,} more than its {has:,}" for what, need, has in needs if need > has]


def check_fit(board: Board, found: Estimate, *, dsp: bool = False) -> None:
    """Refuse a board that a network does not fit.

    Raises:
        InputError: it does not, with numbers and what helps.
    """
    if lacking := shortages(board, found, dsp=dsp):
        raise InputError(
            f"board={board.name!r} ({board.title}) cannot hold this network: it takes about {' and '.join(lacking)}. Use "
            f"weights or states of fewer bits, a smaller network, or a board with more; docs/microcontrollers.md lists them."
        )

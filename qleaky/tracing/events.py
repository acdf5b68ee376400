"""What happened in a forward pass, in order: torch functions and calls of leaf layers, on numbered tensors."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ref:
    """A tensor that depends on the network's arguments or states, by its number.

    One that depends only on zeros made inside forward may be the start of a state, or a constant: ``constant`` holds it.
    """

    number: int
    shape: tuple[int, ...]
    constant: Tensor | None = None


@dataclass(frozen=True)
class Line:
    """A line of the user's code."""

    file: str
    number: int

    def __str__(self) -> str:
        if not self.file:
            return ""
        text = linecache.getline(self.file, self.number).strip()
        return f"{Path(self.file).name}:{self.number}" + (f": {text}" if text else "")


NOWHERE = Line("", 0)


def place(path: str, line: str) -> str:
    """A module and a line of the user's code, as far as they are known."""
    return ", ".join([*([f"layer {path!r}"] if path else []), *([repr(line)] if line else [])]) or "forward"


@dataclass(frozen=True)
class Event:
    """One torch function, or one call of a leaf layer (``module``) by its ``name``: forward, sequence or reset_mem.

    Tensors of the graph in ``args`` and ``kwargs`` are :class:`Ref`; all others stand there themselves. ``outputs`` are the
    numbers of what came out, ``shapes`` their shapes; ``path`` is the module in which it happened.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    path: str
    line: Line
    module: nn.Module | None = None
    dtype: torch.dtype = torch.float32
    function: str = ""

    @property
    def where(self) -> str:
        """Module path and line, as error messages print them."""
        return place(self.path, str(self.line))

    @property
    def refs(self) -> list[Ref]:
        """All tensors of the graph that went in."""
        return list(_refs([self.args, self.kwargs]))

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _refs(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _refs(item)


@dataclass(frozen=True)
class Argument:
    """An argument of forward: its name, and its number and tensor where it is one."""

    name: str
    number: int
    value: Any


@dataclass(frozen=True)
class Trace:
    """One forward pass: its arguments, its events, the numbers of the tensors it returned (-1 for others).

    ``reads`` are functions that made Python values of the data, ``changes`` what forward did to the network in words, and
    ``edited`` the layers whose membrane it set itself; ``kept`` names tensors that it stored in attributes. ``arguments`` are
    time first, also where forward takes them ``batch_first``.
    """

    arguments: tuple[Argument, ...]
    events: tuple[Event, ...]
    returned: tuple[int, ...]
    reads: tuple[Event, ...]
    changes: tuple[str, ...]
    edited: frozenset[str]
    kept: tuple[str, ...] = ()
    batch_first: bool = False

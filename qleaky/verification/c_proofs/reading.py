"""Functions of C text as syntax trees: each is cut out of the text as it stands, and parsed alone by pycparser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from qleaky.errors import InputError, missing

_INTEGERS = {
    "int8_t": "signed char",
    "uint8_t": "unsigned char",
    "int16_t": "short",
    "uint16_t": "unsigned short",
    "int32_t": "int",
    "uint32_t": "unsigned int",
}
_HEAD = re.compile(r"^(?:QLEAKY_INLINE\s+|static\s+(?:inline\s+)?)?(?:const\s+)?(\w+)\s+\**(\w+)\s*\(([^(){};]*)\)\s*\{", re.M)
_TYPEDEF = re.compile(r"^typedef\s+(u?int(?:8|16|32)_t)\s+(\w+)\s*;", re.M)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


class UnreadableError(InputError):
    """C text that a proof cannot rest on: a function that is missing, stands there twice, or uses what has no meaning here."""


@dataclass(frozen=True, eq=False)
class Source:
    """The text of a model, or of several files one after the other."""

    text: str
    _trees: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def plain(self) -> str:
        """The text without comments; lines stay where they are."""
        return _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), self.text)

    @cached_property
    def types(self) -> dict[str, str]:
        """Names of integer types -> the names of stdint.h."""
        own = {name: standard for standard, name in _TYPEDEF.findall(self.plain)}
        return {name: name for name in _INTEGERS} | own

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for found in _HEAD.finditer(self.plain):
            places.setdefault(found.group(2), []).append(found.start())
        return places

    def has(self, name: str) -> bool:
        """Whether the text defines a function."""
        return name in self._places

    def body(self, name: str) -> str:
        """The text of one function.

        Raises:
            UnreadableError: none, or several, of this name.
        """
        places = self._places.get(name, [])
        if len(places) != 1:
            problem = "does not define" if not places else f"defines {len(places)} times"
            raise UnreadableError(f"The C text {problem} a function {name}; a proof reads the one that is compiled.")
        start = places[0]
        depth, at = 0, self.plain.index("{", start)
        for end in range(at, len(self.plain)):
            depth += {"{": 1, "}": -1}.get(self.plain[end], 0)
            if depth == 0:
                return self.plain[start : end + 1]
        raise UnreadableError(f"The C function {name} has no end.")

    def function(self, name: str) -> Any:
        """The syntax tree (pycparser's FuncDef) of one function.

        Raises:
            UnreadableError: it is not there once, holds lines for the preprocessor, or is no C.
            MissingDependencyError: pycparser is not installed.
        """
        if name not in self._trees:
            self._trees[name] = self._parsed(name)
        return self._trees[name]

    def _parsed(self, name: str) -> Any:
        try:
            from pycparser import c_parser
        except ImportError as error:
            raise missing("a proof of C text", error) from error
        body = self.body(name)
        if re.search(r"^\s*#", body, re.M):
            raise UnreadableError(
                f"The C function {name} holds lines for the preprocessor; a proof can't tell which are compiled."
            )
        body = re.sub(r"\bQLEAKY_INLINE\b", "static", body)
        typedefs = "".join(f"typedef {_INTEGERS[standard]} {name};" for name, standard in self.types.items())
        try:
            tree = c_parser.CParser().parse(f"{typedefs}{body}", filename=name)
        except c_parser.ParseError as error:
            raise UnreadableError(f"The C function {name} cannot be parsed: {error}.") from error
        return tree.ext[-1]

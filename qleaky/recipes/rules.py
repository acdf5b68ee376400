"""What a value of a recipe may be: each rule reads a TOML value, or says in words what it should have been."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

LARGEST_WHOLE = (1 << 31) - 1
SMALLEST_NORMAL, LARGEST_FLOAT = 2.0**-126, (2 - 2.0**-23) * 2.0**127


class Rule(Protocol):
    """Reads one value; ``words`` completes the sentence "it must be ...", unless the error has words of its own."""

    @property
    def words(self) -> str:
        """What the value must be."""

    def read(self, value: Any) -> Any:
        """The value as the recipe holds it, or ValueError."""


@dataclass(frozen=True)
class Whole:
    """An integer from ``low`` to ``high``."""

    low: int
    high: int | None = None

    @property
    def words(self) -> str:
        """What the value must be."""
        return f"a whole number from {self.low} to {self.high}" if self.high is not None else f"a whole number >= {self.low}"

    def read(self, value: Any) -> int:
        """An int; booleans and 3.0 are none."""
        if type(value) is not int or value < self.low or (self.high is not None and value > self.high):
            raise ValueError
        if value > LARGEST_WHOLE:
            raise ValueError(f"at most {LARGEST_WHOLE}")
        return value


@dataclass(frozen=True)
class Real:
    """A finite number from ``low`` to ``high``; ``above`` leaves out ``low`` itself, ``below`` ``high``."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    @property
    def words(self) -> str:
        """What the value must be."""
        lower = f"{'>' if self.above else '>='} {self.low:g}"
        return f"a number {lower}" + ("" if self.high == math.inf else f" and {'<' if self.below else '<='} {self.high:g}")

    def read(self, value: Any) -> float:
        """A float; whole numbers are numbers too, and networks compute with it in float32."""
        if type(value) not in (int, float) or (type(value) is float and not math.isfinite(value)):
            raise ValueError
        if value and not SMALLEST_NORMAL <= abs(value) <= LARGEST_FLOAT:
            raise ValueError(f"0 or of a size from {SMALLEST_NORMAL:.3g} to {LARGEST_FLOAT:.3g}, as float32 holds them")
        if value < self.low or value > self.high or (self.above and value == self.low) or (self.below and value == self.high):
            raise ValueError
        return float(value)


@dataclass(frozen=True)
class OneOf:
    """One of some strings."""

    choices: tuple[str, ...]

    @property
    def words(self) -> str:
        """What the value must be."""
        return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)

    def read(self, value: Any) -> str:
        """The string itself."""
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError
        return value


@dataclass(frozen=True)
class Bits:
    """Bits of weights: a number, or the name of fewer levels."""

    words: str = 'a whole number from 2 to 8, "ternary" or "binary"'

    def read(self, value: Any) -> int | str:
        """2..8, "ternary" or "binary"."""
        return value if value in ("ternary", "binary") else Whole(2, 8).read(value)


@dataclass(frozen=True)
class YesNo:
    """A boolean."""

    words: str = "true or false"

    def read(self, value: Any) -> bool:
        """The boolean itself."""
        if type(value) is not bool:
            raise ValueError
        return value


@dataclass(frozen=True)
class Text:
    """A string of a certain form."""

    words: str
    pattern: str

    def read(self, value: Any) -> str:
        """The string itself."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError
        return value


@dataclass(frozen=True)
class Shape:
    """The shape of one sample at one time step."""

    words: str = "a list of one to four whole numbers >= 1, such as [784] or [1, 28, 28]"

    def read(self, value: Any) -> tuple[int, ...]:
        """The sizes."""
        if not isinstance(value, list) or not 1 <= len(value) <= 4:
            raise ValueError
        return tuple(Whole(1).read(size) for size in value)


@dataclass(frozen=True)
class Layers:
    """Layers in the order of the data: neurons of a dense layer, "16C5" convolutions, "AP2" and "MP2" pools."""

    words: str = 'a list of layers: 128 (dense), "16C5" (16 channels, kernel 5), "AP2", "MP2" (pools), the last one dense'
    pattern: str = r"[1-9]\d*C[1-9]\d*|[AM]P[1-9]\d*"

    def read(self, value: Any) -> tuple[int | str, ...]:
        """The layers as they stand."""
        if not isinstance(value, list) or not value or type(value[-1]) is not int:
            raise ValueError
        return tuple(self._layer(layer) for layer in value)

    def _layer(self, layer: Any) -> int | str:
        if isinstance(layer, str) and re.fullmatch(self.pattern, layer):
            return layer
        return Whole(1).read(layer)

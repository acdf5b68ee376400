"""How names and numbers are written on the page."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fractions import Fraction

LONGEST_NAME = 80
HIDDEN = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
)  # categories of Unicode that show as nothing, or turn what follows


def visible(name: object, longest: int = LONGEST_NAME) -> str:
    r"""A name as characters that all show: control and format characters, which could hide or turn text, as their numbers.

    >>> visible("fc1"), visible("a\u202eb\n")
    ('fc1', 'a\\u202eb\\u000a')
    """
    shown = "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in HIDDEN else c for c in str(name))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def number(value: float | str | None, digits: int = 6) -> str:
    """Whole numbers with commas, others with up to ``digits`` digits, and a dash for what is not known."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.{digits}g}"


def percent(part: int | None, whole: int) -> str:
    """The share of exact counts, with two decimals; 0 and 100 only where they are exact.

    >>> percent(0, 7), percent(1, 100_000), percent(99_999, 100_000), percent(7, 7)
    ('0 %', 'under 0.01 %', 'over 99.99 %', '100 %')
    """
    if part is None or whole == 0:
        return "–"
    share = Fraction(100 * part, whole)
    if share in (0, 100):
        return f"{int(share)} %"
    if share < Fraction(1, 100):
        return "under 0.01 %"
    return "over 99.99 %" if share > Fraction(9999, 100) else f"{float(share):.2f} %"


def per(total: int | None, samples: int) -> str:
    """A mean of whole numbers, rounded to a tenth where it is no whole number."""
    if total is None:
        return "–"
    mean = Fraction(total, samples)
    return f"{int(mean):,}" if mean.denominator == 1 else f"{float(mean):,.1f}"


def shape(sizes: tuple[int, ...]) -> str:
    """16 × 12 × 12."""
    return " × ".join(map(str, sizes)) or "1"


def file_size(count: int | None) -> str:
    """Bytes, with commas."""
    return "–" if count is None else f"{count:,} bytes"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def superscript(exponent: int) -> str:
    """An exponent as raised digits.

    >>> "2" + superscript(-24)
    '2⁻²⁴'
    """
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def plural(count: int, thing: str) -> str:
    """1 sample, 2 samples."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"

"""C identifiers: the prefix that a user chooses, and names made of layers' names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from qleaky.errors import InputError

MAX_NAME = 24  # C99 tells external names apart by their first 31 characters; `_membrane_sum` and its kin follow
_WORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof and and_eq asm bitand bitor bool catch class compl constexpr const_cast decltype delete dynamic_cast
    explicit export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public reinterpret_cast static_assert static_cast template this thread_local throw true try typeid typename typeof using
    virtual wchar_t xor xor_eq main
"""
KEYWORDS = frozenset(_WORDS.split())
# NAME.h would be found in place of these, by sources that include them: the headers of C, and Arduino's.
_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
    stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype arduino
"""
HEADERS = frozenset(_HEADERS.split())
DEVICES = frozenset(["aux", "con", "nul", "prn", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))])


def check_name(name: str) -> str:
    """A prefix of every symbol.

    Raises:
        InputError: it is no identifier of C and C++, or one that others own: the compiler, qleaky, C's headers, disks.
    """
    rule = f"letters, digits and underscores, a letter first, at most {MAX_NAME} characters, no word of C or C++"
    if not isinstance(name, str) or not re.fullmatch(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}", name):
        raise InputError(f"name={name!r} is no C identifier that can prefix every symbol: {rule}. Choose one such as 'model'.")
    if name in KEYWORDS or name.startswith("qleaky"):
        owner = "qleaky's own symbols begin so" if name.startswith("qleaky") else "it is a word of C or C++"
        raise InputError(f"name={name!r} cannot prefix symbols: {owner}. Choose another, such as 'model'.")
    if name.lower() in HEADERS | DEVICES:
        why = "sources would find it in place of that of C" if name.lower() in HEADERS else "Windows cannot make such a file"
        raise InputError(f"name={name!r} names the header {name}.h: {why}. Choose another, such as 'model'.")
    return name


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Layer names -> distinct C identifiers, which look like them.

    >>> identifiers(["lif1", "net.0", "net-0", "膜", "2nd"])
    {'lif1': 'lif1', 'net.0': 'net_0', 'net-0': 'net_0_2', '膜': 'layer', '2nd': 'layer_2nd'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:MAX_NAME]
        base = plain if plain[:1].isalpha() and plain not in KEYWORDS else f"layer_{plain}".rstrip("_")
        count, unique = 1, base
        while unique in taken:
            count += 1
            unique = f"{base}_{count}"
        found[name] = unique
        taken.add(unique)
    return found

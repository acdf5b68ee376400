"""C text: blocks, loops and functions as lists of lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDTH = 120


def block(head: str, body: Iterable[str]) -> list[str]:
    """``head { body }``, the body indented.

    >>> block("if (a)", ["b();"])
    ['if (a) {', '    b();', '}']
    """
    return [f"{head} {{", *(f"    {line}" if line else "" for line in body), "}"]


def loop(variable: str, count: int | str, body: Iterable[str], *, step: int = 1) -> list[str]:
    """A loop of ``variable`` from 0 to ``count`` - 1.

    >>> loop("k", 3, ["y[k] = x[k];"])
    ['for (uint32_t k = 0u; k < 3u; ++k) {', '    y[k] = x[k];', '}']
    """
    limit = f"{count}u" if isinstance(count, int) else count
    advance = f"++{variable}" if step == 1 else f"{variable} += {step}u"
    return block(f"for (uint32_t {variable} = 0u; {variable} < {limit}; {advance})", body)


def function(head: str, body: Sequence[str], comment: str) -> str:
    """A function with a comment before it.

    >>> print(function("void f(void)", ["g();"], "f = g"), end="")
    /* f = g */
    void f(void)
    {
        g();
    }
    """
    lines = "".join(f"    {line}\n" if line else "\n" for line in body)
    return f"{commented(comment)}{head}\n{{\n{lines}}}\n"


def commented(text: str) -> str:
    """A comment, on several lines where it is long; what would end it, or begin another, is taken apart."""
    plain = text.replace("*/", "* /").replace("/*", "/ *").replace("??/", "?? /")
    plain = plain.encode("ascii", "backslashreplace").decode()
    lines = [line for paragraph in plain.split("\n") for line in _wrapped(paragraph)]
    return "/* " + "\n".join([lines[0], *(f" * {line}".rstrip() for line in lines[1:])]) + " */\n"


def _wrapped(paragraph: str) -> list[str]:
    lines, line = [], ""
    for word in paragraph.split(" "):
        if line and len(line) + len(word) + 1 > WIDTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def listed(items: Iterable[str], width: int = WIDTH) -> str:
    """The elements of an array, in lines of at most ``width`` columns.

    >>> listed(["1", "2"])
    '    1, 2,'
    """
    lines = ["   "]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > width:
            lines.append("   ")
        lines[-1] += f" {item},"
    return "\n".join(lines)


def literal(value: int) -> str:
    """An int32_t constant; -2**31 has no literal of its own.

    >>> literal(5), literal(-3), literal(-(1 << 31))
    ('5', '-3', '(-2147483647 - 1)')
    """
    return "(-2147483647 - 1)" if value == -(1 << 31) else str(value)


def place(terms: Iterable[tuple[str, int]], start: int = 0) -> str:
    """An index of uint32_t: the sum of variables times strides, and ``start``.

    >>> place([("c", 12), ("i", 1), ("j", 0)], 3), place([])
    ('c * 12u + i + 3u', '0u')
    """
    parts = [name if stride == 1 else f"{name} * {stride}u" for name, stride in terms if stride]
    if start or not parts:
        parts.append(f"{start}u")
    return " + ".join(parts)

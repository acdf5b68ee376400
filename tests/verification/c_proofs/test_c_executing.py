"""C on symbolic integers does what gcc's programs do, and finds what its sanitizer finds; what it can't read it refuses."""

import itertools
import subprocess
from pathlib import Path

import numpy as np
import provers  # noqa: F401
import pytest
import z3
from mcu_tools import need_program

from qleaky.errors import InputError
from qleaky.verification.c_proofs.executing import Cell, Machine
from qleaky.verification.c_proofs.reading import Source, UnreadableError
from qleaky.verification.c_proofs.values import INT, TYPES, Value

TYPED = ["int8_t", "uint8_t", "int16_t", "uint16_t", "int32_t", "uint32_t"]
EXPRESSIONS = [
    *(f"a {operator} b" for operator in ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "<", "<=", "==", "!=", ">", ">=")),
    "a && b",
    "a || b",
    "a && 1 / b",
    "!a + ~b",
    "-a",
    "a < 0 ? -b : b",
    "a < 5 ? b : 7u",
    "(int8_t)a + (uint16_t)b",
    "(a & 0xFF) ^ 0x80u",
    "b != 0 ? a / b : 3",
]
EDGES = [0, 1, 2, 5, 31, 32, 127, 128, 255, 32767, 65535, 2147483647, 4294967295, -1, -2, -128, -32768, -2147483648]


def functions(expressions: list[tuple[str, str, str]]) -> str:
    return "".join(
        f"static int32_t f{i}({a} a, {b} b)\n{{\n    return (int32_t)({expression});\n}}\n"
        for i, (expression, a, b) in enumerate(expressions)
    )


def call(source: Source, name: str, *arguments: tuple[int, str]) -> tuple[int, list[str]]:
    """What a function returns, and what is undefined in it."""
    machine = Machine(source)
    value = machine.call(name, [Value.constant(number, TYPES[ctype]) for number, ctype in arguments])
    wrong = [condition.what for condition in machine.conditions if z3.is_false(z3.simplify(condition.holds))]
    return z3.simplify(value.term).as_signed_long(), wrong


def test_expressions_of_all_types_give_what_the_compiled_program_gives(tmp_path: Path) -> None:
    need_program("gcc")
    r = np.random.default_rng(0)
    kinds = list(itertools.product(EXPRESSIONS, TYPED, TYPED))
    cases = []
    for i in range(2500):
        k = i % len(kinds)
        a, b = (int(r.choice([e for e in EDGES if TYPES[t].lowest <= e <= TYPES[t].highest])) for t in kinds[k][1:])
        cases.append((k, a, b))
    text, main = functions(kinds), ""
    source = Source(text)
    found = [call(source, f"f{k}", (a, kinds[k][1]), (b, kinds[k][2])) for k, a, b in cases]
    defined = [(case, value) for case, (value, wrong) in zip(cases, found, strict=True) if not wrong]
    assert 1000 < len(defined) < 2500
    for (k, a, b), _ in defined:
        main += f'    printf("%d\\n", (int)f{k}(({kinds[k][1]})INT64_C({a}), ({kinds[k][2]})INT64_C({b})));\n'
    program = tmp_path / "all.c"
    program.write_text(f"#include <stdint.h>\n#include <stdio.h>\n{text}int main(void)\n{{\n{main}    return 0;\n}}\n")
    flags = ["-std=c99", "-w", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *flags, str(program), "-o", str(tmp_path / "all")], check=True)
    printed = subprocess.run([str(tmp_path / "all")], capture_output=True, check=True, text=True).stdout.split()
    assert [int(line) for line in printed] == [value for _, value in defined]


@pytest.mark.parametrize(
    ("expression", "a", "b", "what"),
    [
        ("a + b", 2147483647, 1, "overflows"),
        ("a - b", -2147483648, 1, "overflows"),
        ("a * b", 65536, 32768, "overflows"),
        ("-a", -2147483648, 0, "overflows"),
        ("a / b", 1, 0, "by 0"),
        ("a % b", -2147483648, -1, "overflows"),
        ("a >> b", 1, 32, "more than 31 bits"),
        ("a << b", -1, 1, "negative number"),
        ("a << b", 1, 31, "loses bits"),
        ("(int8_t)(a + b)", 127, 1, "int8_t does not hold"),
        ("(int32_t)((uint32_t)a + 1u)", 2147483647, 0, "int32_t does not hold"),
    ],
)
def test_what_is_undefined_is_found(expression: str, a: int, b: int, what: str) -> None:
    source = Source(functions([(expression, "int32_t", "int32_t")]))
    _, wrong = call(source, "f0", (a, "int32_t"), (b, "int32_t"))
    assert any(what in each for each in wrong), wrong


def test_what_is_not_reached_is_not_undefined() -> None:
    source = Source(functions([("b != 0 && a / b > 1 ? a / b : 0", "int32_t", "int32_t")]))
    assert call(source, "f0", (7, "int32_t"), (0, "int32_t")) == (0, [])


BRANCHES = """
static int32_t sign(int32_t a)
{
    int32_t found = 0;
    if (a < 0) {
        return -1;
    } else if (a > 0) {
        found = 1;
    }
    found += 0;
    return found;
}
static int32_t keep(int16_t *state, int32_t by)
{
    const int32_t old = *state;
    if (by > 0) {
        *state = (int16_t)(old + by);
    }
    return old;
}
"""


@pytest.mark.parametrize(("a", "sign"), [(-5, -1), (0, 0), (9, 1)])
def test_branches_return_and_assign_where_they_are_taken(a: int, sign: int) -> None:
    assert call(Source(BRANCHES), "sign", (a, "int32_t")) == (sign, [])


@pytest.mark.parametrize(("by", "left"), [(3, 10), (-3, 7)])
def test_a_pointer_reads_and_writes_what_it_points_to(by: int, left: int) -> None:
    cell = Cell(Value.constant(7, TYPES["int16_t"]))
    old = Machine(Source(BRANCHES)).call("keep", [cell, Value.constant(by)])
    assert z3.simplify(old.term).as_signed_long() == 7
    assert z3.simplify(cell.value.term).as_signed_long() == left


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("int32_t f(int32_t a) { while (a) { a--; } return a; }", "holds a While, which has no meaning here"),
        ("int32_t f(int32_t a) { int32_t b; return a + b; }", "reads b, which has no value there"),
        ("int32_t f(int32_t a) { if (a > 1) { return 1; } }", "may end without a return"),
        ("int32_t f(int32_t a) { return a + 017; }", "holds the constant 017"),
        ("int32_t f(int32_t a) { return a + 4294967295; }", "has more than 32 bits"),
        ("int32_t f(int32_t a) { return g(a); }", "does not define a function g"),
        ("int32_t f(long a) { return 1; }", "uses the type long"),
        ("int32_t f(int32_t *a) { return *a; }", "takes a as a pointer, and is given the other"),
        ("int32_t f(int32_t a, int32_t b) { return a; }", "takes 2 arguments, and is given 1"),
        ("int32_t f(int32_t a) {\n#if X\n return a;\n#endif\n}", "holds lines for the preprocessor"),
        ("int32_t f(int32_t a) { return a }", "cannot be parsed"),
        ("int32_t f(int32_t a) { return a; }\nint32_t f(int32_t a) { return 0; }", "defines 2 times a function f"),
        ("int32_t f(int32_t a) { return a;", "has no end"),
        (
            "int32_t f(int32_t a) { const int32_t b = 1; if (a) { const int32_t b = 2; return b; } return b; }",
            "declares b twice",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(body: str, problem: str) -> None:
    with pytest.raises(UnreadableError, match=problem):
        Machine(Source(body)).call("f", [Value.constant(1, INT)])


def test_what_stands_in_comments_is_not_read() -> None:
    source = Source(
        "/* int32_t f(void) { return 1; } */\n// int32_t f(int32_t a) {\nint32_t f(int32_t a) { return a; /* + 1 */ }\n"
    )
    assert call(source, "f", (4, "int32_t")) == (4, [])


def test_unreadable_text_is_bad_input() -> None:
    assert issubclass(UnreadableError, InputError)

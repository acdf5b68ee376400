"""Programs for the host that call products on given inputs and print their sums."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from c_tools import tool
from numpy.typing import NDArray

from qleaky._share import shared_folder
from qleaky.export.c.interface import ConstArray, c_type
from qleaky.export.c.products import Product

RUNTIME = shared_folder("export") / "c" / "runtime"
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZERS = {  # clang traps, for which no library of its sanitizers is needed
    "gcc": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "clang": ["-O1", "-fsanitize=undefined", "-fsanitize-trap=all"],
}


@dataclass(frozen=True, eq=False)
class Case:
    """A product, and the inputs (n, in) to run it on: 0 or 1, or integers."""

    product: Product
    inputs: NDArray[np.int64]
    bits: bool

    @property
    def name(self) -> str:
        return self.product.constants[0].name.removesuffix("_weights")


def compiler(name: str) -> str:
    """A compiler; one that is missing fails in CI and is a visible skip elsewhere."""
    return tool(name)


def sums(cases: Sequence[Case], folder: Path, *, command: Sequence[str]) -> list[NDArray[np.int64]]:
    """What the compiled products compute: (n, out) for every case."""
    source, program = folder / "products.c", folder / "products"
    source.write_text(program_text(cases))
    built = subprocess.run(
        [*command, "-std=c99", *WARNINGS, f"-I{RUNTIME}", str(source), "-o", str(program)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(program)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    numbers = iter(map(int, ran.stdout.split()))
    return [
        np.array([next(numbers) for _ in range(len(case.inputs) * case.product.outputs)]).reshape(len(case.inputs), -1)
        for case in cases
    ]


def program_text(cases: Sequence[Case]) -> str:
    """One function per case, and a main that calls them all."""
    headers = dict.fromkeys(header for case in cases for header in case.product.headers)
    lines = ["#include <stdio.h>", *(f'#include "{header}"' for header in headers)]
    for case in cases:
        lines += [text for constant in case.product.constants for text in _constant(constant)] + _function(case)
    return "\n".join([*lines, "int main(void)", "{", *(f"    run_{case.name}();" for case in cases), "    return 0;", "}", ""])


def _constant(constant: ConstArray) -> list[str]:
    suffix = "u" if constant.ctype == "uint32_t" else ""
    values = ", ".join(f"{int(value)}{suffix}" for value in constant.values.reshape(-1))
    return [f"static const {constant.ctype} {constant.name}[{constant.values.size}] = {{{values}}};"]


def _function(case: Case) -> list[str]:
    product, name = case.product, case.name
    ctype = "uint32_t" if case.bits else c_type(int(case.inputs.min()), int(case.inputs.max()))
    rows = [_packed_bits(row) if case.bits else row for row in case.inputs]
    data = ConstArray(f"{name}_inputs", ctype, np.array(rows).reshape(-1))
    source, count = ("list", "count") if case.bits else ("x", "0u")
    return [
        *_constant(data),
        f"static void run_{name}(void)",
        "{",
        f"    for (uint32_t t = 0u; t < {len(rows)}u; ++t) {{",
        f"        const {ctype} *const x = {name}_inputs + t * {len(rows[0])}u;",
        *([f"        uint16_t list[{product.inputs}];"] if case.bits else []),
        *([f"        const uint32_t count = qleaky_events(x, {product.inputs}u, list);"] if case.bits else []),
        f"        for (uint32_t first = 0u; first < {product.outputs}u; first += {product.group}u) {{",
        f"            int32_t sums[{product.group}];",
        *(f"            {line}" for line in product.call(first="first", source=source, count=count, sums="sums")),
        f"            for (uint32_t i = 0u; i < {product.group}u && first + i < {product.outputs}u; ++i) {{",
        '                printf("%ld\\n", (long)sums[i]);',
        "            }",
        "        }",
        "    }",
        "}",
    ]


def _packed_bits(row: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Words of bits; those beyond the last element are ones, which nothing may read as events."""
    filled = np.concatenate([row, np.ones(-len(row) % 32, np.int64)]).reshape(-1, 32)
    return (filled.astype(np.uint32) << np.arange(32, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)

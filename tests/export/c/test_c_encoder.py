"""The encoder of an integer input gives the code that the format's quantizer gives, for any int32 and any grid."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from export.c.model_programs import COMPILERS, installed
from export.c.product_programs import WARNINGS

from qleaky import QFormat
from qleaky.export.c.encoder import encoder_body
from qleaky.export.c.text import function
from qleaky.fixed import quantize

FORMATS = [
    QFormat(2, 0),
    QFormat(8, 4),
    QFormat(8, 6, signed=False, zero_point=128),
    QFormat(8, -3, signed=False),
    QFormat(4, 1, signed=False, zero_point=15),
    QFormat(8, 7, narrow=True),
    QFormat(12, 40),
    QFormat(16, 8, zero_point=-300),
    QFormat(16, -126),
    QFormat(31, 126, signed=False, zero_point=1),
    QFormat(32, 0),
    QFormat(32, 31),
]
RAWS = [
    *(s * (1 << n) + d for n in (0, 1, 3, 8, 15, 29, 30) for s in (-1, 1) for d in (-1, 0, 1)),
    -(1 << 31),
    (1 << 31) - 1,
    0,
]
R = np.random.default_rng(0)


def samples(fmt: QFormat) -> list[tuple[int, int]]:
    """Pairs of raw and raw_frac_bits: all shifts that matter, and the ends of int32."""
    shifts = [*range(fmt.frac_bits - 34, fmt.frac_bits + 36), -(1 << 31), (1 << 31) - 1]
    raws = [*RAWS, *R.integers(-(1 << 31), 1 << 31, 20).tolist(), *R.integers(-300, 300, 20).tolist()]
    return [(raw, shift) for shift in shifts for raw in raws]


def encoded(fmt: QFormat, pairs: Sequence[tuple[int, int]], folder: Path, compiler: str) -> list[int]:
    """What the compiled encoder gives, under sanitizers."""
    installed(compiler)
    encoder = function("static int32_t encode(int32_t raw, int32_t raw_frac_bits)", encoder_body(fmt, "int32_t"), "")
    numbers = ",".join(f"{raw}LL,{shift}LL" for raw, shift in pairs)
    text = f"""#include <stdint.h>
#include <stdio.h>
{encoder}
static const long long pairs[] = {{{numbers}}};
int main(void)
{{
    for (unsigned i = 0; i < {len(pairs)}u; ++i) {{
        printf("%ld\\n", (long)encode((int32_t)pairs[2u * i], (int32_t)pairs[2u * i + 1u]));
    }}
    return 0;
}}
"""
    (folder / "encoder.c").write_text(text)
    line = [*COMPILERS[compiler], "-std=c99", *WARNINGS, str(folder / "encoder.c"), "-o", str(folder / "encoder")]
    built = subprocess.run(line, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(folder / "encoder")], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return list(map(int, ran.stdout.split()))


def wanted(fmt: QFormat, raw: int, shift: int) -> int:
    """The scalar quantizer on the exact number; beyond 200 bits a number is as large, or as small, as makes no difference."""
    return quantize(Fraction(raw) * Fraction(2) ** -min(max(shift, -400), 400), fmt)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_every_raw_number_becomes_the_code_of_the_quantizer(fmt: QFormat, compiler: str, tmp_path: Path) -> None:
    pairs = samples(fmt)
    assert encoded(fmt, pairs, tmp_path, compiler) == [wanted(fmt, *pair) for pair in pairs]


def test_halves_go_up_and_what_is_too_large_saturates(tmp_path: Path) -> None:
    pairs = [(1, 5), (-1, 5), (3, 5), (1 << 30, 0), (-(1 << 30), 0), (7, 4)]
    assert encoded(QFormat(8, 4), pairs, tmp_path, "gcc") == [1, 0, 2, 127, -128, 7]

"""The generated files as firmware takes them: by any compiler, optimised or not, within C++, several models in one program."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from export.c.model_programs import COMPILERS, installed, packed, write
from export.c.product_programs import RUNTIME, WARNINGS

from qleaky import QFormat, run
from qleaky.export.c.interface import CModel
from qleaky.export.c.model import c_model
from qleaky.integer import Readout
from qleaky.model_reference import HowToLower, load_model
from tests.export.layer_contracts import LAYERS, lif, network
from tests.export.random_contracts import inputs

SPIKES = QFormat(1, 0, signed=False)
TARGETS = {
    "thumbv6m": ["clang", "--target=thumbv6m-none-eabi", "-mcpu=cortex-m0"],
    "thumbv7em": ["clang", "--target=thumbv7em-none-eabi", "-mcpu=cortex-m4"],
    "rv32": ["clang", "--target=riscv32", "-march=rv32imac", "-mabi=ilp32"],
    "rv32 without multiplication": ["clang", "--target=riscv32", "-march=rv32ic", "-mabi=ilp32"],
    "gcc": ["gcc"],
}
# A library is expected, and called where the compiler sees fit; headers of the host are none of another machine.
HOSTED = {target: ["-nostdlibinc"] if target != "gcc" else [] for target in TARGETS}
RARE = [pytest.param(level, marks=pytest.mark.nightly) for level in ("-O0", "-Os")]
MODELS = ["conv of two groups", "two layers in a loop", "concat"]


def compiled(folder: Path, name: str, *options: str) -> Path:
    """An object of one of the generated files."""
    target = folder / f"{name}.o"
    includes = [f"-I{folder}", f"-I{RUNTIME}"]
    line = [*options, "-std=c99", *WARNINGS, *includes, "-c", str(folder / f"{name}.c"), "-o", str(target)]
    built = subprocess.run(line, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return target


def undefined(*objects: Path) -> set[str]:
    """The symbols that objects together leave to others."""
    installed("llvm-nm")
    asked, given = set(), set()
    for path in objects:
        for line in subprocess.run(["llvm-nm", str(path)], capture_output=True, text=True, check=True).stdout.splitlines():
            *_, kind, symbol = line.split()
            (asked if kind == "U" else given).add(symbol)
    return asked - given


@pytest.mark.parametrize("level", [*RARE, "-O2", "-O3"])
@pytest.mark.parametrize("target", ["thumbv6m", "rv32", "gcc"])
def test_nothing_is_left_to_a_library(target: str, level: str, tmp_path: Path) -> None:
    """No memcpy and no memset, no division, no multiplication of 64 bits; and the state has the size that was computed."""
    installed(TARGETS[target][0])
    models = [c_model(LAYERS[kind]) for kind in MODELS] + [c_model(load_model("fashion-mnist-conv", HowToLower()))]
    for i, model in enumerate(models):
        folder = write(model, tmp_path / str(i))
        for library in (["-ffreestanding"], HOSTED[target]):
            options = [*TARGETS[target], level, *library]
            assert undefined(*(compiled(folder, name, *options) for name in ("qleaky_model", "qleaky_weights"))) == set()


def test_plain_stores_would_be_gathered_into_calls(tmp_path: Path) -> None:
    """Why qleaky_arrays.h stores through volatile: the check above sees what becomes of plain stores."""
    installed("clang")
    folder = write(c_model(load_model("fashion-mnist-conv", HowToLower())), tmp_path)
    header = (RUNTIME / "qleaky_arrays.h").read_text()
    plain = re.sub(r"\*\(volatile \w+ \*\)\(y \+ k\)", "y[k]", header)
    assert plain != header
    (folder / "qleaky_arrays.h").write_text(plain)
    options = [*TARGETS["thumbv6m"], "-O2", *HOSTED["thumbv6m"]]
    assert "__aeabi_memclr" in undefined(*(compiled(folder, name, *options) for name in ("qleaky_model", "qleaky_weights")))


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "gcc"])
def test_the_size_of_the_state_is_that_of_32_bit_machines(target: str, tmp_path: Path) -> None:
    installed("clang")
    for i, kind in enumerate(LAYERS):
        model = c_model(LAYERS[kind])
        folder = write(model, tmp_path / str(i))
        right = f"sizeof(model_state) == {model.state_size}u"
        (folder / "size.c").write_text(f'#include "qleaky_model.h"\nextern char size[{right} ? 1 : -1];\n')
        compiled(folder, "size", *TARGETS[target], "-ffreestanding")


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_header_is_cplusplus_too(compiler: str, tmp_path: Path) -> None:
    """A program in C++ links the C of the model."""
    installed(compiler)
    model = c_model(LAYERS["linear"], "net")
    folder = write(model, tmp_path)
    objects = [str(compiled(folder, name, "gcc")) for name in ("qleaky_model", "qleaky_weights")]
    (folder / "main.cpp").write_text(
        '#include "qleaky_model.h"\n'
        "int main() { static net_state state; const net_code codes[5] = {}; net_reset(&state);\n"
        "    net_step_i8(&state, codes, nullptr); return net_encode(3, 0) == 6 && net_STEPS == 4 ? 0 : 1; }\n"
    )
    line = [compiler, "-std=c++11", *WARNINGS, f"-I{folder}", str(folder / "main.cpp"), *objects, "-o", str(folder / "main")]
    built = subprocess.run(line, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert subprocess.run([str(folder / "main")]).returncode == 0


def linked(folder: Path, models: list[CModel], main: str) -> str:
    """What a program of several models prints."""
    installed("gcc")
    objects = []
    for model in models:
        write(model, folder / model.name)
        objects += [str(compiled(folder / model.name, name, *COMPILERS["gcc"])) for name in ("qleaky_model", "qleaky_weights")]
    includes = "".join(f'#include "{model.name}/qleaky_model.h"\n' for model in models)
    (folder / "main.c").write_text(f"#include <stdio.h>\n{includes}int main(void)\n{{\n{main}    return 0;\n}}\n")
    line = [*COMPILERS["gcc"], "-std=c99", *WARNINGS, f"-I{folder}", str(folder / "main.c"), *objects]
    line += ["-o", str(folder / "main")]
    built = subprocess.run(line, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(folder / "main")], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_two_models_in_one_program_keep_apart(tmp_path: Path) -> None:
    """Two networks step in turn, one of them for two samples at a time: each state is its own."""
    first = network(lif("lif", "input"), fmt=SPIKES, readouts=(Readout("lif", "membrane_mean"),))
    second = network(lif("lif", "input", theta=np.array(3)), fmt=SPIKES, readouts=(Readout("lif", "spike_count"),))
    arrays = inputs(first, batch=2)["input"]
    models = [c_model(first, "one"), c_model(second, "two")]
    words = [[int.from_bytes(packed(models[0].inputs[0].tensor, arrays[t, b]), "little") for b in (0, 1)] for t in range(4)]
    text = ", ".join(f"{{{a}u, {b}u}}" for a, b in words)
    main = f"""    static one_state a, b;
    static two_state c;
    const uint32_t x[4][2] = {{{text}}};
    one_reset(&a);
    one_reset(&b);
    two_reset(&c);
    for (int t = 0; t < 4; ++t) {{
        one_step(&a, &x[t][0], 0);
        two_step(&c, &x[t][1], 0);
        one_step(&b, &x[t][1], 0);
    }}
    for (uint32_t k = 0; k < 5; ++k) {{
        printf("%d %d %d\\n", (int)one_membrane_sum(&a, k), (int)one_membrane_sum(&b, k), (int)two_count(&c, k));
    }}
"""
    sums = run(first, arrays).outputs["membrane_sum"]
    counts = run(second, arrays).outputs["spike_count"]
    assert linked(tmp_path, models, main) == "".join(f"{sums[0, k]} {sums[1, k]} {counts[1, k]}\n" for k in range(5))


def test_readouts_stay_after_the_last_step_and_a_reset_begins_again(tmp_path: Path) -> None:
    counted = network(lif("lif", "input", theta=np.array(1)), fmt=SPIKES, readouts=(Readout("lif", "spike_count", True),))
    main = """    static net_state state;
    const uint32_t x = 2u;
    for (int round = 0; round < 2; ++round) {
        net_reset(&state);
        for (int t = 0; t < 9; ++t) {
            net_step(&state, &x, 0);
            printf("%d%d ", (int)net_count(&state, 1u), (int)net_argmax(&state, 0u));
        }
    }
"""
    model = c_model(counted, "net")
    ones = np.zeros((4, 1, 5), np.uint8)
    ones[..., 1] = 1
    sums = np.cumsum(run(counted, ones).spikes["lif"][:, 0, 1])
    assert sums[-1] > 1
    once = "".join(f"{n}{int(n > 0)} " for n in [*sums, *[sums[-1]] * 5])
    assert linked(tmp_path, [model], main) == once * 2


def test_every_function_and_member_is_explained() -> None:
    model = c_model(LAYERS["two layers in a loop"])
    lines = model.header.splitlines()
    members = [line for line in lines if line.startswith("    ") and ";" in line]
    assert members
    assert all("/*" in line for line in members)
    for number, line in enumerate(lines):
        if line.endswith(");"):
            assert lines[number - 1].rstrip().endswith("*/"), line
    source = model.source.splitlines()
    functions = [i for i, line in enumerate(source) if re.match(r"(static void|void|u?int32_t|QLEAKY_INLINE) ", line)]
    assert functions
    assert all(source[i - 1].endswith("*/") for i in functions)

"""The folder as firmware engineers meet it: make, CMake, Zephyr, Arduino and PlatformIO, and two models in one program."""

import json
import re
import subprocess
from pathlib import Path

import handmade
import numpy as np
import pytest
from c_tools import STRICT, call, tool

from qleaky import IntegerNetwork, QFormat
from qleaky.c_export import export_c
from qleaky.export.c.manifest import FILE, Manifest
from qleaky.export.c.targets import TARGETS
from qleaky.integer import LIF, Add, Input, Linear, Readout

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.folder(tmp_path_factory.mktemp("c") / "digits", "digits")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.folder(tmp_path_factory.mktemp("c") / "words", "words")


def test_make_builds_and_checks_the_model_on_this_machine(digits: Path) -> None:
    said = call(tool("make"), "run-host", "BUILD=build-host", cwd=digits)
    assert said.splitlines()[-1] == "equal 72 digests of 6 samples"


def test_a_model_that_computes_something_else_fails(tmp_path: Path) -> None:
    folder = handmade.folder(tmp_path / "wrong")
    path = folder / "qleaky_model.c"
    path.write_text(path.read_text().replace("before > 5 ? 5 : 0", "before > 5 ? 4 : 0"))
    ran = subprocess.run([tool("make"), "run-host"], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "\ndiffers " in ran.stdout


@pytest.mark.parametrize("target", [target.name for target in TARGETS])
def test_make_builds_and_checks_the_model_on_every_core(digits: Path, target: str) -> None:
    for name in ("clang", "ld.lld", "qemu-system-riscv32" if target == "riscv32" else "qemu-system-arm"):
        tool(name)
    said = call(tool("make"), f"run-{target}", cwd=digits)
    assert said.splitlines()[-1] == "equal 72 digests of 6 samples"
    assert re.search(r"^instructions [1-9]\d*$", said, re.M)
    assert "qleaky_model.o" in call("make", "size", f"TARGET={target}", f"SIZE={tool('llvm-size')}", cwd=digits)


def test_cmake_builds_tests_and_installs_the_library(digits: Path, tmp_path: Path) -> None:
    cmake, build, prefix = tool("cmake"), tmp_path / "build", tmp_path / "prefix"
    call(cmake, "-S", digits, "-B", build)
    call(cmake, "--build", build)
    assert "100% tests passed, 0 tests failed out of 1" in call(tool("ctest"), "--test-dir", build)
    call(cmake, "--install", build, "--prefix", prefix)
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.c").write_text(main_of("digits"))
    (app / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app C)\nfind_package(digits CONFIG REQUIRED)\n"
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE qleaky::digits)\n"
    )
    call(cmake, "-S", app, "-B", app / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    call(cmake, "--build", app / "build")
    call(app / "build" / "app")


def main_of(*names: str) -> str:
    """A program that runs an inference of each model, of its inputs without a spike."""
    lines = [f'#include "{name}.h"' for name in names] + ["int main(void)", "{", "    const uint32_t none[1] = {0u};"]
    for name in names:
        lines += [f"    {name}_state {name}_s;", f"    {name}_reset(&{name}_s);", f"    {name}_step(&{name}_s, none, 0);"]
    asked = " + ".join(f"(int){name}_argmax(&{name}_s, 0u)" for name in names)
    return "\n".join([*lines, f"    return {asked};", "}", ""])


def test_two_models_stand_side_by_side_in_one_cmake_project(digits: Path, words: Path, tmp_path: Path) -> None:
    cmake = tool("cmake")
    (tmp_path / "main.c").write_text(main_of("digits", "words"))
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app C)\n"
        f"add_subdirectory({digits} digits)\nadd_subdirectory({words} words)\n"
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE qleaky::digits qleaky::words)\n"
    )
    call(cmake, "-S", tmp_path, "-B", tmp_path / "build")
    call(cmake, "--build", tmp_path / "build")
    call(tmp_path / "build" / "app")
    assert not list((tmp_path / "build").rglob("*_check"))


def test_a_model_may_have_the_name_of_a_target_of_cmakes_own(tmp_path: Path) -> None:
    folder = handmade.folder(tmp_path / "test", "test")
    call(tool("cmake"), "-S", folder, "-B", tmp_path / "build")
    call("cmake", "--build", tmp_path / "build")
    assert "100% tests passed" in call(tool("ctest"), "--test-dir", tmp_path / "build")


STUB = """
set(ENV{ZEPHYR_BASE} /zephyr)
function(zephyr_library_named name)
  add_library(${name} STATIC)
  set_property(GLOBAL PROPERTY zephyr_current_library ${name})
endfunction()
function(zephyr_library_sources)
  get_property(name GLOBAL PROPERTY zephyr_current_library)
  target_sources(${name} PRIVATE ${ARGN})
endfunction()
function(zephyr_include_directories)
  include_directories(${ARGN})
  set_property(GLOBAL APPEND PROPERTY zephyr_includes ${ARGN})
endfunction()
"""


def test_under_zephyr_the_module_is_a_library_of_the_image(digits: Path, words: Path, tmp_path: Path) -> None:
    cmake = tool("cmake")
    (tmp_path / "main.c").write_text(main_of("digits", "words"))
    (tmp_path / "zephyr.cmake").write_text(STUB)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(app C)\ninclude(zephyr.cmake)\n"
        f"add_subdirectory({digits} digits)\nadd_subdirectory({words} words)\n"
        "get_property(includes GLOBAL PROPERTY zephyr_includes)\nadd_executable(app main.c)\n"
        "target_include_directories(app PRIVATE ${includes})\ntarget_link_libraries(app PRIVATE qleaky_digits qleaky_words)\n"
    )
    call(cmake, "-S", tmp_path, "-B", tmp_path / "build")
    call(cmake, "--build", tmp_path / "build")
    call(tmp_path / "build" / "app")
    assert (digits / "zephyr" / "module.yml").read_text().splitlines()[1:] == ["name: qleaky_digits", "build:", "  cmake: ."]


def test_platformio_compiles_the_model_and_neither_ports_nor_vectors(digits: Path) -> None:
    found = json.loads((digits / "library.json").read_text())
    assert found["name"] == "digits"
    assert found["headers"] == "digits.h"
    assert found["build"]["srcFilter"] == ["-<*>", "+<qleaky_model.c>", "+<qleaky_weights.c>"]


def test_arduino_reads_the_properties_and_compiles_every_source_of_the_flat_folder(digits: Path, tmp_path: Path) -> None:
    lines = (digits / "library.properties").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"} < set(found)
    assert (found["name"], found["includes"]) == ("digits", "digits.h")
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
    for source in digits.glob("*.c"):  # without -Iports, which Arduino does not know of
        call(tool("gcc"), *STRICT, "-I", digits, "-c", source, "-o", tmp_path / f"{source.stem}.o")
    (tmp_path / "sketch.cpp").write_text('#include <digits.h>\n#include "digits.h"\n' + main_of("digits"))
    objects = [tmp_path / f"{name}.o" for name in ("qleaky_model", "qleaky_weights")]
    call(tool("g++"), "-I", digits, tmp_path / "sketch.cpp", *objects, "-o", tmp_path / "sketch")
    call(tmp_path / "sketch")


def test_the_readmes_main_loop_compiles_as_it_stands_and_gives_the_class_of_the_reference(digits: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```c\n(.*?)```", (digits / "README.md").read_text(), re.S)
    assert len(code.splitlines()) <= 15
    golden = handmade.golden()
    words = (golden.codes["input"] << [0, 1, 2]).sum(-1)  # (T, B)
    steps, samples = words.shape
    rows = ", ".join("{" + ", ".join(f"{{{word}u}}" for word in sample) + "}" for sample in words.T.tolist())
    asked = f'for (int i = 0; i < {samples}; i++) {{ printf("%d ", (int)digits_infer(in[i])); }}'
    given = f"static const uint32_t in[{samples}][{steps}][1] = {{{rows}}};"
    (tmp_path / "main.c").write_text(f"#include <stdio.h>\n{code}\n{given}\nint main(void)\n{{\n{asked}\nreturn 0;\n}}\n")
    sources = [digits / "qleaky_model.c", digits / "qleaky_weights.c"]
    flags = ["-Wno-missing-prototypes", "-I", digits]
    call(tool("gcc"), *STRICT, *flags, tmp_path / "main.c", *sources, "-o", tmp_path / "main")
    classes = handmade.run(handmade.network(), golden.codes["input"]).outputs["class"]
    assert [int(word) for word in call(tmp_path / "main").split()] == classes.tolist()


def test_the_readmes_calls_are_those_of_the_header_where_there_are_several_inputs(tmp_path: Path) -> None:
    codes = QFormat(4, 2)
    weights = {name: Linear(name=f"{name}_fc", input=name, weight=handmade.WEIGHTS, weight_frac_bits=0) for name in ("a", "b")}
    layers = (
        *weights.values(),
        Add(name="both", inputs=("a_fc", "b_fc"), signs=(1, 1)),
        LIF(name="lif", input="both", state=QFormat(8, 2), theta=np.array(5)),
    )
    inputs = (Input((3,), codes, "sequence", "a"), Input((3,), codes, "static", "b"))
    readouts = (Readout("lif", "spike_count", argmax=True),)
    export_c(IntegerNetwork(inputs=inputs, num_steps=5, layers=layers, readouts=readouts), tmp_path / "two", "two", samples=2)
    readme, header = ((tmp_path / "two" / name).read_text() for name in ("README.md", "qleaky_model.h"))
    calls = re.findall(r"^\| `(.*\))` \|", readme, re.M)
    assert len(calls) == 6  # reset, step, two encoders, count, argmax
    assert [call for call in calls if f"{call};" not in header] == []
    (code,) = re.findall(r"```c\n(.*?)```", readme, re.S)
    (tmp_path / "main.c").write_text(code)
    call(tool("gcc"), *STRICT, "-I", tmp_path / "two", "-c", tmp_path / "main.c", "-o", tmp_path / "main.o")


def test_the_manifest_names_every_other_file(digits: Path) -> None:
    found = Manifest.decode((digits / FILE).read_bytes())
    built = {"build", "build-host"}
    here = {path.relative_to(digits).as_posix() for path in digits.rglob("*") if path.is_file()}
    assert set(found.files) | {FILE} == {name for name in here if name.split("/")[0] not in built}


def test_the_licence_is_the_repositorys(digits: Path) -> None:
    assert (digits / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()

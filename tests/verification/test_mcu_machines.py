"""The same folder on every machine: compilers, emulated boards, and what is said where one is missing."""

import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from mcu_tools import BARE, UNICORN, need_package, need_program, need_tools
from tiny_c_models import c_model, network, write_folder

from qleaky.errors import ArtefactError, InputError, MissingDependencyError
from qleaky.verification.mcu import machines
from qleaky.verification.mcu.building import build
from qleaky.verification.mcu.checking import Folder
from qleaky.verification.mcu.machines import MACHINES, machine_of, run_limited
from qleaky.verification.mcu.toolchains import Compiler, toolchain
from qleaky.verification.mcu.unicorn_machine import run_in_unicorn

NET = network()
MODEL = c_model(NET)
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-pedantic", "-Werror"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder.open(write_folder(tmp_path_factory.mktemp("machines") / "tiny", NET, MODEL), NET, MODEL)


@pytest.mark.parametrize("target", BARE)
def test_a_microcontroller_computes_what_the_reference_does(folder: Folder, target: str) -> None:
    need_tools(target)
    report = folder.check(target, flags=WARNINGS)
    assert (report.verdict, report.mismatches, report.compared) == ("measured", 0, 320)
    assert report.unit == "instructions"
    assert report.instructions is not None
    assert 500 < report.instructions < 5000
    assert report.stack is not None
    assert 0 < report.stack < 1024
    assert report.state_size == 32
    assert report.flash is not None
    assert 200 < report.flash < 2000


# Clang's sanitizers have a library that Debian packages apart; traps need none.
SANITIZERS = {
    "gcc": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "clang": ("-fsanitize=undefined", "-fsanitize-trap=all"),
}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_the_host_with_sanitizers_and_every_warning(folder: Folder, tmp_path: Path, compiler: Compiler, level: str) -> None:
    need_program(compiler)
    tools, sanitize = toolchain(machine_of("host"), compiler), SANITIZERS[compiler]
    tools = replace(tools, compile=(*tools.compile, *sanitize, *WARNINGS), link=(*tools.link, *sanitize))

    built = build(folder.directory, tmp_path, machine_of("host"), compiler=tools, name="tiny", flags=[level])
    assert machines.run_on_host(built.program).code == 0


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O3", "-Os"])
@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m55", "riscv32"])
def test_every_optimisation_level_starts_up_and_computes_the_same(
    folder: Folder, target: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_tools(target)
    monkeypatch.setattr("qleaky.verification.mcu.building.OPTIMIZE", level)
    assert folder.check(target).verdict == "measured"


def test_a_risc_v_core_without_a_multiplier(folder: Folder) -> None:
    """RV32I: no multiplication, no compressed instructions, and no library."""
    need_tools("riscv32")
    assert folder.check("riscv32", flags=["-march=rv32i"]).verdict == "measured"


def test_output_by_semihosting_on_risc_v(folder: Folder, tmp_path: Path) -> None:
    need_tools("riscv32")
    machine = machine_of("riscv32")
    flags = ["-DQLEAKY_SEMIHOSTING"]
    program = build(folder.directory, tmp_path, machine, compiler=toolchain(machine), name="tiny", flags=flags).program
    command = ["qemu-system-riscv32", "-M", "virt", "-bios", "none", "-kernel", str(program), "-display", "none", "-nodefaults"]
    ran = run_limited([*command, "-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out"])
    assert ran.code == 0
    assert ran.output.endswith(b"equal 320 digests of 16 samples\n")


@pytest.mark.parametrize("target", UNICORN)
def test_unicorn_prints_what_qemu_does(folder: Folder, target: str) -> None:
    need_tools(target)
    need_package("unicorn")
    qemu, unicorn = (folder.check(target, emulator=emulator) for emulator in ("qemu", "unicorn"))  # type: ignore[arg-type]
    assert unicorn.verdict == qemu.verdict == "measured"
    assert (unicorn.compared, unicorn.stack, unicorn.state_size) == (qemu.compared, qemu.stack, qemu.state_size)
    assert unicorn.instructions is not None
    assert qemu.instructions is not None
    assert abs(unicorn.instructions - qemu.instructions) < 30  # a tick of SysTick


def test_unicorn_has_no_m55(folder: Folder) -> None:
    need_tools("cortex-m55")
    need_package("unicorn")
    with pytest.raises(InputError, match="Unicorn has no cortex-m55; check it with QEMU"):
        folder.check("cortex-m55", emulator="unicorn")


@pytest.mark.parametrize("target", ["host", "cortex-m0", "cortex-m55", "riscv32"])
def test_zig_compiles_for_all(folder: Folder, target: str) -> None:
    need_tools(target)
    need_package("ziglang")
    report = folder.check(target, compiler="zig")
    assert report.verdict == "measured"
    assert report.compiler.startswith("zig ")


def test_a_wrong_model_differs_on_a_microcontroller_too(tmp_path: Path) -> None:
    need_tools("cortex-m4")
    folder = write_folder(tmp_path / "tiny", NET, MODEL)
    model = folder / "qleaky_model.c"
    model.write_text(model.read_text().replace("exact + 4", "exact + 3"))
    for emulator in ("qemu", *(("unicorn",) if find_spec("unicorn") else ())):
        report = Folder.open(folder, NET, MODEL).check("cortex-m4", emulator=emulator)  # type: ignore[arg-type]
        assert report.verdict == "differs"
        assert report.first_divergence is not None


def changed(folder: Path, before: str, after: str) -> Folder:
    model = folder / "qleaky_model.c"
    assert before in model.read_text()
    model.write_text(model.read_text().replace(before, after))
    return Folder.open(folder, NET, MODEL)


@pytest.mark.parametrize(
    ("target", "fault"),
    [("cortex-m4", "*(volatile uint32_t *)0x70000000u = 1u;"), ("riscv32", "*(volatile uint32_t *)0xF0000000u = 1u;")],
)
def test_a_fault_ends_the_program_and_is_refused(tmp_path: Path, target: str, fault: str) -> None:
    need_tools(target)
    folder = changed(write_folder(tmp_path / "tiny", NET, MODEL), "state->spk[0] = bits;", f"state->spk[0] = bits; {fault}")
    with pytest.raises(ArtefactError, match="line 3, 'fault', is not the verdict"):
        folder.check(target)


@pytest.mark.parametrize("target", ["cortex-m4", "riscv32"])
def test_a_fault_in_unicorn_is_refused(tmp_path: Path, target: str) -> None:
    need_tools(target)
    need_package("unicorn")
    fault = "state->spk[0] = bits; *(volatile uint32_t *)0xF0000000u = 1u;"
    folder = changed(write_folder(tmp_path / "tiny", NET, MODEL), "state->spk[0] = bits;", fault)
    with pytest.raises(ArtefactError, match=f"The program did what {target} does not allow|'fault', is not the verdict"):
        folder.check(target, emulator="unicorn")


@pytest.mark.parametrize("target", ["cortex-m4", "riscv32"])
def test_a_program_without_end_is_stopped_in_unicorn(tmp_path: Path, target: str) -> None:
    need_tools(target)
    need_package("unicorn")
    endless = "state->spk[0] = bits; for (volatile uint32_t i = 0; i == 0;) { }"
    folder = changed(write_folder(tmp_path / "tiny", NET, MODEL), "state->spk[0] = bits;", endless).directory
    machine = machine_of(target)
    program = build(folder, tmp_path, machine, compiler=toolchain(machine), name="tiny").program
    with pytest.raises(ArtefactError, match=r"did not end within 0\.5 seconds and was stopped"):
        run_in_unicorn(machine, program, 0.5)


def test_a_stack_that_meets_the_model_is_refused(tmp_path: Path) -> None:
    need_tools("cortex-m0")
    folder = write_folder(tmp_path / "tiny", NET, MODEL)
    header = folder / "qleaky_model.h"
    header.write_text(header.read_text().replace("int32_t count[5];", "int32_t count[3000];"))
    deep = "volatile unsigned char deep[6000]; for (uint32_t i = 0; i < 6000u; i++) { deep[i] = 0; } uint32_t bits = deep[0];"
    with pytest.raises(ArtefactError, match="The stack used all the RAM"):
        changed(folder, "uint32_t bits = 0;", deep).check("cortex-m0")


def test_what_does_not_fit_the_board_is_refused_by_the_linker(tmp_path: Path) -> None:
    need_tools("cortex-m0")
    folder = write_folder(tmp_path / "tiny", NET, MODEL)
    header = folder / "qleaky_model.h"
    header.write_text(header.read_text().replace("int32_t count[5];", "int32_t count[4000];"))
    with pytest.raises(ArtefactError, match=r"linking for cortex-m0 failed: .*768 bytes of RAM are left for the stack"):
        Folder.open(folder, NET, MODEL).check("cortex-m0")


def test_programs_without_end_are_stopped() -> None:
    with pytest.raises(ArtefactError, match=r"did not end within 0\.2 seconds and was stopped; it printed 6 bytes"):
        run_limited([sys.executable, "-c", "import time; print('first', flush=True); time.sleep(60)"], 0.2)


def test_outputs_without_end_are_stopped() -> None:
    ran = run_limited([sys.executable, "-c", "while True: print('again')"])
    assert len(ran.output) == machines.LONGEST_OUTPUT + 1


def test_an_unknown_target_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"There is no target 'cortex-m9' for C; choose one of host, cortex-m0, .*, riscv32"):
        machine_of("cortex-m9")


def test_gcc_compiles_for_the_host_alone() -> None:
    with pytest.raises(InputError, match="compiler='gcc' compiles for the host only, not for cortex-m4; use clang or zig"):
        toolchain(MACHINES["cortex-m4"], "gcc")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "cortex-m4",
            r"'cortex-m4' needs a C compiler \(clang or zig\), and none .*: apt-get install clang lld, or `pip install",
        ),
        (
            "host",
            r"'host' needs a C compiler \(gcc or clang or zig\), and none .*: apt-get install gcc, or apt-get install clang",
        ),
    ],
)
def test_without_a_compiler_the_packages_are_named(target: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("qleaky.verification.mcu.toolchains.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=message):
        toolchain(machine_of(target))


def test_without_an_emulator_the_packages_are_named(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    need_program("clang", "ld.lld")
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name.startswith("qemu") else found(name))
    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(
        MissingDependencyError, match=r"'cortex-m4' without QEMU needs the package 'unicorn'.*qemu-system-arm qemu-system-misc"
    ):
        folder.check("cortex-m4")
    with pytest.raises(
        MissingDependencyError, match=r"'cortex-m4' needs qemu-system-arm, which is not installed: apt-get install"
    ):
        folder.check("cortex-m4", emulator="qemu")

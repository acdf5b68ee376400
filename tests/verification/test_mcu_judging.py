"""A folder is judged by what the reference computes, not by its golden digests nor by its program's word."""

import re
from pathlib import Path

import pytest
from mcu_tools import need_tools
from msgspec import structs
from tiny_c_models import c_model, network, write_folder

from qleaky import IntegerNetwork
from qleaky.errors import ArtefactError
from qleaky.export.c.interface import CModel
from qleaky.export.c.model import DSP
from qleaky.export.c.vectors import GoldenRuns, vectors_source
from qleaky.fixed import Rounding
from qleaky.integer import LIF
from qleaky.verification.mcu.building import build
from qleaky.verification.mcu.checking import Folder
from qleaky.verification.mcu.golden_runs import golden_of, golden_runs
from qleaky.verification.mcu.judging import judge
from qleaky.verification.mcu.machines import Ran, machine_of, run_on_host
from qleaky.verification.mcu.output import read_output
from qleaky.verification.mcu.report import McuReport
from qleaky.verification.mcu.toolchains import toolchain

NET = network()
MODEL = c_model(NET)


@pytest.fixture(autouse=True)
def _tools() -> None:
    need_tools("host")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tiny", NET, MODEL)


@pytest.fixture(scope="module")
def golden() -> GoldenRuns:
    return golden_runs(NET)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """What the program prints where all is right."""
    directory = write_folder(tmp_path_factory.mktemp("honest") / "tiny", NET, MODEL)
    machine = machine_of("host")
    into = tmp_path_factory.mktemp("built")
    return run_on_host(build(directory, into, machine, compiler=toolchain(machine), name="tiny").program)


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) >= 1
    path.write_text(text.replace(before, after, 1))


def check(folder: Path, net: IntegerNetwork = NET, model: CModel = MODEL) -> McuReport:
    return Folder.open(folder, net, model).check("host")


def test_what_is_right_is_measured_never_proved(folder: Path) -> None:
    report = check(folder)
    assert (report.verdict, report.mismatches, report.first_divergence, report.reasons) == ("measured", 0, None, ())
    assert report.samples == 16
    assert report.compared == 16 * (6 * 3 + 2)  # membranes, spikes in the state and as an argument; the counts and the class


def test_nothing_is_written_into_the_folder(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    check(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("qleaky_weights.c", "tiny_events[185] = {", "tiny_events[185] = {1 +"),
        ("qleaky_model.c", "#define THETA 20", "#define THETA 21"),
        ("qleaky_model.c", "exact + 4", "exact + 3"),
        ("qleaky_model.c", "rounded > 127 ? 127", "rounded > 127 ? 126"),
        ("qleaky_model.c", "- 128)", "- 127)"),
    ],
    ids=["weight", "threshold", "rounding", "saturation", "zero point"],
)
def test_a_wrong_model_differs_and_the_first_step_is_named(folder: Path, file: str, before: str, after: str) -> None:
    change(folder / file, before, after)
    report = check(folder)
    assert report.verdict == "differs"
    assert report.mismatches > 0
    assert report.first_divergence is not None
    assert report.first_divergence.layer == "lif"
    assert str(report).startswith("differs: host")


def test_a_wrong_readout_differs_after_the_last_step(folder: Path) -> None:
    change(folder / "qleaky_model.c", "count[k] > state->count[best]", "count[k] >= state->count[best]")
    first = check(folder).first_divergence
    assert first is not None
    assert (first.layer, first.kind, first.step) == ("lif.class", "out", 6)


def test_spikes_that_are_handed_out_wrong_differ(folder: Path) -> None:
    change(folder / "qleaky_model.c", "out_bits[0] = bits", "out_bits[0] = bits ^ 1u")
    first = check(folder).first_divergence
    assert first is not None
    assert (first.layer, first.kind, first.step) == ("lif", "spk", 0)


@pytest.mark.parametrize("line", ["state->mem[k] = 0;", "state->count[k] = 0;"])
def test_a_reset_that_forgets_something_differs(folder: Path, line: str) -> None:
    change(folder / "qleaky_model.c", line, "")
    assert check(folder).verdict == "differs"


def test_a_wrong_golden_digest_differs_though_the_model_is_right(folder: Path) -> None:
    path = folder / "qleaky_vectors.c"
    digest = re.search(r"tiny_expected\[\d+\] = \{\n    (0x\w{8}u)", path.read_text())
    assert digest is not None
    change(path, digest[1], "0x00000000u")
    report = check(folder)
    assert report.verdict == "differs"
    assert any("its golden digests are wrong" in reason for reason in report.reasons)
    assert any("does not hold what the reference computes" in reason for reason in report.reasons)


def test_golden_digests_of_a_wrong_model_do_not_make_it_right(folder: Path) -> None:
    """The program compares with what its folder holds, and says equal; its digests are not the reference's."""
    lif = next(layer for layer in NET.layers if isinstance(layer, LIF))
    wrong = structs.replace(NET, layers=(*NET.layers[:-1], structs.replace(lif, rounding=Rounding.FLOOR)))
    (folder / "qleaky_vectors.c").write_text(vectors_source(MODEL, golden_of(wrong, golden_runs(NET).codes)))
    change(folder / "qleaky_model.c", "exact + 4", "exact")
    report = check(folder)
    assert report.verdict == "differs"
    assert any(reason.startswith("It says 'equal', but its digest of sample") for reason in report.reasons)


def test_a_model_that_was_changed_is_named_though_it_computes_the_same(folder: Path) -> None:
    change(folder / "qleaky_model.c", "#define THETA 20", "#define THETA (10 + 10)")
    report = check(folder)
    assert (report.verdict, report.changed) == ("measured", ("qleaky_model.c",))
    assert "Not what this qleaky writes of the contract: qleaky_model.c. What ran is theirs" in str(report)


def test_a_harness_that_was_changed_is_not_believed(folder: Path) -> None:
    """It prints what an honest one would; no digest tells, so the text must."""
    change(folder / "ports" / "check.c", "check c = {0, 0, 0, 0, 0, 0};", "check c = {0u, 0, 0, 0, 0, 0};")
    report = check(folder)
    assert (report.verdict, report.mismatches, report.changed) == ("differs", 0, ("ports/check.c",))
    assert "ports/check.c is not what this qleaky writes, so what the program prints is worth nothing" in str(report)


def test_line_ends_and_the_lines_for_dsp_are_no_change(folder: Path) -> None:
    path = folder / "qleaky_model.c"
    path.write_bytes((DSP + path.read_text()).replace("\n", "\r\n").encode())
    assert check(folder).changed == ()


def test_a_folder_of_another_contract_is_refused(folder: Path) -> None:
    other = network("other")
    with pytest.raises(
        ArtefactError, match=f"exported from the contract {NET.digest[:12]}; this network is {other.digest[:12]}"
    ):
        Folder.open(folder, other, c_model(other, "other"))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"is no folder that `qleaky-export c` wrote: it has no qleaky_vectors\.c"):
        Folder.open(tmp_path, NET, MODEL)
    (tmp_path / "qleaky_vectors.c").write_text("int x;\n")
    with pytest.raises(ArtefactError, match=r"is not what `qleaky-export c` writes"):
        Folder.open(tmp_path, NET, MODEL)


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    (folder / "qleaky_weights.c").unlink()
    with pytest.raises(ArtefactError, match=r"it has no qleaky_weights\.c"):
        check(folder)


def test_what_does_not_compile_is_said_with_the_compilers_words(folder: Path) -> None:
    change(folder / "qleaky_model.c", "#define THETA 20", "#define THETA missing")
    with pytest.raises(ArtefactError, match=r"compiling qleaky_model\.c for host failed: .*missing"):
        check(folder)


def judged(text: str, golden: GoldenRuns, code: int = 0) -> tuple[bool, str]:
    found = judge(read_output(text.encode()), code, golden, MODEL)
    return found.equal, " ".join(found.reasons)


def test_a_program_that_says_equal_without_digests_is_refused(honest: Ran, golden: GoldenRuns) -> None:
    text = re.sub(r"sample .*\n", "", honest.output.decode())
    with pytest.raises(ArtefactError, match=r"printed digests of 0 samples; qleaky_vectors\.c has 16"):
        judged(text, golden)


def test_a_program_that_says_equal_with_digests_of_its_own_differs(honest: Ran, golden: GoldenRuns) -> None:
    text = re.sub(r"sample 3 digest .{8}", "sample 3 digest 01234567", honest.output.decode())
    assert judged(text, golden) == (False, "It says 'equal', but its digest of sample 3 is not the reference's.")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("equal 320 digests", "equal 319 digests", "It says that it compared 319 digests; there are 320 of 16 samples."),
        ("of 16 samples", "of 15 samples", "It says that it compared 320 digests; there are 320 of 16 samples."),
        ("equal 320 digests of 16 samples", "differs 1 of 320 digests", "its golden digests are wrong"),
    ],
)
def test_a_verdict_that_contradicts_the_digests_differs(
    honest: Ran, golden: GoldenRuns, before: str, after: str, reason: str
) -> None:
    equal, reasons = judged(honest.output.decode().replace(before, after), golden, int("differs" in after))
    assert not equal
    assert reason in reasons


def test_an_exit_code_that_contradicts_the_output_differs(honest: Ran, golden: GoldenRuns) -> None:
    assert honest.code == 0
    assert judged(honest.output.decode(), golden, 1) == (False, "Its exit code is 1, which contradicts what it printed.")


def test_an_output_of_another_model_is_refused(honest: Ran, golden: GoldenRuns) -> None:
    with pytest.raises(ArtefactError, match="The program checked model 'other'"):
        judged(honest.output.decode().replace("model tiny", "model other"), golden)


def test_a_stack_that_met_the_model_is_refused(honest: Ran, golden: GoldenRuns) -> None:
    with pytest.raises(ArtefactError, match="The stack used all the RAM"):
        judged(honest.output.decode().replace("equal", "stack overflow\nequal"), golden)


def test_differences_that_name_nothing_there_is_are_no_first_divergence(honest: Ran, golden: GoldenRuns) -> None:
    line = "differs sample {} layer {} kind mem step {} expected 00000000 got 00000000\n"
    lies = line.format(0, "nothing", 0) + line.format(0, "lif", 99) + line.format(7, "lif", 0)
    text = re.sub(r"sample 0 digest .{8}", lies + "sample 0 digest 01234567", honest.output.decode())
    found = judge(
        read_output(text.replace("equal 320 digests of 16 samples", "differs 3 of 320 digests").encode()), 1, golden, MODEL
    )
    assert (found.equal, found.first, found.mismatches) == (False, None, 3)


@pytest.mark.parametrize("layer", ["膜 1", 'a "quoted" \\ name', "two\nlines", "\x1b[2Jclear", "trigraph ??/"])
def test_any_layer_name_is_digested_as_it_is_and_printed_safely(tmp_path: Path, layer: str) -> None:
    net = network(layer)
    model = c_model(net, layer)
    folder = write_folder(tmp_path / "tiny", net, model)
    assert check(folder, net, model).verdict == "measured"
    change(folder / "qleaky_model.c", "#define THETA 20", "#define THETA 21")
    first = check(folder, net, model).first_divergence
    assert first is not None
    assert first.layer == layer

"""The page of a check: sound HTML that asks for nothing, names that stay text, words that promise no more than was checked."""

import base64
import itertools
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from checks import HOSTILE, Check, Net, Reader, checked, hostile_network, inputs, lowered, maps_network, with_a_changed_weight

from qleaky.verification import Certificate
from qleaky.verification.certificate import NotRun
from qleaky.verification.compare import Comparison, Divergence
from qleaky.verification.divergence import HistoryStep
from qleaky.verification.operation import Operation

KINDS = ("proved", "differs", "float", "hostile", "maps")


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Check]:
    folder = tmp_path_factory.mktemp("pages")
    network = lowered(Net())
    floats = lowered(Net(beta=0.9))
    return {
        "proved": checked(folder, network, inputs(), module=Net()),
        "differs": checked(folder, network, inputs(), module=Net(), data=with_a_changed_weight(network)),
        "float": checked(folder, floats, inputs(), module=Net(beta=0.9)),
        "hostile": checked(folder, hostile_network()),
        "maps": checked(folder, maps_network()),
    }


@pytest.fixture(scope="module")
def pages(checks: dict[str, Check]) -> dict[str, Reader]:
    titles = {"hostile": '"><script>x</script>\u202e\x07.onnx'}
    return {kind: Reader(check.page(titles.get(kind, f"{kind}.onnx"))) for kind, check in checks.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_element_is_closed_and_every_reference_leads_somewhere(kind: str, pages: dict[str, Reader]) -> None:
    page = pages[kind]
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = [attributes["href"][1:] for attributes in page.tags("a") if attributes["href"].startswith("#")]
    wanted += [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert set(wanted) <= set(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_asks_for_nothing_and_runs_nothing(kind: str, pages: dict[str, Reader]) -> None:
    page = pages[kind]
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "use", "image", "foreignobject", "audio")
        assert not {"src", "srcset", "style", "xlink:href", "action", "poster", "background"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith(("#", "data:application/json;base64,"))
    assert [attributes["type"] for attributes in page.tags("script")] == ["application/json"]
    assert not re.search(r"url\(|@import|https?:|expression", "".join(page.styles))
    policy = next(attributes["content"] for attributes in page.tags("meta") if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_read_without_eyes_or_mouse(kind: str, pages: dict[str, Reader]) -> None:
    page = pages[kind]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.tags("html") == [{"lang": "en"}]
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.tags("th"))
    assert len(page.tags("caption")) == len(page.tags("table")) > 0
    assert len(page.tags("figcaption")) == len(page.tags("figure")) > 0
    for attributes in page.tags("svg"):
        assert attributes.get("aria-label") if attributes.get("role") == "img" else attributes["aria-hidden"] == "true"
    assert next(attributes for tag, attributes in page.elements if tag == "a")["class"] == "skip"
    for attributes in page.tags("div"):
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"
            assert attributes["role"] == "region"


def test_what_can_be_focused_shows_it(pages: dict[str, Reader]) -> None:
    style = "".join(pages["proved"].styles)
    assert re.search(r":focus-visible[^{]*\{ outline: 3px", style)
    assert "outline: none" not in style
    for query in ("prefers-color-scheme: dark", "prefers-reduced-motion", "print", "max-width"):
        assert re.search(rf"@media [^{{]*{query}", style)


def test_hostile_names_stay_text(pages: dict[str, Reader]) -> None:
    page = pages["hostile"]
    allowed = {tag for tag, _ in pages["proved"].elements} | {tag for tag, _ in pages["differs"].elements}
    assert {tag for tag, _ in page.elements} <= allowed
    seen = " ".join(page.text) + "".join(value for _, attributes in page.elements for value in attributes.values())
    assert not [c for c in seen if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
    assert "<script>alert(" in page.words
    assert "a\\u202e\\u2066evil\\u0000\\u001b[31m\\u000a" in page.words
    assert "{{ 7 * 7 }}" in page.words
    assert "49" not in next(text for text in page.text if "7 * 7" in text)
    assert max(len(word) for word in page.words.split()) < 140


def test_names_are_whole_in_the_data(pages: dict[str, Reader]) -> None:
    (script,) = pages["hostile"].scripts
    assert script.isascii()
    assert not set("<>&") & set(script)
    assert [layer["layer"] for layer in json.loads(script)["activity"]["spiking"]] == [HOSTILE[1], HOSTILE[3]]


def test_the_same_figures_are_there_as_json(checks: dict[str, Check], pages: dict[str, Reader]) -> None:
    for kind in KINDS:
        (link,) = [attributes for attributes in pages[kind].tags("a") if "download" in attributes]
        saved = json.loads(base64.b64decode(link["href"].partition(",")[2]))
        assert saved == json.loads(pages[kind].scripts[0])
        assert msgspec.convert(saved, Certificate) == checks[kind].report.certificate()


def test_of_very_many_steps_the_digests_stay_in_the_certificate(checks: dict[str, Check]) -> None:
    check = checks["proved"]
    many = tuple(msgspec.structs.replace(each, steps=each.steps * 200) for each in check.report.digests)
    page = Reader(
        Check(check.network, msgspec.structs.replace(check.report, digests=many, num_steps=3000), check.evidence).page()
    )
    assert json.loads(page.scripts[0])["digests"] == []
    assert "the digests of its 3,000 steps are in the certificate alone" in page.words


def test_the_same_check_gives_the_same_bytes(checks: dict[str, Check], tmp_path: Path) -> None:
    check = checks["proved"]
    assert check.page() == check.page()
    assert checked(tmp_path, check.network, inputs(), module=Net()).page() == check.page()


def test_the_bytes_do_not_depend_on_the_process() -> None:
    code = (
        "import hashlib, pathlib, sys, tempfile\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import checks\n"
        "check = checks.checked(pathlib.Path(tempfile.mkdtemp()), checks.maps_network())\n"
        "print(hashlib.sha256(check.page().encode()).hexdigest())\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    found = {
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_proved_check_says_what_it_rests_on(checks: dict[str, Check], pages: dict[str, Reader]) -> None:
    words = pages["proved"].words
    assert f"{checks['proved'].report.compared:,} numbers of 6 samples compared, 0 differ" in words
    assert words.count("A theorem: for every input in the declared range") == 2
    assert "Spikes of layer lif in reference, ONNX Runtime and torch." in words
    assert "The first difference" not in words


def test_a_difference_is_shown_with_its_last_steps(checks: dict[str, Check], pages: dict[str, Reader]) -> None:
    report = checks["differs"].report
    words = pages["differs"].words
    found = report.first_divergence
    assert found is not None
    assert found.terms
    assert f"{report.mismatches:,} of {report.compared:,} numbers differ" in words
    assert (
        f"step {found.step}, sample {found.sample}, element {list(found.element)}: membrane {found.expected:g} expected"
        in words.lower()
    )
    assert f"≠ {int(float(found.got)):,}" in words
    assert f"In step {found.step} that is the sum of " in words
    assert "is not the one that this version of qleaky emits" in words
    assert f"Membrane of neuron {list(found.element)} of layer lif, sample {found.sample}" in words
    assert any("here" in attributes.get("class", "") for attributes in pages["differs"].tags("path"))


def with_comparison(check: Check, comparison: Comparison, **changes: Any) -> Any:
    """The report as if every run had come out so."""
    runs = tuple(msgspec.structs.replace(run, comparison=comparison) for run in check.report.runs)
    return msgspec.structs.replace(check.report, runs=runs, **changes)


def test_of_several_runtimes_those_that_differ_are_told_from_those_that_do_not(checks: dict[str, Check]) -> None:
    check = checks["differs"]
    wrong, right = Comparison(spikes=9, spike_mismatches=2), Comparison(spikes=9)
    first, *_ = check.report.runs
    comparisons = {"onnxruntime": right, "openvino": wrong, "tract": right}
    runs = tuple(msgspec.structs.replace(first, runtime=name, comparison=each) for name, each in comparisons.items())
    report = msgspec.structs.replace(check.report, runs=runs)
    words = Reader(Check(check.network, report, check.evidence).page()).words
    assert "In openvino numbers differ, in onnxruntime and tract none does." in words
    assert "numbers differ, in" not in Reader(check.page()).words


@pytest.mark.parametrize(("mismatches", "verdict"), [(0, "measured"), (3, "differs")])
def test_a_float_network_is_promised_nothing(mismatches: int, verdict: Any, checks: dict[str, Check]) -> None:
    check = checks["float"]
    comparison = Comparison(spikes=9, spike_mismatches=mismatches)
    report = with_comparison(check, comparison, verdict=verdict, artefact_verdict=verdict)
    page = Check(check.network, report, check.evidence).page()
    assert not re.search(r"proved|proven|proof|bit.for.bit|bit.exact|exactly", Reader(page).words, re.IGNORECASE)
    assert "The artefact computes what torch computed" in page
    assert verdict.capitalize() in page


def test_an_integer_network_without_a_theorem_is_promised_nothing(tmp_path: Path) -> None:
    network = lowered(Net())
    quiet = np.zeros((15, 2, 12), np.uint8)
    check = checked(tmp_path, network, quiet, data=with_a_changed_weight(network))
    assert check.report.verdict == "measured"
    words = Reader(check.page()).words
    assert "There is no theorem for other inputs." in words
    assert "No theorem stands behind it" in words
    assert "Proved" not in words


def test_an_output_that_differs_alone_is_said_to_be_one(checks: dict[str, Check]) -> None:
    check = checks["differs"]
    first = Divergence("class", "out", 0, 2, (), 3.0, 1.0)
    report = with_comparison(check, Comparison(outputs=5, output_mismatches=1, first_divergence=first))
    words = Reader(Check(check.network, report, check.evidence).page()).words
    assert "It is an output of the network; every spike and membrane before it is as expected." in words


@pytest.mark.parametrize(
    ("found", "words"),
    [(7, "the difference comes and goes"), (None, "the run could not be repeated"), ("nan", "the difference comes and goes")],
)
def test_a_difference_that_does_not_come_again_is_told(found: Any, words: str, checks: dict[str, Check]) -> None:
    check = checks["differs"]
    steps = tuple(HistoryStep(step=t, membrane_expected=5, membrane_found=found, spike_expected=0) for t in (3, 4))
    first = Divergence("lif", "mem", 4, 0, (2,), 5.0, 6.0, history=steps)
    report = with_comparison(check, Comparison(membranes=5, membrane_mismatches=1, first_divergence=first))
    assert words in Reader(Check(check.network, report, check.evidence).page()).words


def test_runtimes_without_a_verdict_and_operations_that_differ_are_told(checks: dict[str, Check]) -> None:
    check = checks["differs"]
    operation = Operation(
        **{"runtime": "onnxruntime", "trusted": "another", "op_type": "Round", "node": "<b>", "output": "fc\u202e", "step": 3},
        **{"element": (2,), "inputs": ("0.5",), "expected": 0.0, "got": 1.0, "alone": True},
    )
    gone = (NotRun("tract", "<script>no</script>"),)
    report = msgspec.structs.replace(check.report, not_run=gone, operations=(operation,))
    page = Reader(Check(check.network, report, check.evidence).page())
    assert "tract: <script>no</script>" in page.words
    assert "onnxruntime: Round (output" in page.words
    assert len(page.tags("script")) == 1


def test_large_layers_and_pictures_say_what_they_leave_out(pages: dict[str, Reader]) -> None:
    words = pages["maps"].words
    assert re.search(r"Shown are \d+ of 168 neurons, (some of )?those that fired\.", words)
    assert "2 × 7 × 8 numbers at each step" in words
    assert "Summed over time." in words
    assert "synaptic current" in words


def test_a_page_is_small(checks: dict[str, Check]) -> None:
    assert max(len(check.page().encode()) for check in checks.values()) < 200_000


def test_a_run_without_spikes_is_drawn(tmp_path: Path) -> None:
    page = Reader(checked(tmp_path, hostile_network(), np.zeros((8, 2, 6), np.uint8)).page())
    assert page.words.count("0 spikes in 8 steps, the same in every run") == 2

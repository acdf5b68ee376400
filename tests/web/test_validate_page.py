"""validate.html in headless Chromium, from a plain file server, at the sizes of phones and desktops."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from web_bundles import WEB, check_under_node, corrupt, edit_manifest, write_bundle

import qleaky
from qleaky.verification.device.report_file import DeviceFile

PHONE, DESKTOP, NARROW = (390, 844), (1280, 800), (320, 640)
Browse = Callable[..., Any]


class Quiet(SimpleHTTPRequestHandler):
    """What `python -m http.server` runs, without its log."""

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def browse(node: str, chromium: str) -> Iterator[Browse]:
    """Opens a bundle's page, waits for the verdict, and says what the page shows."""
    servers = []

    def open_page(bundle: Path, size: tuple[int, int], query: str = "", **options: Any) -> Any:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(bundle)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_port}"
        shown = in_chromium(node, chromium, f"{origin}/validate.html{query}", size, **options)
        assert {re.sub(r"^(https?://[^/]*).*", r"\1", url) for url in shown["requests"]} <= {origin, "data:,"}
        assert not shown["overflow"], "the page is wider than the screen"
        return shown

    yield open_page
    for server in servers:
        server.shutdown()
        server.server_close()


def in_chromium(node: str, chromium: str, url: str, size: tuple[int, int], **options: Any) -> Any:
    wanted = {"url": url, "chromium": chromium, "width": size[0], "height": size[1], **options}
    command = [node, str(Path(__file__).with_name("browse.mjs")), json.dumps(wanted)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def scan_bundle(network: qleaky.IntegerNetwork, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(network, tmp_path_factory.mktemp("scan"), ("scan",), package)


@pytest.fixture
def corrupted(scan_bundle: Path, tmp_path: Path) -> Path:
    bundle = Path(shutil.copytree(scan_bundle, tmp_path / "bundle"))
    corrupt(bundle, "scan")
    return bundle


@pytest.mark.parametrize(("size", "dark"), [(PHONE, False), (DESKTOP, True)])
def test_a_good_bundle_gets_a_green_verdict_and_a_report(
    browse: Browse, good_bundle: Path, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    shown = browse(good_bundle, size, "?nonce=tea", dark=dark, downloads=str(tmp_path))
    assert (shown["state"], shown["tone"], shown["problems"]) == ("equal", "good", [])
    assert "Equal" in shown["verdict"]
    assert "0 differ" in shown["verdict"]
    assert (shown["progress"], shown["divergence"]) == (1, None)
    assert shown["rasterColours"] > 2
    assert re.search(r"step, sample \d+: spikes over 29 steps, [\d,]+ in lif1, [\d,]+ in lif2\.", shown["caption"])
    for text in ("unrolled (integer)", "scan (integer)", "step (integer)", "median", "p99"):
        assert text in shown["results"]
    data = (tmp_path / "report.json").read_bytes()
    DeviceFile.decode(data)
    report = json.loads(data)
    assert (report["validator"], report["nonce"], "Chrome" in report["device"]["browser"]) == ("validate.html", "tea", True)
    assert [(run["form"], run["verdict"]) for run in report["runs"]] == [(f, "equal") for f in ("unrolled", "scan", "step")]


def test_the_report_of_the_page_is_that_of_node(browse: Browse, node: str, scan_bundle: Path, tmp_path: Path) -> None:
    browse(scan_bundle, PHONE, "?nonce=tea", downloads=str(tmp_path))
    assert (
        check_under_node(node, scan_bundle, "--quick", "--nonce", "tea", "--report", str(tmp_path / "node.json")).returncode
        == 0
    )
    page, under_node = (json.loads((tmp_path / name).read_bytes()) for name in ("report.json", "node.json"))
    for report in (page, under_node):
        del report["device"], report["validator"], report["peak_memory_bytes"], report["runs"][0]["latency_ms"]
    assert page == under_node


@pytest.mark.parametrize(("size", "dark"), [(PHONE, True), (DESKTOP, False)])
def test_a_corrupted_bundle_gets_a_red_verdict_and_the_first_divergence(
    browse: Browse, corrupted: Path, size: tuple[int, int], dark: bool
) -> None:
    shown = browse(corrupted, size, dark=dark)
    assert (shown["state"], shown["tone"], shown["problems"]) == ("differs", "bad", [])
    assert "Differs" in shown["verdict"]
    for text in ("First divergence", "lif2", "membranes", "Step", "Sample", "Found"):
        assert text in shown["divergence"]


def test_words_and_colours_both_tell_the_verdicts_apart(browse: Browse, scan_bundle: Path, corrupted: Path) -> None:
    good, bad = browse(scan_bundle, NARROW), browse(corrupted, NARROW)
    assert good["colour"] != bad["colour"]
    assert good["verdict"].split()[:2] == ["✓", "Equal"]
    assert bad["verdict"].split()[:2] == ["✗", "Differs"]


def test_bad_input_is_refused_in_a_sentence_and_shown_as_text(browse: Browse, corrupted: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    edit_manifest(corrupted, lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    shown = browse(corrupted, NARROW)
    assert (shown["state"], shown["tone"], shown["images"], shown["results"]) == ("refused", "odd", 0, None)
    assert f'files lists "{name}", which is no name that a bundle\'s file may have.' in shown["verdict"]


def test_names_of_a_bundle_are_shown_as_text(browse: Browse, scan_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(scan_bundle, tmp_path / "bundle"))
    edit_manifest(bundle, lambda manifest: manifest.update(created_by="<img src=x><b>maker</b>"))
    shown = browse(bundle, PHONE)
    assert (shown["state"], shown["images"]) == ("equal", 0)
    assert "<img src=x><b>maker</b>" in shown["checked"]


def test_a_missing_file_is_refused(browse: Browse, corrupted: Path) -> None:
    (corrupted / "golden" / "inputs" / "0.npy").unlink()
    shown = browse(corrupted, PHONE)
    assert shown["state"] == "refused"
    assert "golden/inputs/0.npy is missing: the server answers 404." in shown["verdict"]


def test_everything_is_reached_by_the_keyboard(browse: Browse, scan_bundle: Path) -> None:
    assert browse(scan_bundle, DESKTOP, focus=3)["focused"] == ["nonce", "run", "download"]


def test_a_page_opened_as_a_file_says_what_to_type(node: str, chromium: str, scan_bundle: Path) -> None:
    shown = in_chromium(node, chromium, (scan_bundle / "validate.html").as_uri(), PHONE)
    assert "python3 -m http.server 8000" in shown["openedAsFile"]
    assert "Not started" in shown["verdict"]


def test_a_page_without_its_scripts_says_so(browse: Browse, corrupted: Path) -> None:
    shutil.rmtree(corrupted / "web")
    assert "the folder web must lie beside this page" in browse(corrupted, PHONE, wait=False)["notLoaded"]


def test_the_policy_of_the_page_allows_its_one_inline_script_and_nothing_from_elsewhere() -> None:
    page = (WEB / "validate.html").read_text("utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert 'aria-live="polite"' in page


@pytest.mark.parametrize("name", [path.name for path in sorted(WEB.glob("*.js"))])
def test_no_script_writes_html_or_evaluates_text(name: str) -> None:
    text = (WEB / name).read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)


PAIRS = [
    (ink, ground)
    for ground, inks in {
        "ground": ("ink", "dim", "accent"),
        "card": ("ink", "dim", "accent", "good", "bad", "odd"),
        "good-ground": ("ink", "dim", "good"),
        "bad-ground": ("ink", "dim", "bad"),
        "odd-ground": ("ink", "odd"),
        "accent": ("on-accent",),
    }.items()
    for ink in inks
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_a_contrast_of_at_least_4_5(scheme: str) -> None:
    """WCAG 2.2, success criterion 1.4.3."""
    blocks = re.findall(r":root \{(.*?)\}", (WEB / "validate.html").read_text("utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", blocks[0 if scheme == "light" else 1]))
    assert all(contrast(colours[ink], colours[ground]) >= 4.5 for ink, ground in PAIRS)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

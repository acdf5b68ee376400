"""What the tests in this folder need: node, onnxruntime-web and Chromium. Without them they skip, but in CI they fail."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from web_bundles import ROOT, trained, write_bundle

import qleaky

FORMS = ("unrolled", "scan", "step")


def needed(found: str | Path | None, what: str, how: str) -> str:
    if found is not None and Path(found).exists():
        return str(found)
    reason = f"{what} is missing: {how}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def node() -> str:
    return needed(shutil.which("node"), "node", "install Node.js 18 or later")


@pytest.fixture(scope="session")
def package() -> Path:
    named = os.environ.get("QLEAKY_ONNXRUNTIME_WEB") or ROOT / "node_modules" / "onnxruntime-web"
    return Path(needed(named, "onnxruntime-web", "make node_modules/.installed"))


@pytest.fixture(scope="session")
def chromium(node: str) -> str:
    needed(ROOT / "node_modules" / "puppeteer-core", "puppeteer-core", "make node_modules/.installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    return needed(next(filter(None, map(shutil.which, names)), None), "Chromium", "apt-get install chromium")


@pytest.fixture(scope="session")
def network() -> qleaky.IntegerNetwork:
    return trained("japanese-vowels")


@pytest.fixture(scope="session")
def good_bundle(network: qleaky.IntegerNetwork, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(network, tmp_path_factory.mktemp("good"), FORMS, package)


@pytest.fixture
def bundle(good_bundle: Path, tmp_path: Path) -> Path:
    """A copy, to do things to."""
    return Path(shutil.copytree(good_bundle, tmp_path / "bundle"))

"""Whatever bytes or values come, the readers of manifests, reports, bundles and graphs raise their one error, or read them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_helpers import bundle, device, members, network, unpacked, validated, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from qleaky.errors import ArtefactError
from qleaky.export.bundle_manifest import Manifest
from qleaky.verification.device.bundles import Bundle
from qleaky.verification.device.report_file import DeviceFile
from qleaky.verification.device.report_judge import check_report

EXAMPLES = 60
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(
        ["../x", "manifest.json", "a" * 64, "\x1b[2J", "models/scan.onnx", "step", "mem", 1 << 62, 0, -1, [], {}]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key of a JSON value."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [(value, key) for key, _ in items] + [place for _, item in items for place in places(item)]


@st.composite
def changed(draw: st.DrawFn, text: bytes) -> bytes:
    """JSON with a few values replaced, removed or added."""
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(value)))
        how = draw(st.sampled_from(["put", "put", "remove", "add"]))
        if how == "put":
            container[key] = draw(VALUES)
        elif how == "remove":
            del container[key]
        elif isinstance(container, dict):
            container[draw(st.text(max_size=5))] = draw(VALUES)
        else:
            container.insert(key, draw(VALUES))
        if not places(value):
            break
    return json.dumps(value).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with a few replaced, cut out or put in."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        piece = draw(st.binary(max_size=6))
        found[at : at + draw(st.integers(0, 6))] = piece
    return bytes(found)


MANIFEST = members(bundle())["manifest.json"]


def reads(read: Callable[[], Any], error: type[Exception] = ArtefactError) -> bool:
    """Whether it is read; if not, it is refused by that error, in a sentence that no terminal obeys."""
    try:
        read()
    except error as refused:
        sentence = str(refused)
    else:
        return True
    assert sentence.isprintable()
    return False


def device_reads(folder: Path, manifest: bytes) -> None:
    (folder / "manifest.json").write_bytes(manifest)
    device().Bundle(str(folder))


@settings(max_examples=EXAMPLES)
@given(data=changed(MANIFEST) | damaged(MANIFEST) | st.binary(max_size=60))
def test_a_changed_manifest_is_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    reads(lambda: Manifest.decode(data))
    reads(lambda: device_reads(folder, data), device().BadInput)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = unpacked(tmp_path_factory.mktemp("report"))
    validated(folder, "--nonce", "n")
    return (folder / "report.json").read_bytes()


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_changed_report_is_read_or_refused(data: st.DataObject, report: bytes) -> None:
    text = data.draw(changed(report) | damaged(report))
    reads(lambda: DeviceFile.decode(text))


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_changed_report_is_judged_or_refused(
    data: st.DataObject, report: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("judged")
    (folder / "a.zip").write_bytes(bundle())
    (folder / "report.json").write_bytes(data.draw(changed(report)))
    opened = Bundle.open(folder / "a.zip")
    reads(lambda: check_report(folder / "report.json", opened, network(), "n"))


@settings(max_examples=EXAMPLES)
@given(data=changed(MANIFEST))
def test_the_device_ends_with_an_exit_code_whatever_the_manifest_says(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = unpacked(tmp_path_factory.mktemp("device"))
    (folder / "manifest.json").write_bytes(data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(device().Check, "_latency", lambda *_: None)
        code, report = validated(folder, "--samples", "2")
    assert (code in (0, 1, 3)) == bool(report)
    assert code in (0, 1, 2, 3)


@settings(max_examples=EXAMPLES)
@given(data=damaged(bundle()))
def test_a_damaged_bundle_is_refused_or_the_same(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(data)
    if reads(lambda: Bundle.open(path)):  # dates may change, and other things that nobody uses
        assert members(data) == members(bundle())


@settings(max_examples=EXAMPLES)
@given(data=changed(MANIFEST))
def test_a_bundle_with_a_changed_manifest_is_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(zipped(members(bundle()) | {"manifest.json": data}))
    reads(lambda: Bundle.open(path))


@settings(max_examples=4 * EXAMPLES)
@given(data=damaged(members(bundle())["models/scan.onnx"]) | st.binary(max_size=80))
def test_the_device_reads_a_damaged_graph_or_refuses_it(data: bytes) -> None:
    reads(lambda: device().check_model(data, "a.onnx"), device().BadInput)

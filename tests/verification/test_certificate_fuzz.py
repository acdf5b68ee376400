"""Whatever bytes a certificate holds, its reader answers with a certificate or one printable sentence."""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qleaky import IntegerNetwork, QFormat, export_onnx, verify
from qleaky.errors import ArtefactError
from qleaky.integer import LIF, Input, Readout
from qleaky.verification import Certificate
from qleaky.verification.certificate import printable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@functools.cache
def whole() -> bytes:
    layers = (LIF(name="lif", input="input", state=QFormat(8, 3), theta=np.array(20)),)
    parts: dict[str, Any] = {"num_steps": 2, "layers": layers, "readouts": (Readout("lif"),)}
    network = IntegerNetwork(inputs=(Input((2,), QFormat(8, 4)),), **parts)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(network, Path(folder) / "net.onnx")
        return verify(Path(folder) / "net.onnx", network).certificate().encode()


def read(data: bytes) -> None:
    certificate, message = None, "a.json is a certificate."
    try:
        certificate = Certificate.decode(data, "a.json")
    except ArtefactError as error:
        message = str(error)
    assert message.startswith("a.json ")
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < 400
    assert certificate is None or Certificate.decode(certificate.encode()) == certificate


@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    read(data)


@given(JSON)
def test_random_json(value: Any) -> None:
    read(json.dumps(value).encode("utf-8", "surrogatepass"))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where anything stands in a JSON structure."""
    found = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, inner in children for place in places(inner, (*path, key))]


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=200)
def test_a_certificate_with_anything_in_the_place_of_something(data: st.DataObject) -> None:
    held = json.loads(whole())
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(places(held)))
        part = functools.reduce(lambda inner, key: inner[key], path, held)
        how = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "replace":
            part[last] = data.draw(JSON)
        elif how == "remove":
            del part[last]
        elif isinstance(part, dict):
            part[data.draw(st.text(max_size=10))] = data.draw(JSON)
    read(json.dumps(held).encode("utf-8", "surrogatepass"))


@given(place=st.integers(0, 1 << 30), byte=st.integers(0, 255), length=st.integers(0, 3))
def test_a_certificate_with_other_bytes(place: int, byte: int, length: int) -> None:
    data = whole()
    start = place % len(data)
    read(data[:start] + bytes([byte]) * length + data[start + 1 :])


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b'{"version":' * 100_000,
        b'{"version": 2, "reasons": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"version": 1e400}',
        b'{"version": ' + b"9" * 10_000 + b"}",
        b'{"version": -' + b"9" * 30 + b"}",
        b'{"version": 2.0}',
        b'{"version": true}',
        b'{"version": "2"}',
        b'{"version": null}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"version": 2, "\\u001b[31mred": 1}',
        b'{"version": 2, "verdict": "\\ud800"}',
        b"null",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_hostile_files(data: bytes) -> None:
    with pytest.raises(ArtefactError):
        Certificate.decode(data)
    read(data)


def test_a_huge_number_in_the_place_of_a_count() -> None:
    for number in (b"1e400", b"1" * 400, b"18446744073709551616", b"-1", b"0.5"):
        with pytest.raises(ArtefactError, match="is not a certificate, or is damaged"):
            Certificate.decode(whole().replace(b'"samples": 64', b'"samples": ' + number))


def test_names_that_would_command_a_terminal_are_shown_as_what_they_are() -> None:
    assert printable("a\x1b]0;x\x07\u202e\n" + "b" * 1000) == "a\\x1b]0;x\\x07\\u202e\\n" + "b" * 191

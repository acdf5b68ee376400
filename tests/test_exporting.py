"""``export_onnx``: from either kind of network to a file, which is written whole or not at all."""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import qleaky
from qleaky import IntegerNetwork, QFormat, export_onnx, lower
from qleaky.errors import InputError, LoweringError, OutputError, UsageError
from qleaky.export import onnx_bytes
from qleaky.models import FeedForward

ARGUMENTS: dict[str, Any] = {"sample_input": torch.zeros(6, 1, 3), "input_format": QFormat(8, 4)}


def contract() -> Any:
    torch.manual_seed(0)
    network = lower(FeedForward((3, 4)), **ARGUMENTS)
    assert isinstance(network, IntegerNetwork)
    return network


def test_a_contract_is_exported_and_returned(tmp_path: Path) -> None:
    network = contract()
    assert export_onnx(network, str(tmp_path / "net.onnx")) is network
    assert (tmp_path / "net.onnx").read_bytes() == onnx_bytes(network, "unrolled")


def test_a_torch_network_is_lowered_on_the_way(tmp_path: Path) -> None:
    net = FeedForward((3, 5, 4))
    network = export_onnx(net, tmp_path / "net.onnx", readout="spike_count", **ARGUMENTS)
    assert network.digest == lower(net, readout="spike_count", **ARGUMENTS).digest
    assert (tmp_path / "net.onnx").read_bytes() == onnx_bytes(network)


@pytest.mark.parametrize(
    "options",
    [
        {"form": "scan"},
        {"form": "step"},
        {"carrier": "float"},
        {"carrier": "quantized"},
        {"batch_hint": 10**7},
        {"probe": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_reach_the_file_from_either_kind_of_network(options: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = FeedForward((3, 4))
    network = export_onnx(net, tmp_path / "net.onnx", **options, **ARGUMENTS)
    export_onnx(contract(), tmp_path / "again.onnx", **options)
    assert (tmp_path / "net.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes() == onnx_bytes(network, **options)
    assert (tmp_path / "net.onnx").read_bytes() != onnx_bytes(network)


@pytest.mark.parametrize(
    ("network", "arguments", "error", "message"),
    [
        (contract(), {"form": "rolled"}, InputError, "form='rolled' is unknown. Choose one of auto, unrolled, scan, step"),
        (contract(), {"carrier": "int4"}, InputError, "carrier='int4' is unknown. Choose one of integer, float"),
        (contract(), {"batch_hint": -1}, InputError, "batch_hint=-1; it is the number of samples"),
        (contract(), {"num_steps": 3}, UsageError, "num_steps.* lowered already"),
        (FeedForward((3, 4)), {}, UsageError, "a torch network is traced first; pass sample_input="),
        (FeedForward((3, 4)), {"sample_input": torch.zeros(1, 4)}, (LoweringError, InputError), "sample_input"),
        ("net.qleaky", ARGUMENTS, qleaky.QleakyError, "net.qleaky|str"),
    ],
)
def test_misuse_leaves_no_file(network: Any, arguments: Any, error: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        export_onnx(network, tmp_path / "net.onnx", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frac_bits", [56, 80])
def test_sums_that_64_bits_cannot_hold_are_not_exported(frac_bits: int, tmp_path: Path) -> None:
    """The current's step of 2**0 is 2**56 or more steps of the membrane."""
    network = contract()
    lif = msgspec.structs.replace(network.layers[1], state=QFormat(8, frac_bits))
    far = IntegerNetwork(inputs=network.inputs, num_steps=6, layers=(network.layers[0], lif), readouts=network.readouts)
    assert not far.proof.artefact_exact
    with pytest.raises(LoweringError, match="more than 64-bit integers hold"):
        export_onnx(far, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def fail(error: BaseException) -> Any:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    return failing


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "seen", "message"),
    [(FULL, OutputError, "No space left on device"), (KeyboardInterrupt(), KeyboardInterrupt, None)],
)
@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
def test_a_full_disk_or_an_interruption_keeps_the_old_file(
    place: str, error: Any, seen: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"old")
    monkeypatch.setattr(place, fail(error))
    with pytest.raises(seen, match=message):
        export_onnx(contract(), tmp_path / "net.onnx")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"old"


@pytest.mark.parametrize("path", ["missing/net.onnx", "file/net.onnx", "folder", "n" * 300])
def test_a_path_that_cannot_be_written_leaves_nothing(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=r"Cannot write .*Nothing was changed; choose a folder that exists, is writable"):
        export_onnx(contract(), tmp_path / path)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unwritable_folder_leaves_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("the super-user may write everywhere")
        with pytest.raises(OutputError, match="Permission denied"):
            export_onnx(contract(), tmp_path / "net.onnx")
        assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(0o700)


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        export_onnx(contract(), tmp_path / "net.onnx")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "net.onnx").stat().st_mode) == 0o640


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link.onnx").symlink_to(tmp_path / "net.onnx")
    export_onnx(contract(), tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    assert (tmp_path / "net.onnx").read_bytes() == onnx_bytes(contract())
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit((tmp_path / "pipe").read_bytes)
        export_onnx(contract(), tmp_path / "pipe")
        assert reading.result(timeout=10) == onnx_bytes(contract())
    assert (tmp_path / "pipe").is_fifo()

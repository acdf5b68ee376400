"""``sensitivity`` against networks quantized one layer at a time by hand."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import INPUT, OUTPUT, B, Sequence, T, bits, network
from torch import Tensor

from qleaky import quantize, sensitivity
from qleaky.calibration import Sensitivity, SensitivityRow
from qleaky.errors import InputError, OutputError

LABELS = torch.arange(B) % OUTPUT


def scan(**arguments: Any) -> Sensitivity:
    return sensitivity(network("sequence"), bits(T, B, INPUT), LABELS, **arguments)


def alone(row: SensitivityRow, net: Any, x: Tensor) -> Any:
    """The network with what a row names quantized, and nothing else."""
    bits_of = {what: {row.layer: row.bits} if row.what == what else {} for what in ("weights", "states")}
    return quantize(net, x, bits_of["weights"], bits_of["states"], labels=LABELS)


def emitted(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """All spikes, and the classes."""
    with torch.no_grad():
        hidden, _ = net.lif1.sequence(net.fc1(x))
        return torch.cat([hidden.flatten(), net(x).flatten()]), net(x).sum(0).argmax(-1)


def test_every_row_is_the_network_with_that_layer_alone_quantized() -> None:
    net, x = network("sequence"), bits(T, B, INPUT)
    found = scan(bits=(8, 3))
    assert [(row.layer, row.what, row.bits) for row in found.rows] == [
        *(("fc1", "weights", 8), ("fc1", "weights", 3), ("fc2", "weights", 8), ("fc2", "weights", 3)),
        *(("lif1", "states", 8), ("lif1", "states", 3), ("lif2", "states", 8), ("lif2", "states", 3)),
    ]
    made: dict[Any, Any] = {row: alone(row, net, x) for row in found.rows}
    spikes = {key: emitted(each, x) for key, each in {"float": net, **made}.items()}
    assert found.accuracy == float((spikes["float"][1] == LABELS).double().mean())
    for row in found.rows:
        assert row.accuracy == float((spikes[row][1] == LABELS).double().mean())
        assert row.spikes_changed == float((spikes[row][0] != spikes["float"][0]).double().mean())


def test_the_rest_can_be_quantized_too() -> None:
    x = bits(T, B, INPUT)
    row = scan(bits=(4,), rest=8).rows[0]
    made: Any = quantize(network("sequence"), x, {"fc1": 4, "fc2": 8}, 8, labels=LABELS)
    with torch.no_grad():
        assert row.accuracy == float((made(x).sum(0).argmax(-1) == LABELS).double().mean())


def test_ternary_and_binary_are_widths_of_weights_alone() -> None:
    assert [(row.layer, row.bits) for row in scan(bits=("ternary", 4)).rows] == [
        *(("fc1", "ternary"), ("fc1", 4), ("fc2", "ternary"), ("fc2", 4), ("lif1", 4), ("lif2", 4))
    ]


def test_the_table_names_layers_bits_and_the_difference_in_points() -> None:
    lines = str(scan(bits=(8,))).splitlines()
    assert re.fullmatch(r"accuracy [\d.]+% in float, 24 samples, spike_count of lif2; all else float", lines[0])
    assert re.match(r"fc1, weights +8 +[\d.]+% +[+-][\d.]+ +[\d.]+%", lines[3])
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_plot_is_written_whole_and_the_same_for_the_same_rows(tmp_path: Path, suffix: str, begins: bytes) -> None:
    found = scan(bits=(8, 2))
    for name in ("a", "b"):
        found.plot(tmp_path / (name + suffix))
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert data.startswith(begins)
    assert data == (tmp_path / f"b{suffix}").read_bytes()


def test_a_plot_of_another_kind_or_place_is_refused(tmp_path: Path) -> None:
    found = Sensitivity((), 1.0, 1, "spike_count of lif")
    with pytest.raises(InputError, match=r"'scan\.pdf' ends in neither of \.svg, \.png"):
        found.plot("scan.pdf")
    with pytest.raises(OutputError, match="Cannot write"):
        found.plot(tmp_path / "missing" / "scan.png")


def test_the_network_itself_stays() -> None:
    net = network("sequence")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    sensitivity(net, bits(T, B, INPUT), LABELS, bits=(2,))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert type(net) is Sequence

"""Real inputs: spoken digits through a recurrent net, handwritten ones through a convolutional net, every form exact."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch
from test_five_networks import Recurrent, grid, lif
from torch import nn

import qleaky
from qleaky import QFormat, lower
from qleaky.export.artefact import CARRIERS

SAMPLES = 48


def check(network: Any, net: nn.Module, codes: Any, folder: Path) -> None:
    for form in ("unrolled", "scan", "step"):
        for carrier in CARRIERS:
            qleaky.export_onnx(network, folder / "net.onnx", form=form, carrier=carrier)
            report = qleaky.verify(folder / "net.onnx", network, codes, module=net)
            assert (report.verdict, report.mismatches) == ("proved", 0), str(report.first_divergence)
    rates = {name: float(spk.mean()) for name, spk in qleaky.run(network, codes).spikes.items()}
    assert all(0.005 < rate < 0.9 for rate in rates.values()), rates


def test_spoken_digits_through_a_recurrent_net(shared: Path, tmp_path: Path) -> None:
    codes = np.load(shared / "data" / "fsdd" / "fsdd_logmel_u8.npz")["x"][::62][:SAMPLES].transpose(
        1, 0, 2
    )  # (40, B, 32) bytes around 128
    torch.manual_seed(0)
    net = Recurrent()
    net.fc1 = grid(nn.Linear(32, 16), 1.0)
    fmt = QFormat(8, 6, signed=False, zero_point=128)
    network = lower(net, torch.zeros(40, 2, 32), input_format=fmt, readout="membrane_mean:argmax")
    check(network, net, codes, tmp_path)


def test_handwritten_digits_through_a_convolutional_net(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "mnist" / "t10k-images-idx3-ubyte.gz"
    images = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:SAMPLES]
    torch.manual_seed(0)
    net = nn.Sequential(
        *(grid(nn.Conv2d(1, 6, 5, stride=2), 2), lif(init_hidden=True), nn.AvgPool2d(2), grid(nn.Conv2d(6, 8, 3), 4)),
        *(lif(init_hidden=True), nn.Flatten(), grid(nn.Linear(128, 10), 4), lif(init_hidden=True)),
    )
    fmt = QFormat(8, 8, signed=False)
    sample = torch.zeros(2, 1, 28, 28)
    network = lower(net, sample, num_steps=10, time="static", input_format=fmt, readout="spike_count:argmax")
    check(network, net, images, tmp_path)

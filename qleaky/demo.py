"""The whole road on real speech: train, quantize, export, run in ONNX Runtime, compare every spike and membrane."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qleaky._files import make_folder, write_atomically
from qleaky.check_page import write_page
from qleaky.datasets import DataSet, japanese_vowels
from qleaky.errors import QleakyError
from qleaky.export import onnx_bytes, twin
from qleaky.integer import IntegerNetwork
from qleaky.lowering import lower
from qleaky.models import FeedForward, LIFSettings
from qleaky.report import Trace, draw_sample
from qleaky.verification import Report, Runner, verify
from qleaky.verification.probing import ProbedRunner
from qleaky.verification.torch_module import run_module

SIZES = (12, 64, 9)
READOUT = "membrane_mean:argmax"
FILES = ("model.onnx", "model.qleaky", "certificate.json", "utterance.png", "report.html")
Progress = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class Schedule:
    """How one training runs; chosen by cross-validation on the training set alone."""

    epochs: int
    learning_rate: float
    batch: int = 16


FLOAT_SCHEDULE = Schedule(100, 1e-2)
QUANTIZED_SCHEDULE = Schedule(40, 1e-2 / 3)


@dataclass(frozen=True)
class DemoResult:
    """Test accuracies in percent, the check, and the files."""

    float_accuracy: float
    torch_accuracy: float
    runtime_accuracy: float
    report: Report
    files: tuple[Path, ...]


def run_demo(
    folder: str | os.PathLike[str], seed: int = 0, epochs: int | None = None, progress: Progress | None = None
) -> DemoResult:
    """Train 12-64-9 on Japanese Vowels in float, then with 8-bit weights and states; export, verify, and write the files.

    Args:
        folder: receives :data:`FILES`, each whole or not at all.
        seed: of weights and batches; the same seed gives the same result.
        epochs: of both trainings, for a quick look; None takes the schedules.
        progress: told (stage, epoch, epochs, loss) after each epoch.

    Raises:
        OutputError: the folder cannot be written; said before any training.
    """
    target = make_folder(folder)
    data = japanese_vowels()
    tell = progress or (lambda *_: None)
    with _deterministic(seed):
        float_net = FeedForward(SIZES, weight_bits=None, lif=LIFSettings())
        train(float_net, data, _schedule(FLOAT_SCHEDULE, epochs), seed, lambda *a: tell("float training", *a))
        net = FeedForward(SIZES, weight_bits=8, lif=LIFSettings())
        net.load_state_dict(float_net.state_dict())
        train(net, data, _schedule(QUANTIZED_SCHEDULE, epochs), seed, lambda *a: tell("8-bit training", *a))
        return _deploy(target, float_net, net, data)


def train(net: nn.Module, data: DataSet, schedule: Schedule, seed: int, tell: Callable[[int, int, float], None]) -> None:
    """Minimise the cross-entropy of the mean output membrane."""
    inputs, labels = _values(data, "train"), torch.from_numpy(data.train_labels)
    shuffler = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=schedule.learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.epochs)
    for epoch in range(schedule.epochs):
        losses = []
        for picked in torch.randperm(len(labels), generator=shuffler).split(schedule.batch):  # type: ignore[no-untyped-call]
            _, membranes = net(inputs[:, picked])
            loss = F.cross_entropy(membranes.mean(0), labels[picked])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        decay.step()
        tell(epoch + 1, schedule.epochs, float(np.mean(losses)))


def accuracy(net: nn.Module, data: DataSet) -> float:
    """Test accuracy in percent, by the largest mean output membrane."""
    with torch.no_grad():
        _, membranes = net(_values(data, "test"))
    return _percent(membranes.sum(0, dtype=torch.float64).argmax(-1).numpy(), data)


def _deploy(target: Path, float_net: nn.Module, net: nn.Module, data: DataSet) -> DemoResult:
    """Lower, export, verify on the whole test set, and write everything."""
    network = lower(net, _values(data, "test")[:, :1], input_format=data.format, readout=READOUT)
    if not isinstance(network, IntegerNetwork):
        raise QleakyError("The demo's network did not lower to integers; this is a bug: " + " ".join(network.reasons))
    model = onnx_bytes(network)
    files = tuple(target / name for name in FILES)
    for file in (files[2], files[4]):
        file.unlink(missing_ok=True)  # a certificate or report never stands beside a model that it does not speak of
    write_atomically(files[0], model)
    network.save(files[1])
    report = verify(files[0], network, data.test_codes, module=net)
    report.certificate().save(files[2])
    write_atomically(files[3], _picture(net, network, model, data))
    write_page(files[4], report, network, artefact=files[0], inputs=data.test_codes, module=net)
    classes = Runner(model).run(data.test_codes)["class"]
    return DemoResult(accuracy(float_net, data), accuracy(net, data), _percent(classes, data), report, files)


def _picture(net: nn.Module, network: IntegerNetwork, model: bytes, data: DataSet) -> bytes:
    """The first test recording: its input, and what torch and ONNX Runtime made of it."""
    codes = data.test_codes[:, :1]
    hidden, output = (lif.name for lif in network.lif_layers)
    state = network.lif_layers[-1].state
    inputs = {network.input.name: codes}
    torch_run = run_module(net, network, inputs)
    recording, _ = ProbedRunner(twin.parse(model, "model.onnx"), network).record(inputs)
    runs = {
        "torch": (torch_run.spikes, torch_run.membranes),
        "ONNX Runtime": (recording.spikes, recording.membranes),
    }
    traces = [
        Trace(label, spikes[hidden][:, 0], membranes[output][:, 0] * state.step) for label, (spikes, membranes) in runs.items()
    ]
    title = f"Japanese Vowels, test recording 0, speaker {data.test_labels[0]}: torch and ONNX Runtime, {state!r} membranes"
    return draw_sample(data.format.decode(codes[:, 0]), traces, title, threshold=LIFSettings().threshold)


def _values(data: DataSet, split: str) -> Tensor:
    return torch.from_numpy(data.format.decode(data.train_codes if split == "train" else data.test_codes))


def _percent(classes: np.ndarray[tuple[int, ...], np.dtype[np.int64]], data: DataSet) -> float:
    return 100.0 * float((classes == data.test_labels).mean())


def _schedule(schedule: Schedule, epochs: int | None) -> Schedule:
    return schedule if epochs is None else Schedule(epochs, schedule.learning_rate, schedule.batch)


@contextlib.contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """One thread and a seed of our own; the caller's random state and threads come back afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)

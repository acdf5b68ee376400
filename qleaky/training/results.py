"""What a finished training leaves in its folder."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from qleaky._files import write_atomically
from qleaky._version import VERSION
from qleaky.datasets import DataSet
from qleaky.export import onnx_bytes
from qleaky.lowering import lower
from qleaky.models.shipped import header_of
from qleaky.models.structure import describe
from qleaky.recipes import Recipe
from qleaky.training.building import restart
from qleaky.verification import Report, verify

ALWAYS = ("weights.safetensors", "metrics.csv", "recipe.toml", "result.json")
QUANTIZED = ("float.safetensors", "quantization.txt", "model.onnx", "model.qleaky", "certificate.json")
VERIFIED_SAMPLES = 64


@dataclass(frozen=True)
class Accuracy:
    """In percent; ``validation`` is None where no samples were held back."""

    validation: float | None
    test: float


@dataclass(frozen=True, eq=False)
class Result:
    """A finished training.

    Attributes:
        recipe: what was trained.
        seed: of weights, batches, noise and the validation split.
        folder: holds the files.
        network: the final network, on the CPU, in eval mode.
        data: its data set.
        float_accuracy: at the end of the float phase.
        quantized_accuracy: at the end of the quantized phase; None without one.
        report: of the artefact's verification; None without a quantized phase, and in every process but the first.
    """

    recipe: Recipe
    seed: int
    folder: Path
    network: nn.Module
    data: DataSet
    float_accuracy: Accuracy
    quantized_accuracy: Accuracy | None = None
    report: Report | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """What was written."""
        return tuple(self.folder / name for name in (*ALWAYS, *(QUANTIZED if self.report is not None else ())))


def write_weights(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A state dict as safetensors."""
    write_atomically(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, metadata))


def header(result: Result) -> dict[str, str] | None:
    """What :func:`qleaky.models.shipped.load_folder` builds a quantized network from; None for others."""
    recipe, data = result.recipe, result.data
    if result.quantized_accuracy is None or recipe.model.build is not None:
        return None
    steps = data.num_steps or recipe.model.num_steps or 1
    return header_of(recipe, describe(result.network), data.format, data.time, steps)


def deploy(net: nn.Module, recipe: Recipe, data: DataSet, folder: Path) -> Report:
    """Lower, export and verify on test samples; write the graph, its contract, its certificate and how it was quantized."""
    write_atomically(folder / QUANTIZED[1], f"{net.quantization_report}\n".encode())
    dim = 1 if data.time == "sequence" else 0
    codes = np.take(data.test_codes, range(min(VERIFIED_SAMPLES, len(data.test_labels))), axis=dim)
    restart(net)
    sample = torch.from_numpy(data.format.decode(np.take(codes, [0], axis=dim)))
    network = lower(net, sample, input_format=data.format, readout=f"{recipe.model.readout}:argmax")
    graph, contract, certificate = (folder / name for name in QUANTIZED[2:])
    certificate.unlink(missing_ok=True)  # it never stands beside a graph that it does not speak of
    write_atomically(graph, onnx_bytes(network))
    network.save(contract)
    report = verify(graph, network, codes, module=net)
    report.certificate().save(certificate)
    return report


def write_result(result: Result) -> None:
    """``result.json``: accuracies, verdict, seed, the recipe's digest and the versions that made them."""
    report, quantized = result.report, result.quantized_accuracy
    values: dict[str, Any] = {
        "name": result.recipe.name,
        "seed": result.seed,
        "recipe": result.recipe.digest,
        "float": asdict(result.float_accuracy),
        "quantized": None if quantized is None else asdict(quantized),
        "verdict": None if report is None else report.verdict,
        "mismatches": None if report is None else report.mismatches,
        "versions": {
            "qleaky": VERSION,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    write_atomically(result.folder / "result.json", (json.dumps(values, indent=2) + "\n").encode())

"""Which other runtimes compute the same integers: a markdown table of differences, by form and carrier.

    pip install openvino tract
    OMP_NUM_THREADS=1 python benchmarks/runtimes.py

Small dense and convolutional networks with 8- and 16-bit states run on random inputs and those at the ends of the range. A cell
holds the number of differing outputs and final membranes, or the first words of the error where a graph does not load or run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, lower
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS

T, SAMPLES = 6, 4
Arrays = dict[str, Any]


def on_grid(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.copy_(torch.randint(-127, 128, tensor.shape, generator=generator) / 128)
    return layer


def lif(bits: int) -> Leaky:
    return Leaky(115 / 128, 2.0, init_hidden=True, state_quant=FixedPoint(8, 3) if bits == 8 else FixedPoint(16, 6))


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...], QFormat]]:
    found = {}
    for bits in (8, 16):
        dense = nn.Sequential(on_grid(nn.Linear(40, 32)), lif(bits), on_grid(nn.Linear(32, 5)), lif(bits))
        found[f"dense, {bits}-bit states"] = dense, (40,), QFormat(1, 0, signed=False)
        conv = nn.Sequential(
            *(on_grid(nn.Conv2d(2, 4, 3, padding=1)), lif(bits), nn.AvgPool2d(2), on_grid(nn.Conv2d(4, 6, 3)), lif(bits)),
            *(nn.MaxPool2d(2), nn.Flatten(), on_grid(nn.Linear(6, 3)), lif(bits)),
        )
        found[f"convolutional, {bits}-bit states"] = conv, (2, 8, 8), QFormat(8, 8, signed=False)
    return found


def reference_evaluator(path: Path, x: Any) -> Arrays:
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    return dict(
        zip((output.name for output in model.graph.output), ReferenceEvaluator(model).run(None, {"input": x}), strict=True)
    )


def openvino(path: Path, x: Any) -> Arrays:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {name: values for output, values in compiled({"input": x}).items() for name in output.names}


def tract(path: Path, x: Any) -> Arrays:
    import tract

    names = [output.name for output in onnx.load(path).graph.output]
    runnable = tract.onnx().load(str(path)).into_model().into_runnable()
    return dict(zip(names, (np.array(value.to_numpy()) for value in runnable.run([x])), strict=True))


RUNTIMES: dict[str, Callable[[Path, Any], Arrays]] = {
    "onnx reference evaluator": reference_evaluator,
    "OpenVINO": openvino,
    "tract": tract,
}


def cell(run: Callable[[Path, Any], Arrays], path: Path, x: Any, expected: Arrays) -> str:
    try:
        got = run(path, x)
    except Exception as error:  # each runtime has errors of its own
        return f"{type(error).__name__}"
    wrong = sum(int((np.asarray(got[name]).reshape(array.shape) != array).sum()) for name, array in expected.items())
    return f"{wrong} of {sum(array.size for array in expected.values())}"


def main() -> None:
    print(f"| network | form | carrier | {' | '.join(RUNTIMES)} |\n|{'---|' * (3 + len(RUNTIMES))}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for name, (net, shape, fmt) in networks().items():
            network = lower(net, torch.zeros(2, *shape), num_steps=T, input_format=fmt, readout="membrane_mean:argmax")
            assert isinstance(network, IntegerNetwork), network.reasons
            codes = np.random.default_rng(0).integers(fmt.lowest, fmt.highest + 1, (T, SAMPLES, *shape)).astype(fmt.dtype)
            codes[:, 0], codes[:, 1] = fmt.highest, fmt.lowest
            recording = qleaky.run(network, codes)
            expected = recording.outputs | {f"{layer}.final_mem": mem[-1] for layer, mem in recording.membranes.items()}
            for form in ("unrolled", "scan"):
                for carrier in CARRIERS:
                    path.write_bytes(onnx_bytes(network, form=form, carrier=carrier))
                    cells = " | ".join(cell(run, path, codes, expected) for run in RUNTIMES.values())
                    print(f"| {name} | {form} | {carrier} | {cells} |")


if __name__ == "__main__":
    main()

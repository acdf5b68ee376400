"""The same files on another processor: valgrind shows an AVX2 machine without VNNI, and every output is the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import qleaky
from qleaky import FixedPoint, IntegerNetwork, Leaky, QFormat, lower
from qleaky.export import onnx_bytes
from qleaky.export.artefact import CARRIERS

RUN = """
import sys
import numpy as np
import onnxruntime as ort
from pathlib import Path

features = np._core._multiarray_umath.__cpu_features__
print("avx512" if features["AVX512F"] else "no avx512", flush=True)
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    for level in (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        vectors = np.load(path.with_suffix(".npz"))
        got = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"input": vectors["input"]})))
        wrong = sum(int((got[name] != vectors[name]).sum()) for name in vectors.files if name != "input")
        print(path.stem, wrong, flush=True)
"""
T = 6
SPIKES, BYTES, CENTRED, SIGNED = QFormat(1, 0, False), QFormat(8, 8, False), QFormat(8, 6, False, 128), QFormat(8, 7)


def on_grid(layer: nn.Module, bits: int, step: float) -> nn.Module:
    """Weights that use the whole range of their codes."""
    generator, limit = torch.Generator().manual_seed(3), (1 << (bits - 1)) - 1
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.copy_(torch.randint(-limit, limit + 1, tensor.shape, generator=generator) * step)
    return layer


def lif(bits: int) -> Leaky:
    state = FixedPoint(8, 3) if bits == 8 else FixedPoint(16, 6)
    return Leaky(115 / 128, 2.0, init_hidden=True, state_quant=state)


def dense(bits: int, state: int) -> nn.Module:
    step = 2.0 ** -(bits - 1)
    return nn.Sequential(on_grid(nn.Linear(40, 32), bits, step), lif(state), on_grid(nn.Linear(32, 5), bits, step), lif(state))


def convolutional(bits: int, state: int) -> nn.Module:
    step = 2.0 ** -(bits - 1)
    return nn.Sequential(
        on_grid(nn.Conv2d(2, 4, 3, padding=1), bits, step),
        *(lif(state), nn.AvgPool2d(2), on_grid(nn.Conv2d(4, 6, 3), bits, step), lif(state), nn.MaxPool2d(2), nn.Flatten()),
        *(on_grid(nn.Linear(6, 3), bits, step), lif(state)),
    )


CASES: dict[str, tuple[nn.Module, tuple[int, ...], QFormat]] = {
    "spikes": (dense(8, 16), (40,), SPIKES),
    "bytes": (dense(8, 16), (40,), BYTES),
    "centred": (dense(8, 8), (40,), CENTRED),
    "signed": (dense(8, 16), (40,), SIGNED),
    "four-bit": (dense(4, 8), (40,), BYTES),
    "two-bit": (dense(2, 16), (40,), SPIKES),
    "images": (convolutional(8, 16), (2, 8, 8), BYTES),
    "small-images": (convolutional(4, 8), (2, 8, 8), SPIKES),
}


def write(folder: Path) -> int:
    """Every case in two forms and both carriers, with inputs at the ends of their range, and the reference's outputs."""
    count = 0
    for name, (net, shape, fmt) in CASES.items():
        network = lower(net, torch.zeros(2, *shape), num_steps=T, input_format=fmt, readout="membrane_mean:argmax")
        assert isinstance(network, IntegerNetwork), network.reasons
        rng = np.random.default_rng(0)
        codes: Any = rng.integers(fmt.lowest, fmt.highest + 1, (T, 9, *shape)).astype(fmt.dtype)
        codes[:, 0], codes[:, 1] = fmt.highest, fmt.lowest
        recording = qleaky.run(network, codes)
        assert any(spikes.any() for spikes in recording.spikes.values())
        finals = {f"{layer}.final_mem": membranes[-1] for layer, membranes in recording.membranes.items()}
        for form in ("unrolled", "scan"):
            for carrier in CARRIERS:
                stem = folder / f"{name}.{form}.{carrier}"
                stem.with_name(stem.name + ".onnx").write_bytes(onnx_bytes(network, form=form, carrier=carrier))
                np.savez(stem.with_name(stem.name + ".npz"), input=codes, **recording.outputs, **finals)
                count += 1
    return count


def test_an_avx2_machine_computes_the_same_integers(tmp_path: Path) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        if os.environ.get("CI"):
            pytest.fail("valgrind is missing; .ci/run installs it.")
        pytest.skip("valgrind is not installed; on Debian: apt-get install valgrind")
    count = write(tmp_path)
    (tmp_path / "run.py").write_text(RUN)
    command = [valgrind, "--tool=none", "-q", sys.executable, str(tmp_path / "run.py"), str(tmp_path)]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ran.returncode == 0, ran.stderr
    first, *lines = ran.stdout.split("\n")[:-1]
    assert first == "no avx512", "valgrind shows the machine's own instruction set; this test then shows nothing"
    assert len(lines) == 2 * count
    assert [line for line in lines if not line.endswith(" 0")] == []

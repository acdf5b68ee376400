"""A contract for the tests of runtimes: two layers, 8- or 16-bit states, a quantized input, and the ways it leaves as ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from qleaky import IntegerNetwork, QFormat
from qleaky.dynamics import MulShift
from qleaky.export import onnx_bytes
from qleaky.integer import LIF, Input, Linear, Readout

T, SAMPLES = 5, 9
RNG = np.random.default_rng(7)
INPUTS = RNG.integers(-128, 128, (T, SAMPLES, 3), dtype=np.int8)
WEIGHTS = [RNG.integers(-127, 128, shape, dtype=np.int8) for shape in ((6, 3), (4, 6))]
FORMS = ("unrolled", "scan", "step")
CARRIERS = ("integer", "float", "quantized")


def contract(bits: int = 8) -> IntegerNetwork:
    layers: list[Any] = []
    for i, weight in enumerate(WEIGHTS, start=1):
        layers.append(Linear(name=f"fc{i}", input="input" if i == 1 else "lif1", weight=weight, weight_frac_bits=6))
        decay: dict[str, Any] = {"decay": MulShift(n=7), "multiplier": np.array(115)}
        layers.append(LIF(name=f"lif{i}", input=f"fc{i}", state=QFormat(bits, bits - 4), theta=np.array(20), **decay))
    readouts = (Readout("lif2", "spike_count", argmax=True),)
    return IntegerNetwork(inputs=(Input((3,), QFormat(8, 5)),), num_steps=T, layers=tuple(layers), readouts=readouts)


def artefact(folder: Path, form: str = "unrolled", carrier: str = "integer", bits: int = 8) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(onnx_bytes(contract(bits), form=form, carrier=carrier))
    return path


def model(form: str, carrier: str = "integer", bits: int = 8) -> onnx.ModelProto:
    return onnx.load_model_from_string(onnx_bytes(contract(bits), form=form, carrier=carrier))

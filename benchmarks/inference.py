"""Inference of whole networks on one thread, as ratios of medians of one interleaved run; markdown tables.

    OMP_NUM_THREADS=1 python benchmarks/inference.py [W1 W2 W3] [--batches 1 64] [--bits 16 8]

The candidates: snntorch eager, SpikingJelly multi-step (where it is installed), torch.onnx's own export of the unrolled float
network in ONNX Runtime, and qleaky's graphs. The floor is what no such network in ONNX Runtime can be faster than: its bare
int8 matrix products (W3: float32 convolutions), over all steps at once or step by step, whichever is faster.
qleaky's outputs are checked against the reference before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import onnxruntime as ort
import torch
from networks import STATES, WORKLOADS, Naive, Workload, snntorch_network, spikingjelly_network
from timing import Run, kibibytes, medians, repeated, reset_peak

import qleaky
from qleaky import IntegerNetwork
from qleaky.export import onnx_bytes
from qleaky.verification.runners import Runner

FORMS = [(form, carrier) for form in ("unrolled", "scan") for carrier in ("integer", "float", "quantized")]
TARGETS: dict[tuple[str, int, int], list[tuple[str, float]]] = {
    ("W1", 1, 16): [("torch.onnx (dynamo)", 3.0), ("torch.onnx (TorchScript)", 3.0), ("snntorch", 18.0)],
    ("W2", 1, 16): [("snntorch", 19.0), ("floor", 1 / 2.3)],
    ("W2", 64, 16): [("snntorch", 4.5), ("floor", 1 / 1.35)],
    ("W2", 64, 8): [("floor", 1 / 1.25)],
    ("W3", 1, 16): [("snntorch", 14.0)],
}


def session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_reuse = len(onnx.load_model_from_string(model).graph.node) < 1_000
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def floor(workload: Workload, network: IntegerNetwork, batch: int, *, all_steps: bool) -> Run:
    """The bare products in one session: MatMulInteger of u8 spikes and int8 weights, or convolutions in float32.

    Over all steps at once, or for one step, which is then run T times.
    """
    nodes, inits, inputs, outputs, feeds = [], [], [], [], {}
    rng, rows = np.random.default_rng(0), batch * (workload.num_steps if all_steps else 1)
    for layer in network.layers:
        weight = getattr(layer, "weight", None)
        if weight is None:
            continue
        source = network.signals[layer.inputs[0]].shape
        conv, x, w, y = weight.ndim > 2, f"x{layer.name}", f"w{layer.name}", f"y{layer.name}"
        dtype = np.float32 if conv else np.uint8
        feeds[x] = (rng.random((rows, *source)) < 0.2).astype(dtype)
        inputs.append(oh.make_tensor_value_info(x, oh.np_dtype_to_tensor_dtype(np.dtype(dtype)), [rows, *source]))
        inits.append(onnx.numpy_helper.from_array(weight.astype(np.float32) if conv else weight.T.copy(), w))
        nodes.append(oh.make_node("Conv" if conv else "MatMulInteger", [x, w], [y]))
        outputs.append(oh.make_tensor_value_info(y, 1 if conv else 6, None))
    graph = oh.make_graph(nodes, "floor", inputs, outputs, inits)
    bare = session(oh.make_model(graph, opset_imports=[oh.make_opsetid("", 21)], ir_version=10).SerializeToString())
    return repeated(lambda: bare.run(None, feeds), 1 if all_steps else workload.num_steps)


def torch_onnx(workload: Workload, batch: int, folder: Path, *, dynamo: bool) -> tuple[str, bytes]:
    """torch.onnx's export of the unrolled float network, by the dynamo or the TorchScript exporter."""
    net = Naive(workload.currents(), STATES[16][1], workload.num_steps).eval()
    path = folder / f"{workload.name}-{batch}-{dynamo}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"external_data": False} if dynamo else {}
        torch.onnx.export(net, (workload.inputs(batch),), path, dynamo=dynamo, verbose=False, **options)
    return f"torch.onnx ({'dynamo' if dynamo else 'TorchScript'}) in ONNX Runtime", path.read_bytes()


def candidates(workload: Workload, batch: int, bits: int, folder: Path) -> tuple[dict[str, Run], dict[str, bytes]]:
    x = workload.inputs(batch)
    network = workload.lowered(bits)
    runs: dict[str, Run] = {
        f"floor: the bare products, {'all steps at once' if whole else 'step by step'}": floor(
            workload, network, batch, all_steps=whole
        )
        for whole in (True, False)
    }
    models: dict[str, bytes] = {}
    snn, jelly = snntorch_network(workload), spikingjelly_network(workload)
    runs["snntorch eager"] = lambda: snn(x)
    if jelly is not None:
        runs["SpikingJelly multi-step"] = lambda: jelly(x)
    for dynamo in (True, False) if workload.name == "W1" else (False,):  # dynamo takes minutes for the others
        name, model = torch_onnx(workload, batch, folder, dynamo=dynamo)
        naive = session(model)
        feed = {naive.get_inputs()[0].name: x.numpy()}
        runs[name], models[name] = (lambda naive=naive, feed=feed: naive.run(None, feed)), model
    codes = x.numpy().astype(np.uint8)
    expected = qleaky.run(network, codes).outputs
    for form, carrier in FORMS:
        label = f"qleaky {form}, {carrier} carrier, {bits}-bit states"
        models[label] = onnx_bytes(network, form=form, carrier=carrier, batch_hint=batch)
        ours = session(models[label])
        check(ours, codes, expected, label)
        runs[label] = lambda ours=ours: ours.run(None, {"input": codes})
    label = f"qleaky step, integer carrier, {bits}-bit states, streamed from Python"
    models[label] = onnx_bytes(network, form="step", carrier="integer", batch_hint=batch)
    streamed = Runner(models[label])
    assert all(np.array_equal(array, streamed.run(codes)[name]) for name, array in expected.items()), f"{label} differs"
    runs[label] = lambda: streamed.run(codes)
    return runs, models


def check(ours: ort.InferenceSession, codes: Any, expected: dict[str, Any], label: str) -> None:
    names = [output.name for output in ours.get_outputs()]
    found = dict(zip(names, ours.run(None, {"input": codes}), strict=True))
    for name, array in expected.items():
        assert np.array_equal(array, found[name]), f"{label}: {name} differs from the reference"


def creation(model: bytes) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        session(model)
        times.append(time.process_time() - start)
    return statistics.median(times)


def peak_memory(model: bytes, workload: Workload, batch: int, folder: Path) -> float:
    """MiB that loading and running a model adds, at its peak, to a process that has imported ONNX Runtime."""
    path = folder / "peak.onnx"
    path.write_bytes(model)
    shape = ",".join(map(str, (workload.num_steps, batch, *workload.shape)))
    command = [sys.executable, __file__, "--peak", str(path), "--shape", shape]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(path: str, shape: str) -> None:
    data = Path(path).read_bytes()
    reset_peak()
    before = kibibytes("VmHWM")
    ours = session(data)
    wanted = ours.get_inputs()[0]
    dtype = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[wanted.type]
    ours.run(None, {wanted.name: np.zeros([int(s) for s in shape.split(",")], dtype)})
    print((kibibytes("VmHWM") - before) / 1024)


def table(workload: Workload, batch: int, bits: int, folder: Path, rounds: int) -> None:
    runs, models = candidates(workload, batch, bits, folder)
    once = medians(runs, 1)
    often = {name: max(1, min(200, round(0.02 / max(seconds, 1e-6)))) for name, seconds in once.items()}
    times = {n: t / often[n] for n, t in medians({n: repeated(r, often[n]) for n, r in runs.items()}, rounds).items()}
    base = times["snntorch eager"]
    low = min(seconds for name, seconds in times.items() if name.startswith("floor"))
    print(f"\n### {workload.name}, batch {batch}, {bits}-bit states\n")
    print("| | times faster than snntorch | of the floor | ms here | session | bytes | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for name, seconds in times.items():
        extra = ""
        if name in models:
            model = models[name]
            peak = "" if "streamed" in name else f"{peak_memory(model, workload, batch, folder):.0f}"
            extra = f"{creation(model) * 1e3:.0f} ms | {len(model):,} | {peak}"
        print(f"| {name} | {base / seconds:.2f}x | {seconds / low:.2f}x | {seconds * 1e3:.3f} | {extra or ' | | '} |")
    report_targets(workload.name, batch, bits, times)


def report_targets(name: str, batch: int, bits: int, times: dict[str, float]) -> None:
    ours = {label: seconds for label, seconds in times.items() if label.startswith("qleaky")}
    best = min(ours, key=ours.__getitem__)
    for peer, target in TARGETS.get((name, batch, bits), []):
        against = min(seconds for label, seconds in times.items() if label.startswith(peer))
        ratio = against / ours[best]
        met = "met" if ratio >= target else "NOT met"
        words = (
            f"{1 / ratio:.2f}x the floor, target at most {1 / target:.2f}x"
            if peer == "floor"
            else f"{ratio:.2f}x, target {target}x"
        )
        print(f"\nBest: {best}; against {peer}: {words}: {met}.")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[w.name for w in WORKLOADS])
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 64])
    parser.add_argument("--bits", nargs="*", type=int, default=[16, 8])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak")
    parser.add_argument("--shape")
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(arguments.peak, arguments.shape)
        return
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, onnxruntime {ort.__version__}, one thread, CPU time, medians of {arguments.rounds} rounds"
    )
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for workload in (w for w in WORKLOADS if w.name in arguments.names):
            for batch in arguments.batches:
                for bits in arguments.bits:
                    table(workload, batch, bits, Path(folder), arguments.rounds)


if __name__ == "__main__":
    main()

"""Export time, file size and memory, against torch.onnx.export of the unrolled network; markdown tables.

    OMP_NUM_THREADS=1 python benchmarks/export.py

Ours is everything: tracing, lowering, the check against torch, building, the ONNX checker, writing. Each measurement runs in
a process of its own, its imports done; CPU time. torch.onnx's dynamo exporter grows faster than linearly with T, so it is
measured up to T=25.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from networks import STATES, W1, Naive, Workload
from timing import kibibytes, reset_peak
from torch import nn

from qleaky import FixedPoint, Leaky, export_onnx

T_OURS = (10, 25, 100, 200, 400, 1000)
T_TORCH = (10, 25)
TARGETS = {100: 2.0, 1000: 5.0}


def ours(form: str, num_steps: int, path: Path) -> None:
    net = W1.hidden(16)
    export_onnx(
        net,
        path,
        form=form,
        sample_input=W1.inputs(2)[0],
        num_steps=num_steps,
        input_format="spikes",
        readout="spike_count:argmax",
    )


def torch_onnx(num_steps: int, path: Path) -> None:
    longer = Workload("W1", num_steps, W1.shape, W1.sizes)
    net = Naive(longer.currents(), STATES[16][1], num_steps).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (longer.inputs(1),), path, dynamo=True, verbose=False, external_data=False)


def ten_million(path: Path) -> None:
    """A network of 10,010,000 weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for into, out in ((1000, 2500), (2500, 2500), (2500, 500), (500, 20)):
        linear = nn.Linear(into, out, bias=False)
        with torch.no_grad():
            linear.weight.copy_((linear.weight * 2000).round().clamp(-127, 127) / 128)
        layers += [linear, Leaky(230 / 256, init_hidden=True, state_quant=FixedPoint(16, 7))]
    net = nn.Sequential(*layers)
    reset_peak()
    export_onnx(net, path, sample_input=torch.zeros(1, 1000), num_steps=25, input_format="spikes", readout="spike_count")


def measure(*arguments: str) -> tuple[float, int, float]:
    """(CPU seconds, bytes, peak MiB) of one export in a process of its own."""
    output = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True).stdout
    seconds, size, peak = output.split()[-3:]
    return float(seconds), int(size), float(peak)


def child(kind: str, num_steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        reset_peak()
        before = kibibytes("VmHWM")
        start = time.process_time()
        if kind == "torch.onnx":
            torch_onnx(num_steps, path)
        elif kind == "ten-million":
            ten_million(path)
        else:
            ours(kind, num_steps, path)
        seconds = time.process_time() - start
        print(seconds, path.stat().st_size, (kibibytes("VmHWM") - before) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("child", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.child:
        child(arguments.child[0], int(arguments.child[1]))
        return
    print(f"torch {torch.__version__}, one thread\n\n### Export of W1 (784-256-10)\n")
    print("| T | unrolled | scan | step | torch.onnx (dynamo) | unrolled bytes | scan bytes | torch.onnx bytes |")
    print("|---|---|---|---|---|---|---|---|")
    for num_steps in T_OURS:
        print(row(num_steps))
    seconds, size, peak = measure("ten-million", "25")
    memory = f"{peak:.0f} MiB more at the peak"
    print(f"\n10,010,000 int8 weights, T=25: {seconds:.1f} s with building the network, {size:,} bytes, {memory}")


def row(num_steps: int) -> str:
    forms = {form: measure(form, str(num_steps)) for form in ("unrolled", "scan", "step")}
    unrolled = forms["unrolled"][0]
    cells = [f"{seconds:.2f} s" for seconds, _, _ in forms.values()]
    if num_steps in TARGETS:
        met = "met" if unrolled <= TARGETS[num_steps] else "NOT met"
        cells[0] += f" (target {TARGETS[num_steps]} s: {met})"
    peer = measure("torch.onnx", str(num_steps)) if num_steps in T_TORCH else None
    cells.append("" if peer is None else f"{peer[0]:.1f} s, {peer[0] / unrolled:.0f}x")
    cells += [f"{forms['unrolled'][1]:,}", f"{forms['scan'][1]:,}", "" if peer is None else f"{peer[1]:,}"]
    return f"| {num_steps} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

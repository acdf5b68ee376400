"""Speed of 8-bit state quantizers against snntorch's, as ratios of medians of one interleaved run.

    OMP_NUM_THREADS=1 python benchmarks/quantizers.py

``qleaky.state_quant`` has snntorch's grid and is checked to give the same numbers; ``FixedPoint`` has a grid of its own.
"""

import statistics
import time
from collections.abc import Callable

import torch
from snntorch.functional import quant
from torch import Tensor

from qleaky import FixedPoint, state_quant

TARGET = 20
SHAPE = (128, 256)
Quantizer = Callable[[Tensor], Tensor]


def forward(quantizer: Quantizer, x: Tensor) -> None:
    quantizer(x)


def forward_backward(quantizer: Quantizer, x: Tensor) -> None:
    quantizer(x.clone().requires_grad_()).sum().backward()


def medians(
    call: Callable[[Quantizer, Tensor], None], quantizers: dict[str, Quantizer], repetitions: int = 15
) -> dict[str, float]:
    """Seconds a call, from rounds in which every quantizer has its turn; the first round only warms up."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    times: dict[str, list[float]] = {name: [] for name in quantizers}
    for _ in range(repetitions + 1):
        for name, quantizer in quantizers.items():
            start = time.perf_counter()
            call(quantizer, x)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(measured[1:]) for name, measured in times.items()}


def report(title: str, times: dict[str, float]) -> None:
    print(f"\n{title}")
    reference, *ours = times
    print(f"  {reference:<40} {times[reference] * 1e3:9.3f} ms")
    for name in ours:
        ratio = times[reference] / times[name]
        met = "met" if ratio >= TARGET else "NOT met"
        print(f"  {name:<40} {times[name] * 1e3:9.3f} ms   {ratio:7.1f}x   target {TARGET}x: {met}")


def main() -> None:
    torch.set_num_threads(1)
    quantizers: dict[str, Quantizer] = {
        "snntorch state_quant(8)": quant.state_quant(8),
        "qleaky state_quant(8), the same grid": state_quant(8),
        "qleaky FixedPoint(8, 5)": FixedPoint(8, 5),
    }
    x = torch.randn(SHAPE) * 2
    assert torch.equal(state_quant(8)(x), quant.state_quant(8)(x)), "the grids differ: the comparison would not be fair"
    print(f"torch {torch.__version__}, one thread, 8 bits, x of shape {SHAPE}; ratio: snntorch's time / this time")
    report("forward", medians(forward, quantizers))
    report("forward + backward", medians(forward_backward, quantizers))


if __name__ == "__main__":
    main()

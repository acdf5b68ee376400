"""Training speed of one layer against snntorch, forward and backward, as ratios of medians of one interleaved run.

    OMP_NUM_THREADS=1 python benchmarks/training.py

snntorch runs as its users write it: a loop that threads the membrane, its outputs stacked. qleaky runs ``Leaky.sequence``.
Both get the same currents and the same gradients; spikes and gradients are checked to be equal before anything is timed.
"""

import statistics
import time
from collections.abc import Callable, Iterable

import snntorch
import torch
from snntorch.functional import quant
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky, state_quant

TARGET = 2.5
SHAPE = (100, 128, 256)
SHORT = (10, 128, 256)
Run = Callable[[], tuple[Tensor, Tensor]]


def over_steps(layer: nn.Module, steps: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    spks, mems, mem = [], [], None
    for input_ in steps:
        spk, mem = layer(input_, torch.zeros_like(input_) if mem is None else mem)
        spks.append(spk)
        mems.append(mem)
    return torch.stack(spks), torch.stack(mems)


def training_step(forward: Callable[[Tensor], tuple[Tensor, Tensor]], currents: Tensor, weights: Tensor) -> Run:
    """Forward, and backward from gradients of both outputs; gives the spikes and the gradient of the currents."""

    def run() -> tuple[Tensor, Tensor]:
        x = currents.detach().requires_grad_()
        spks, mems = forward(x)
        torch.autograd.backward((spks, mems), (weights, weights))
        assert x.grad is not None
        return spks.detach(), x.grad

    return run


def training_step_with_loss(forward: Callable[[Tensor], tuple[Tensor, Tensor]], currents: Tensor, weights: Tensor) -> Run:
    """The same within a copy of the currents and a loss over all outputs, whose time is the same on both sides."""

    def run() -> tuple[Tensor, Tensor]:
        x = currents.clone().requires_grad_()
        spks, mems = forward(x)
        ((spks + mems) * weights).sum().backward()
        assert x.grad is not None
        return spks.detach(), x.grad

    return run


def medians(runs: dict[str, Run], repetitions: int) -> dict[str, float]:
    """Seconds a run, from rounds in which every run has its turn; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(measured[1:]) for name, measured in times.items()}


def check_equal(reference: Run, ours: Run) -> None:
    for theirs, mine in zip(reference(), ours(), strict=True):
        assert torch.equal(theirs, mine), "spikes or gradients differ: the comparison would not be fair"


def report(title: str, times: dict[str, float], reference: str, target: tuple[str, float] | None = None) -> None:
    print(f"\n{title}")
    for name, seconds in times.items():
        ratio = times[reference] / seconds
        print(f"  {name:<58} {seconds * 1e3:9.1f} ms   {ratio:6.2f}x")
        if target and name == target[0]:
            print(f"  {'':<58} target {target[1]}x: {'met' if ratio >= target[1] else 'NOT met'}")


def float_membranes(repetitions: int = 9) -> None:
    generator = torch.Generator().manual_seed(0)
    currents, weights = (torch.randn(SHAPE, generator=generator) * 0.5 for _ in range(2))
    reference, ours = snntorch.Leaky(0.9), Leaky(0.9)
    runs = {
        "snntorch, loop over currents.unbind(0)": training_step(
            lambda x: over_steps(reference, x.unbind(0)), currents, weights
        ),
        "qleaky, sequence": training_step(ours.sequence, currents, weights),
        "snntorch, loop over currents[t]": training_step(
            lambda x: over_steps(reference, (x[t] for t in range(len(x)))), currents, weights
        ),
        "qleaky, loop over currents.unbind(0)": training_step(lambda x: over_steps(ours, x.unbind(0)), currents, weights),
    }
    first, second, *_ = runs
    check_equal(runs[first], runs[second])
    title = f"Float membranes, currents {SHAPE}, forward + backward, median of {repetitions} interleaved rounds"
    report(title, medians(runs, repetitions), first, (second, TARGET))
    around = {
        first: training_step_with_loss(lambda x: over_steps(reference, x.unbind(0)), currents, weights),
        second: training_step_with_loss(ours.sequence, currents, weights),
    }
    report(
        "The same with a copy of the currents and a loss ((spk + mem) * w).sum() timed too", medians(around, repetitions), first
    )


def quantized_membranes(repetitions: int = 3) -> None:
    generator = torch.Generator().manual_seed(0)
    currents, weights = (torch.randn(SHORT, generator=generator) * 0.5 for _ in range(2))
    reference = snntorch.Leaky(0.9, state_quant=quant.state_quant(8))
    same_grid, fixed_point = Leaky(0.9, state_quant=state_quant(8)), Leaky(0.9, state_quant=FixedPoint(8, 5))
    runs = {
        "snntorch, its 8-bit state_quant": training_step(lambda x: over_steps(reference, x.unbind(0)), currents, weights),
        "qleaky, sequence, the same 8-bit grid (qleaky.state_quant)": training_step(same_grid.sequence, currents, weights),
        "qleaky, sequence, FixedPoint(8, 5)": training_step(fixed_point.sequence, currents, weights),
    }
    first, second, _ = runs
    check_equal(runs[first], runs[second])
    title = (
        f"8-bit membranes, currents {SHORT} (T = {SHORT[0]} only, for snntorch's quantizer is slow), forward + backward, "
        f"median of {repetitions} interleaved rounds"
    )
    report(title, medians(runs, repetitions), first)


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; ratio: time of the first line / time of this line")
    float_membranes()
    quantized_membranes()


if __name__ == "__main__":
    main()

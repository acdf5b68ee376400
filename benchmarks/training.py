"""Training speed against snntorch, SpikingJelly and a network without neurons, as ratios of medians of interleaved runs.

    OMP_NUM_THREADS=1 python benchmarks/training.py

snntorch runs as its users write it, a loop that threads the membrane and stacks its outputs; SpikingJelly in its multi-step
mode; qleaky as ``Leaky.sequence``, with its C kernel and, in the same process, with QLEAKY_NO_COMPILE=1. Where two sides must
give the same numbers, that is checked before anything is timed. What a line times is said above it.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import snntorch
import torch
from networks import spikingjelly
from snntorch.functional import quant
from torch import Tensor, nn

from qleaky import FixedPoint, Leaky, state_quant
from qleaky.kernels import compiled, library
from qleaky.kernels.library import SWITCH
from qleaky.kernels.plan import plan_of

SHAPE = (100, 128, 256)
SHORT = (10, 128, 256)
BETA = 0.9
Run = Callable[[], Any]


@contextmanager
def without_compiler() -> Iterator[None]:
    """qleaky computes with torch operations alone."""
    os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        del os.environ[SWITCH]


def plain(run: Run) -> Run:
    """The same without the C kernel."""

    def switched() -> Any:
        with without_compiler():
            return run()

    return switched


def over_steps(layer: nn.Module, steps: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    spks, mems, mem = [], [], None
    for input_ in steps:
        spk, mem = layer(input_, torch.zeros_like(input_) if mem is None else mem)
        spks.append(spk)
        mems.append(mem)
    return torch.stack(spks), torch.stack(mems)


def training_step(forward: Callable[[Tensor], tuple[Tensor, ...]], currents: Tensor, weights: Tensor) -> Run:
    """Forward, and backward from gradients of all outputs; gives the spikes and the gradient of the currents."""

    def run() -> tuple[Tensor, Tensor]:
        x = currents.detach().requires_grad_()
        outputs = forward(x)
        torch.autograd.backward(outputs, [weights for _ in outputs])
        assert x.grad is not None
        return outputs[0].detach(), x.grad

    return run


def medians(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """CPU seconds a run, from rounds in which every run has its turn; the first two rounds only warm up.

    The order changes from round to round: what a run frees decides how much fresh memory the next one has to touch.
    """
    shuffled = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 2):
        for name, run in shuffled.sample(list(runs.items()), len(runs)):
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(measured[2:]) for name, measured in times.items()}


def check_equal(reference: Run, *others: Run) -> None:
    expected = reference()
    for other in others:
        for theirs, mine in zip(expected, other(), strict=True):
            assert torch.equal(theirs, mine), "spikes or gradients differ: the comparison would not be fair"


def table(title: str, times: dict[str, float], reference: str) -> None:
    print(f"\n### {title}\n\n| | times faster than the first | ms here |\n|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {times[reference] / seconds:.2f}x | {seconds * 1e3:.1f} |")
    print()


def verdict(what: str, ratio: float, target: float, *, at_most: bool = False) -> None:
    met = ratio <= target if at_most else ratio >= target
    print(f"- {what}: {ratio:.2f}x, target {'at most' if at_most else 'at least'} {target}x: {'met' if met else 'NOT met'}.")


def numbers(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator) * 0.5, torch.randn(shape, generator=generator) * 0.5


def float_layer(rounds: int = 11) -> None:
    """One layer. SpikingJelly's has outputs of spikes alone, so all are timed with gradients of the spikes, then of both."""
    currents, weights = numbers(SHAPE)
    reference, ours = snntorch.Leaky(BETA), Leaky(BETA)
    theirs = spikingjelly_layer()

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        return over_steps(reference, x.unbind(0))

    sequence = training_step(ours.sequence, currents, weights)
    runs = {
        "snntorch": training_step(both, currents, weights),
        "qleaky, C": sequence,
        "qleaky, torch operations": plain(sequence),
    }
    check_equal(*runs.values())
    times = medians(runs, rounds)
    table(f"Layer {SHAPE}, float, forward and backward from spikes and membranes", times, "snntorch")
    verdict("C against snntorch", times["snntorch"] / times["qleaky, C"], 4)
    verdict("torch operations against snntorch", times["snntorch"] / times["qleaky, torch operations"], 2.5)

    of_spikes = training_step(lambda x: ours.sequence(x)[:1], currents, weights)
    runs = {
        "snntorch": training_step(lambda x: both(x)[:1], currents, weights),
        "SpikingJelly, multi-step": training_step(lambda x: (theirs(x),), currents, weights),
        "qleaky, C": of_spikes,
        "qleaky, torch operations": plain(of_spikes),
    }
    check_equal(runs["snntorch"], runs["qleaky, C"], runs["qleaky, torch operations"])
    times = medians(runs, rounds)
    table(f"Layer {SHAPE}, float, forward and backward from spikes alone", times, "snntorch")
    verdict("C against SpikingJelly", times["SpikingJelly, multi-step"] / times["qleaky, C"], 2.5)
    verdict("C against snntorch", times["snntorch"] / times["qleaky, C"], 4)


def spikingjelly_layer() -> Callable[[Tensor], Tensor]:
    """The same dynamics but for its delay of the reset: x - v_threshold subtracted in the step of the spike."""
    jelly = spikingjelly()
    if jelly is None:
        raise SystemExit("SpikingJelly is not installed: pip install --no-deps spikingjelly, and qleaky's extra `bench`.")
    functional, _, neuron, surrogate = jelly
    layer = neuron.LIFNode(
        tau=1 / (1 - BETA), decay_input=False, v_reset=None, surrogate_function=surrogate.ATan(), step_mode="m"
    )

    def forward(x: Tensor) -> Tensor:
        functional.reset_net(layer)
        spikes: Tensor = layer(x)
        return spikes

    return forward


def brevitas_quantizer(sample: Tensor) -> nn.Module:
    """Brevitas' fixed-point state quantizer, its scale found from a sample and frozen."""
    from brevitas.nn import QuantIdentity
    from brevitas.quant.fixed_point import Int8ActPerTensorFixedPointMinMaxInit

    bounds = {"min_val": -4.0, "max_val": 4.0}
    quantizer = QuantIdentity(act_quant=Int8ActPerTensorFixedPointMinMaxInit, return_quant_tensor=False, **bounds)
    quantizer(sample)
    return quantizer.eval().requires_grad_(False)


def quantized_layer(rounds: int = 11) -> None:
    currents, weights = numbers(SHAPE)
    ours, fixed_point = Leaky(BETA), Leaky(BETA, state_quant=FixedPoint(8, 5))
    brevitas = snntorch.Leaky(BETA, state_quant=brevitas_quantizer(currents))
    eight_bits = training_step(fixed_point.sequence, currents, weights)
    runs = {
        "snntorch, Brevitas' Int8ActPerTensorFixedPointMinMaxInit, frozen": training_step(
            lambda x: over_steps(brevitas, x.unbind(0)), currents, weights
        ),
        "qleaky, C, FixedPoint(8, 5)": eight_bits,
        "qleaky, torch operations, FixedPoint(8, 5)": plain(eight_bits),
        "qleaky, C, float": training_step(ours.sequence, currents, weights),
    }
    check_equal(eight_bits, runs["qleaky, torch operations, FixedPoint(8, 5)"])
    times = medians(runs, rounds)
    first, second, _, floats = runs
    table(f"Layer {SHAPE}, 8-bit states, forward and backward from spikes and membranes", times, first)
    verdict("8-bit states against snntorch with Brevitas' quantizer", times[first] / times[second], 30)
    verdict("8-bit states in the time of our float layer", times[second] / times[floats], 1.3, at_most=True)


def snntorch_grid(rounds: int = 3) -> None:
    currents, weights = numbers(SHORT)
    reference, same = snntorch.Leaky(BETA, state_quant=quant.state_quant(8)), Leaky(BETA, state_quant=state_quant(8))
    runs = {
        "snntorch, its 8-bit state_quant": training_step(lambda x: over_steps(reference, x.unbind(0)), currents, weights),
        "qleaky, the same grid (qleaky.state_quant; torch operations)": training_step(same.sequence, currents, weights),
        "qleaky, C, FixedPoint(8, 5)": training_step(Leaky(BETA, state_quant=FixedPoint(8, 5)).sequence, currents, weights),
    }
    first, second, _ = runs
    check_equal(runs[first], runs[second])
    table(f"Layer {SHORT}, 8-bit states on snntorch's own grid", medians(runs, rounds), first)


class Network(nn.Module):
    """Linear, neurons, Linear, neurons; or ReLU in place of the neurons."""

    def __init__(self, spiking: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.spiking = spiking
        self.first, self.second = nn.Linear(700, 128), nn.Linear(128, 20)
        self.hidden, self.readout = Leaky(BETA), Leaky(BETA)

    def forward(self, x: Tensor) -> Tensor:
        if not self.spiking:
            return torch.relu(self.second(torch.relu(self.first(x))))
        spikes, _ = self.hidden.sequence(self.first(x))
        return self.readout.sequence(self.second(spikes))[1]


def epoch_of(network: nn.Module, inputs: Tensor, labels: Tensor) -> Run:
    """One training step: forward, mean over time, cross-entropy, backward, SGD."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs).mean(0), labels).backward()
        optimizer.step()

    return run


def network(rounds: int = 11, batch: int = 64) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = (torch.rand(250, batch, 700, generator=generator) < 0.1).float()
    labels = torch.randint(0, 20, (batch,), generator=generator)
    spiking = epoch_of(Network(True), inputs, labels)
    runs = {
        "Linear + ReLU": epoch_of(Network(False), inputs, labels),
        "Linear + qleaky.Leaky, C": spiking,
        "Linear + qleaky.Leaky, torch operations": plain(spiking),
    }
    times = medians(runs, rounds)
    first, second, _ = runs
    table(f"Network 700-128-20, T = 250, batch {batch}: forward, cross-entropy, backward and the same SGD step", times, first)
    verdict("C, in the time of Linear + ReLU", times[second] / times[first], 1.1, at_most=True)


def kernel_runs(quantizer: FixedPoint | None) -> tuple[dict[str, Run], dict[str, float]]:
    """The kernel alone, writing where it wrote before, forward and backward; and the bytes it moves a neuron-step."""
    kernel, rule = library.kernel(), Leaky(BETA, state_quant=quantizer).rule
    plan = plan_of(rule)
    assert plan is not None
    x, w = numbers(SHAPE)
    steps, neurons, mem = SHAPE[0], x[0].numel(), torch.zeros(SHAPE[1:])
    settings = compiled.Settings(mem, *(torch.tensor(number) for number in (BETA, 1.0, 1.0)))
    spks, mems, out, carry = torch.zeros(SHAPE), torch.zeros(SHAPE), torch.zeros(SHAPE), torch.zeros(neurons)
    codes, masks = torch.zeros(SHAPE, dtype=torch.uint8), torch.zeros((steps, neurons // 8), dtype=torch.uint8)
    sizes = (plan.rule, steps, neurons, 0, neurons, True, *settings.structures)

    def packed() -> tuple[Any, ...]:
        return None, codes.data_ptr(), masks.data_ptr()

    def forward() -> Any:
        outputs = (spks.data_ptr(), mems.data_ptr(), *(packed() if quantizer else (None, None, None)))
        kernel.qleaky_lif_forward(*sizes, x.data_ptr(), mem.data_ptr(), *outputs)

    def backward() -> Any:
        kept = (None, *packed()) if quantizer else (mems.data_ptr(), mems.data_ptr(), None, None)
        gradients = (w.data_ptr(), w.data_ptr(), compiled.Terms())
        kernel.qleaky_lif_backward(*sizes, mem.data_ptr(), *kept, *gradients, out.data_ptr(), carry.data_ptr())
        return settings

    name = "8-bit states" if quantizer else "float"
    extra = 1 + 1 / 8 if quantizer else 0
    bytes_ = {f"{name}, forward": 12 + extra, f"{name}, backward": 12 + (extra or 4)}
    return dict(zip(bytes_, (forward, backward), strict=True)), bytes_


def bandwidth(rounds: int = 11) -> None:
    """Bytes a second of the kernel, against a triad a = b + 3 c on this machine."""
    if library.kernel() is None:
        return
    a, b, c = (torch.randn(1 << 25) for _ in range(3))
    runs: dict[str, Run] = {"triad": lambda: torch.add(b, c, alpha=3, out=a)}
    a_step: dict[str, float] = {}
    for quantizer in (None, FixedPoint(8, 5)):
        kernels, bytes_ = kernel_runs(quantizer)
        runs |= kernels
        a_step |= bytes_
    times = medians(runs, rounds)
    peak, neuron_steps = 12 * a.numel() / times["triad"], math.prod(SHAPE)
    print(f"\n### Memory bandwidth, one thread\n\nA triad a = b + 3 c over 3 x {a.nbytes >> 20} MiB: {peak / 1e9:.1f} GB/s.\n")
    print("| kernel alone, its outputs in place | bytes a neuron-step | ns a neuron-step | GB/s | of the triad |")
    print("|---|---|---|---|---|")
    for name, moved in a_step.items():
        a_second = moved * neuron_steps / times[name]
        nanoseconds = times[name] / neuron_steps * 1e9
        print(f"| {name} | {moved:g} | {nanoseconds:.2f} | {a_second / 1e9:.1f} | {a_second / peak:.0%} |")


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, snntorch {snntorch.__version__}, one thread, CPU time, medians of interleaved rounds.")
    print(f"Kernel: {library.backend().name}, {library.backend().compiler or library.backend().reason}.")
    float_layer()
    quantized_layer()
    snntorch_grid()
    network()
    bandwidth()


if __name__ == "__main__":
    main()

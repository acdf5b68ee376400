"""The page of benchmarks/mcu.py: tables in Markdown, ratios, and the targets that the figures must meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mcu_measuring import CORES, Cost
from mcu_networks import DENSITIES, STEPS, WIDTHS

# By workload, inputs and core: the cost (None where it does not fit), and synaptic operations of a step.
Costs = Mapping[tuple[str, str, str], tuple[Cost | None, float]]
Dense = Mapping[tuple[str, str], Cost | None]
RATES = tuple(f"{density:.0%}" for density in DENSITIES)

HEAD = """\
# What a time step costs on a microcontroller
Instructions of one step of C that `qleaky-export c` writes, counted by QEMU. They are instructions, not cycles, time or energy:
a core may take several cycles for a load, and wait for its flash. Printed by `python benchmarks/mcu.py` ({compiler}, -O2);
every program compared all membranes and spikes with the reference, and none differs.

*Extra operation*: instructions per further synaptic operation, from 10 to 20 % of input spikes. Flash is code and weights of
the model, RAM its state and the stack of a step, in bytes. *M4 DSP* is compiled with QLEAKY_DSP.

## 784-256-10 with random weights
8-bit states, decay 230/256, {steps} steps, the given share of the inputs spiking in each.

| core | weights | {rates} | extra operation | flash | RAM |
|---|---|{columns}---|---|---|"""
DENSE = """
The same network as dense C, int8 weights, at 10 % of spikes: a dot product for every output, built with the same options, whose
membranes and spikes are the reference's too.

| core | event-driven int8 | dense C | ratio | CMSIS-NN | ratio |
|---|---|---|---|---|---|"""
CMSIS = """
CMSIS-NN is Arm's `arm_fully_connected_s8` with its code for the DSP extension, and the same neurons; it rounds sums to 8 bits,
so that it is no exact form of the network. Dense code costs the same whatever spikes. Measured here:
{revision}."""
NO_CMSIS = """
CMSIS-NN is measured where `--cmsis-nn` names a checkout of it."""
MODELS = """
## The reference models
Two recordings of the test set each; operations are synaptic operations of a step. What does not move with time is computed
once, in the first step, and counts in the average.

| model | operations | {cores} | flash (M4) | RAM (M4) |
|---|---|{columns}---|---|"""


def page(costs: Costs, dense: Dense, *, compiler: str, cmsis: str | None) -> str:
    """All of it; ``cmsis`` says which CMSIS-NN was measured, None that it was not."""
    head = HEAD.format(compiler=compiler, steps=STEPS, rates=" | ".join(RATES), columns="---|" * len(RATES))
    models = MODELS.format(cores=" | ".join(CORES), columns="---|" * len(CORES))
    beside = NO_CMSIS if cmsis is None else CMSIS.format(revision=cmsis)
    lines = [head, *_widths(costs), DENSE, *_dense(costs, dense), beside, models, *_models(costs)]
    return "\n".join(lines) + "\n"


def extra(costs: Costs, name: str, core: str) -> float | None:
    """Instructions per further operation, from 10 to 20 % of spikes."""
    (low, few), (high, many) = (costs[name, rate, core] for rate in RATES[-2:])
    return None if low is None or high is None else (high.instructions - low.instructions) / (many - few)


def _widths(costs: Costs) -> Iterator[str]:
    for core in CORES:
        for width in WIDTHS:
            name = f"784-256-10, {width}"
            found = [costs[name, rate, core][0] for rate in RATES]
            more, ten = extra(costs, name, core), found[1]
            counts = [_number(None if cost is None else cost.instructions) for cost in found]
            sizes = ["-", "-"] if ten is None else [_number(ten.flash), _number(ten.ram)]
            yield _row([core, width, *counts, "-" if more is None else f"{more:.2f}", *sizes])


def _dense(costs: Costs, dense: Dense) -> Iterator[str]:
    for core in CORES:
        ours = costs["784-256-10, 8 bits", "10%", core][0]
        plain = dense.get(("dense C", core.removesuffix(" DSP")))
        cmsis = dense.get(("CMSIS-NN", core.removesuffix(" DSP")))
        if ours is not None:
            yield _row([core, _number(ours.instructions), *_against(ours, plain), *_against(ours, cmsis)])


def _against(ours: Cost, other: Cost | None) -> list[str]:
    return ["-", "-"] if other is None else [_number(other.instructions), f"{other.instructions / ours.instructions:.1f}"]


def _models(costs: Costs) -> Iterator[str]:
    for name in dict.fromkeys(name for name, inputs, _ in costs if inputs == "recordings"):
        found = [costs[name, "recordings", core] for core in CORES]
        m4 = costs[name, "recordings", "M4"][0]
        counts = [_number(None if cost is None else cost.instructions) for cost, _ in found]
        sizes = ["-", "-"] if m4 is None else [_number(m4.flash), _number(m4.ram)]
        yield _row([name, f"{found[0][1]:,.0f}", *counts, *sizes])


def _number(value: int | None) -> str:
    return "does not fit" if value is None else f"{value:,}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def missed_targets(costs: Costs) -> list[str]:
    """A sentence for every target of a Cortex-M4 that 784-256-10 at 10 % of spikes misses."""
    name = "784-256-10, 8 bits"
    limits = {"M4": 50_000, "M4 DSP": 40_000}
    found = {core: costs[name, "10%", core][0] for core in limits}
    missed = [
        f"{name} on {core}: {cost.instructions:,} instructions, the target is {limits[core]:,}."
        for core, cost in found.items()
        if cost is not None and cost.instructions > limits[core]
    ]
    more, int8 = extra(costs, name, "M4"), found["M4"]
    assert more is not None
    assert int8 is not None
    if more > 1.5:
        missed.append(f"{name} on M4: {more:.2f} instructions per extra operation, the target is 1.5.")
    if int8.ram >= 3277:
        missed.append(f"{name} on M4: {int8.ram:,} bytes of RAM, the target is 3.2 KB.")
    for width in list(WIDTHS)[1:]:
        cost = costs[f"784-256-10, {width}", "10%", "M4"][0]
        if cost is not None and cost.instructions >= int8.instructions:
            missed.append(f"784-256-10, {width} on M4: {cost.instructions:,} instructions, no fewer than int8.")
    return missed

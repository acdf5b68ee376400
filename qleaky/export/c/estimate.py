"""What a network takes on each core before anything is compiled: flash, RAM, stack, and instructions of a step.

Weights and state are exact. Instructions and code are sums over :mod:`qleaky.export.c.counting`'s parts of what each takes on a
core: coefficients that ``benchmarks/mcu_costs.py`` fits to runs in QEMU, and keeps in ``export/c/costs.toml``.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from qleaky._share import shared_folder
from qleaky.export.c.counting import Rates, code_parts, step_parts
from qleaky.export.c.interface import CModel
from qleaky.integer import IntegerNetwork

DSP = "+dsp"


class Costs(msgspec.Struct, frozen=True):
    """What a core takes: instructions of each part of a step, bytes of each part of the code, bytes of stack at most."""

    stack: int
    step: dict[str, float]
    code: dict[str, float]


@dataclass(frozen=True)
class CoreEstimate:
    """One core: instructions of a step (the mean over an inference), bytes of code, bytes of stack."""

    core: str
    instructions: int
    code: int
    stack: int


@dataclass(frozen=True)
class Estimate:
    """A network on all cores, by name, ``+dsp`` where DSP instructions are used. ``weights`` and ``state`` are bytes, exact."""

    weights: int
    state: int
    cores: Mapping[str, CoreEstimate]

    def on(self, core: str, *, dsp: bool = False) -> CoreEstimate:
        """A core, with its DSP instructions where they are asked for and it has any."""
        return self.cores.get(core + DSP, self.cores[core]) if dsp else self.cores[core]

    def flash(self, core: CoreEstimate) -> int:
        """Bytes of flash: weights and code, without golden vectors, start-up and your program."""
        return self.weights + core.code

    def ram(self, core: CoreEstimate) -> int:
        """Bytes of RAM: one state and the stack of a step."""
        return self.state + core.stack


@functools.cache
def costs() -> Mapping[str, Costs]:
    """Every core's costs, as measured; a core's name with ``+dsp`` is with its DSP instructions."""
    text = (shared_folder("export") / "c" / "costs.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Costs])


def estimate(network: IntegerNetwork, model: CModel, rates: Rates) -> Estimate:
    """What a network takes.

    Args:
        network: the contract.
        model: its C.
        rates: how often each element that feeds weights is not 0, by signal.
    """
    step, code = step_parts(network, rates), code_parts(network)
    return Estimate(
        weights=sum(array.size for array in model.constants),
        state=model.state_size,
        cores={
            core: CoreEstimate(core, round(_total(found.step, step)), round(_total(found.code, code)), found.stack)
            for core, found in costs().items()
        },
    )


def _total(cost: Mapping[str, float], parts: Mapping[str, float]) -> float:
    return sum(_cost(cost, part) * count for part, count in parts.items() if count)


def _cost(cost: Mapping[str, float], part: str) -> float:
    """Of a part that was measured, or of the one most like it: names go from what matters most to what matters least."""
    if part in cost:
        return cost[part]
    base = part.partition(",")[0]
    return next(value for name, value in cost.items() if name == base or name.startswith(f"{base},"))

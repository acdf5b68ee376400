"""What is said of a check of generated C."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class McuDivergence:
    """The first digest that differs: ``kind`` is mem, spk or syn of a layer, or "out", an output after the last step."""

    sample: int
    layer: str
    kind: str
    step: int
    expected: int
    got: int

    def __str__(self) -> str:
        what = {"mem": "membranes of layer", "spk": "spikes of layer", "syn": "synaptic currents of layer", "out": "output"}
        where = "after the last step" if self.kind == "out" else f"in step {self.step}"
        digests = f"digest {self.got:08x}, the reference's is {self.expected:08x}"
        return f"sample {self.sample}, {what[self.kind]} {self.layer!r} {where}: {digests}"


@dataclass(frozen=True)
class McuReport:
    """One folder of generated C on one target.

    ``verdict`` is "measured" where every digest is the reference's, else "differs": a run proves nothing of other inputs.
    ``compared`` counts digests, one for each sample, step, layer and kind, and for each sample and output; ``mismatches``
    those that differ, as far as the program tells. ``cost`` is a step's average in ``unit`` (instructions are neither cycles
    nor energy); ``stack`` bytes, harness included; ``flash`` bytes of the model's code and weights, ``state_size`` of RAM.
    ``changed`` names the files that are not what this qleaky writes of the contract.
    """

    target: str
    machine: str
    compiler: str
    name: str
    contract: str
    verdict: Literal["measured", "differs"]
    samples: int
    compared: int
    mismatches: int
    first_divergence: McuDivergence | None
    reasons: tuple[str, ...]
    unit: Literal["instructions", "cycles"] | None
    cost: int | None
    stack: int | None
    flash: int | None
    state_size: int
    changed: tuple[str, ...] = ()

    @property
    def instructions(self) -> int | None:
        """Instructions of one step on average, where the machine counts them."""
        return self.cost if self.unit == "instructions" else None

    def __str__(self) -> str:
        where = f"{self.target} ({self.machine}; {self.compiler})"
        if self.verdict == "differs":
            first = () if self.first_divergence is None else (f"first divergence: {self.first_divergence}",)
            return "\n  ".join((f"differs: {where}: {self.mismatches:,} of {self.compared:,} digests.", *first, *self.reasons))
        equal = f"all {self.compared:,} digests of {self.samples} samples are the reference's"
        costs = [f"{self.state_size:,} bytes of state"]
        costs += [] if self.flash is None else [f"{self.flash:,} of code and weights"]
        costs += [] if self.stack is None else [f"{self.stack:,} of stack with the harness"]
        costs += [] if self.cost is None else [f"{self.cost:,} {self.unit} a step"]
        text = f"measured: {where}: {equal}; {', '.join(costs)}."
        if not self.changed:
            return text
        return (
            f"{text}\n  Not what this qleaky writes of the contract: {', '.join(self.changed)}. What ran is theirs, on these "
            f"samples alone; code that knows of the check could print what is due. Read them, or export the folder again."
        )

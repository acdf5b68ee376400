"""The step graph: what one time step of a network computes, whichever way its forward is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from qleaky.fixed import QFormat
from qleaky.tracing.nodes import Node

Mode = Literal["step", "sequence", "static"]
"""How forward is called: for one step, with a whole sequence, or with one input that it repeats itself."""


@dataclass(frozen=True)
class GraphInput:
    """An input: its name, its place among forward's arguments, its node, and the format of a quantizer on it."""

    name: str
    position: int
    node: Node
    static: bool
    format: QFormat | None = None


@dataclass(frozen=True)
class Neurons:
    """One Leaky layer with a state of its own: name, module, and the node that it integrates in every step."""

    name: str
    path: str
    module: nn.Module
    input: Node
    shape: tuple[int, ...]
    spikes: Node
    membrane: Node


@dataclass(frozen=True)
class State:
    """An argument of forward that is fed, at the next step, with what forward returned at ``returned``; zero at first."""

    position: int
    returned: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """How to run the network by its own forward: the mode, all arguments, states, and in which order neurons are called.

    With ``batch_first`` forward takes (B, T, ...) where the graph has (T, B, ...). ``kept`` are attributes that it stores
    tensors in.
    """

    mode: Mode
    arguments: tuple[Any, ...]
    states: tuple[State, ...]
    order: dict[str, tuple[str, ...]]
    batch_first: bool = False
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Returned:
    """What forward returns: the neurons, and what of them ("spikes", "spike_count", "membrane_mean", "last_membrane")."""

    neurons: str
    what: str


@dataclass(frozen=True)
class StepGraph:
    """What one time step does. ``num_steps`` is T where forward runs whole sequences; None where it is one step.

    ``returned`` says what forward returns, None for what no readout is; ``computed`` says in words how that was made.
    """

    inputs: tuple[GraphInput, ...]
    neurons: tuple[Neurons, ...]
    num_steps: int | None
    returned: tuple[Returned | None, ...]
    call: Call
    computed: tuple[str, ...] = ()

    def skeleton(self) -> Any:
        """What must be the same for every batch size."""
        inputs = tuple((i.name, i.position, i.node, i.static, i.format) for i in self.inputs)
        return inputs, tuple((n.name, n.input) for n in self.neurons), self.num_steps, self.returned, self.call.states

"""The step graph: what one forward pass of a network did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Convention = Literal["step", "sequence"]


@dataclass(frozen=True)
class Call:
    """One call of a leaf layer: the numbers of the values that it takes and gives, and the shape of the first it gives.

    ``mem`` is the membrane passed to a Leaky; ``starts_at_zero`` says that none was, or one that is zero.
    """

    path: str
    module: nn.Module
    method: str
    inputs: tuple[int, ...]
    mem: int | None
    starts_at_zero: bool
    outputs: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Operation:
    """A torch function outside the leaf layers, and where it stands."""

    name: str
    where: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class StepGraph:
    """What one forward pass did.

    ``reads`` are functions that made Python values of the data, ``changes`` what forward did to the network in words, and
    ``resets`` the layers whose membrane it sets itself. ``inputs`` and ``outputs`` are value numbers in the order of
    forward's arguments and results; -1 is no tensor of the graph.
    """

    convention: Convention
    calls: tuple[Call, ...]
    operations: tuple[Operation, ...]
    reads: tuple[Operation, ...]
    changes: tuple[str, ...]
    resets: frozenset[str]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shape: tuple[int, ...]

    @property
    def states(self) -> dict[int, Call]:
        """Arguments of ``forward`` that are membranes: what goes into a Leaky's ``mem`` is that layer's state."""
        takers = {call.mem: call for call in self.calls if call.mem is not None}
        return {position: takers[value] for position, value in enumerate(self.inputs) if value in takers}

    @property
    def data(self) -> tuple[int, ...]:
        """Positions of the arguments that layers or operations read as data."""
        read = {v for call in self.calls for v in call.inputs} | {v for op in self.operations for v in op.inputs}
        return tuple(p for p, value in enumerate(self.inputs) if value in read and p not in self.states)

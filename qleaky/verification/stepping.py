"""Streaming: a graph of one step whose states stay on the runtime's side."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import ArtefactError, InputError

NUMPY: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
Arrays = dict[str, NDArray[Any]]


class StepLoop:
    """Runs a session of a step graph again and again.

    Inputs, states and outputs are allocated once for a batch size. Two bindings take turns: what one writes as the next states
    the other reads. (Binding anew for every step costs more than it saves.) ``on_runtime`` copies an array to the runtime's
    side; ``sequences`` names the outputs that a whole sequence has for each step.
    """

    def __init__(self, session: Any, on_runtime: Callable[[NDArray[Any]], Any], sequences: Collection[str]) -> None:
        self._session, self._on_runtime, self._sequences = session, on_runtime, frozenset(sequences)
        self._given = {value.name: value for value in session.get_inputs()}
        self._made = {value.name: value for value in session.get_outputs()}
        if odd := [v.name for v in (*self._given.values(), *self._made.values()) if v.type not in NUMPY or not v.shape]:
            raise ArtefactError(
                f"{odd[0]!r} is no batch of numbers, which all that goes through a step graph is; export it again."
            )
        self._states = [name for name in self._given if f"{name}.next" in self._made]
        self.inputs = [name for name in self._given if name not in self._states]
        self.outputs = [name for name in self._made if not name.endswith(".next")]
        self._batch: int | None = None
        self._turn = 0

    @property
    def whole_names(self) -> list[str]:
        """The outputs of :meth:`whole`."""
        return [*self.outputs, *(final_name(name) for name in self._states if final_name(name))]

    def reset(self) -> None:
        """Forget the states and the batch size."""
        self._batch = None

    def step(self, arrays: Arrays) -> Arrays:
        """One step: inputs (batch, ...) by name -> all outputs, and the states under their ``.next`` names."""
        for name in self.inputs:
            self._check(name, arrays[name])
        batch, *others = (array.shape[0] for array in arrays.values())
        if any(other != batch for other in others):
            sizes = ", ".join(str(size) for size in (batch, *others))
            raise InputError(f"inputs have batches of {sizes}; all must have the same number of samples.")
        if self._batch is None:
            self._allocate(arrays, batch)
        elif batch != self._batch:
            raise InputError(
                f"this step has a batch of {batch}, the steps before had {self._batch}, and states belong to samples; call "
                f"reset() before another batch."
            )
        for name, array in arrays.items():
            self._buffers[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        found = {name: self._buffers[name].numpy().copy() for name in self.outputs}
        return found | {f"{name}.next": self._kept[self._turn][name].numpy().copy() for name in self._states}

    def whole(self, steps: list[Arrays]) -> Arrays:
        """What a graph of the whole sequence gives: readouts after the last step, spikes and probes of all, final states."""
        return whole_sequence(steps, self.outputs, self._states, self._sequences)

    def _check(self, name: str, array: NDArray[Any]) -> None:
        value = self._given[name]
        dtype = np.dtype(NUMPY[value.type])
        rest = tuple(value.shape[1:])
        if array.dtype != dtype or array.ndim != len(rest) + 1 or array.shape[1:] != rest or array.shape[0] == 0:
            wanted = ", ".join(["batch", *(str(size) for size in rest)])
            raise InputError(f"{name} has shape {array.shape}, dtype {array.dtype}; one step takes ({wanted}) of {dtype}.")

    def _allocate(self, arrays: Arrays, batch: int) -> None:
        def zeros(value: Any) -> Any:
            shape = [batch if isinstance(size, str) else size for size in value.shape]
            return self._on_runtime(np.zeros(shape, NUMPY[value.type]))

        self._buffers = {name: zeros(self._given[name]) for name in self.inputs}
        self._buffers |= {name: zeros(self._made[name]) for name in self.outputs}
        self._kept = [{name: zeros(self._given[name]) for name in self._states} for _ in range(2)]
        self._bindings = [self._binding(turn) for turn in range(2)]
        self._batch, self._turn = batch, 0

    def _binding(self, turn: int) -> Any:
        binding = self._session.io_binding()
        for name in self.inputs:
            binding.bind_ortvalue_input(name, self._buffers[name])
        for name in self.outputs:
            binding.bind_ortvalue_output(name, self._buffers[name])
        for name in self._states:
            binding.bind_ortvalue_input(name, self._kept[turn][name])
            binding.bind_ortvalue_output(f"{name}.next", self._kept[1 - turn][name])
        return binding


def whole_sequence(
    steps: list[Arrays], outputs: Collection[str], states: Collection[str], sequences: Collection[str]
) -> Arrays:
    """The outputs of all steps as a graph of the whole sequence names and stacks them."""
    last, found = steps[-1], {}
    for name in outputs:
        every = name in sequences or name.endswith((".spk", "/spk", "/mem", "/syn"))
        found[name] = np.stack([step[name] for step in steps]) if every else last[name]
    return found | {final_name(name): last[f"{name}.next"] for name in states if final_name(name)}


def final_name(name: str) -> str:
    """The name under which a state leaves a graph of the whole sequence; none for those of delays and sums."""
    layer, _, kind = name.rpartition(".")
    return f"{layer}.final_{kind}" if kind in ("mem", "syn") else ""

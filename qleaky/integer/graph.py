"""The structure that integer and float networks share: named inputs and layers, in order, and what changes with time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.integer.layers import OUTPUT_NAMES, READOUTS, Delay, Readout, check_batch
from qleaky.integer.lif import LIF
from qleaky.integer.signals import check_size

MAX_STEPS = 1_000_000
Batch = NDArray[Any]


class NamedInput(Protocol):
    """What the structure asks of an input."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def time(self) -> str: ...  # noqa: D102


class NamedLayer(Protocol):
    """What the structure asks of a layer."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[str, ...]: ...  # noqa: D102


InputKind = TypeVar("InputKind", bound=NamedInput)


class Ends(Generic[InputKind]):
    """Access to the inputs and outputs of a network; mixed into the networks, which have the fields."""

    __slots__ = ()

    @property
    def input(self) -> InputKind:
        """The input of a network that has one.

        Raises:
            InputError: it has several.
        """
        inputs: tuple[InputKind, ...] = self.inputs  # type: ignore[attr-defined]
        if len(inputs) > 1:
            raise InputError(f"This network has {len(inputs)} inputs: {', '.join(i.name for i in inputs)}.")
        return inputs[0]

    @property
    def readout(self) -> Readout:
        """The readout of a network that has one.

        Raises:
            InputError: it has several.
        """
        readouts: tuple[Readout, ...] = self.readouts  # type: ignore[attr-defined]
        if len(readouts) > 1:
            raise InputError(f"This network has {len(readouts)} readouts: {', '.join(r.layer for r in readouts)}.")
        return readouts[0]

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what goes out, in order."""
        return output_names(self.readouts)  # type: ignore[attr-defined]

    def output_name(self, readout: Readout, kind: str | None = None) -> str:
        """The name of one output of a readout: its numbers, or ``kind`` = "class"."""
        return output_name(self.readouts, readout, kind)  # type: ignore[attr-defined]


def check_structure(
    num_steps: int, inputs: Sequence[NamedInput], layers: Sequence[NamedLayer], readouts: Sequence[Readout], lifs: Iterable[str]
) -> None:
    """Refuse names that repeat or do not exist, steps out of range, and readouts of what has no membrane.

    Raises:
        InputError: saying which.
    """
    if not 1 <= num_steps <= MAX_STEPS:
        raise InputError(f"num_steps={num_steps}; a network runs for 1 to {MAX_STEPS:,} time steps.")
    names = [*(i.name for i in inputs), *(layer.name for layer in layers)]
    if doubles := {name for name in names if names.count(name) > 1 or not name}:
        raise InputError(f"Layer names must be unique, non-empty and not those of inputs; found {sorted(doubles)}.")
    if not inputs:
        raise InputError("A network has at least one input.")
    for source in inputs:
        if min(source.shape, default=1) < 1:
            raise InputError(
                f"input {source.name!r} has shape {source.shape}; every axis of a sample has at least one element."
            )
        check_size(source.shape)
    _check_order(inputs, layers)
    if not readouts:
        raise InputError("A network has at least one readout; otherwise nothing leaves it.")
    known = set(lifs)
    for readout in readouts:
        if readout.kind not in READOUTS:
            raise InputError(f"readout {readout.kind!r} is unknown; choose one of {', '.join(READOUTS)}.")
        if readout.layer not in known:
            raise InputError(f"The readout names layer {readout.layer!r}, which is no LIF layer of the network.")
    if len(set(output_names(readouts))) < len(output_names(readouts)):
        raise InputError(f"The readouts {[(r.layer, r.kind) for r in readouts]} name one output twice.")


def _check_order(inputs: Sequence[NamedInput], layers: Sequence[NamedLayer]) -> None:
    everywhere = {i.name for i in inputs} | {layer.name for layer in layers}
    before = {i.name for i in inputs}
    for layer in layers:
        allowed = everywhere if isinstance(layer, Delay) else before
        for source in layer.inputs:
            if source not in allowed:
                raise InputError(f"layer {layer.name!r} takes its input from {source!r}, which is no layer before it.")
        before.add(layer.name)


def output_names(readouts: Sequence[Readout]) -> tuple[str, ...]:
    """Names of a network's outputs: plain for one readout, with the layer's name before them for several."""
    return tuple(output_name(readouts, r, kind) for r in readouts for kind in r.outputs)


def output_name(readouts: Sequence[Readout], readout: Readout, kind: str | None = None) -> str:
    """The name of one output of a readout: its integers, or ``kind`` = "class"."""
    name = kind or OUTPUT_NAMES[readout.kind]
    return name if len(readouts) == 1 else f"{readout.layer}.{name}"


def moving(inputs: Sequence[NamedInput], layers: Sequence[NamedLayer], stateful: Iterable[str]) -> frozenset[str]:
    """Names of the signals that have a value for each time step; the others are the same in all of them."""
    found = {i.name for i in inputs if i.time == "sequence"} | set(stateful)
    for layer in layers:
        if isinstance(layer, Delay) or any(source in found for source in layer.inputs):
            found.add(layer.name)
    return frozenset(found)


def by_name(inputs: Sequence[NamedInput], values: Any) -> dict[str, Any]:
    """One array, a tuple of arrays, or a dict of them, under the names of the inputs.

    Raises:
        InputError: another number of arrays, or unknown names.
    """
    names = [i.name for i in inputs]
    if isinstance(values, dict):
        if set(values) != set(names):
            raise InputError(f"inputs are called {sorted(values)}; this network takes {', '.join(names)}.")
        return {name: values[name] for name in names}
    if len(names) == 1:
        return {names[0]: values}
    if not isinstance(values, (tuple, list)) or len(values) != len(names):
        raise InputError(f"this network has {len(names)} inputs, {', '.join(names)}; pass a dict, or a tuple in this order.")
    return dict(zip(names, values, strict=True))


def check_batches(inputs: Sequence[NamedInput], arrays: dict[str, Batch], num_steps: int) -> int:
    """The batch size that all inputs have.

    Raises:
        InputError: a wrong shape, an empty batch, or batches that differ.
    """
    sizes = {}
    for source in inputs:
        shape, sequence = arrays[source.name].shape, source.time == "sequence"
        what = "inputs" if len(inputs) == 1 else f"inputs of {source.name!r}"
        check_batch(shape, source.shape, num_steps if sequence else None, what)
        sizes[source.name] = shape[1 if sequence else 0]
    if len(set(sizes.values())) > 1:
        raise InputError(f"the inputs have batches of {sizes}; all must have the same number of samples.")
    return int(next(iter(sizes.values())))


def is_stateful(layer: object) -> bool:
    """Whether an integer layer keeps a state between steps."""
    return isinstance(layer, (LIF, Delay))


def whole(arrays: dict[str, Batch]) -> Any:
    """The array itself where there is one input, else the dict."""
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def samples(inputs: Sequence[NamedInput], arrays: dict[str, Batch], picked: NDArray[np.intp]) -> dict[str, Batch]:
    """The picked samples of every input."""
    return {i.name: arrays[i.name][:, picked] if i.time == "sequence" else arrays[i.name][picked] for i in inputs}

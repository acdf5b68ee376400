"""What the arrays of a float network must be, so that a forged file is refused where it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from qleaky.errors import InputError
from qleaky.integer.graph import NamedInput, check_batches
from qleaky.integer.weighted import fits

Arrays = Mapping[str, NDArray[Any]]


def check_floats(name: str, shape: tuple[int, ...], **arrays: NDArray[Any] | None) -> None:
    """Refuse arrays that are no floats, or do not broadcast to ``shape``."""
    for what, numbers in arrays.items():
        if numbers is not None and (numbers.dtype.kind != "f" or not numbers.size or not fits(numbers.shape, shape)):
            raise InputError(
                f"layer {name!r}: {what} of shape {numbers.shape}, dtype {numbers.dtype}; it must hold floats that fit {shape}."
            )


def check_golden(inputs: Sequence[NamedInput], num_steps: int, shapes: Mapping[str, tuple[int, ...]], golden: Any) -> None:
    """Refuse golden vectors that are not those of the inputs and LIF layers (``shapes``): (T, B, ...) of one batch."""
    _check_names("inputs", golden.inputs, (source.name for source in inputs))
    batch = check_batches(inputs, golden.inputs, num_steps)
    for what, arrays in (("spikes", golden.spikes), ("membranes", golden.membranes)):
        _check_names(what, arrays, shapes)
        for name, array in arrays.items():
            if array.shape != (num_steps, batch, *shapes[name]):
                wanted = (num_steps, batch, *shapes[name])
                raise InputError(f"golden {what} of {name!r} have shape {array.shape}; their layer makes {wanted}.")


def _check_names(what: str, arrays: Arrays, names: Iterable[str]) -> None:
    if set(arrays) != (wanted := set(names)):
        raise InputError(f"golden {what} are those of {sorted(arrays)}; the network has {sorted(wanted)}.")
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise InputError(f"golden {what} of {name!r} have dtype {array.dtype}; they are floats.")

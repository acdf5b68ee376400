"""Counting and locating differences between what was expected and what came out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky.verification.divergence import Divergence as Divergence

Count = Annotated[int, msgspec.Meta(ge=0)]
NUMBERS = "biuf"
FLOAT_END = 2.0**63


class Comparison(msgspec.Struct, frozen=True):
    """What one run was compared on."""

    spikes: Count = 0
    membranes: Count = 0
    outputs: Count = 0
    spike_mismatches: Count = 0
    membrane_mismatches: Count = 0
    output_mismatches: Count = 0
    first_divergence: Divergence | None = None

    @property
    def compared(self) -> int:
        """How many numbers were compared."""
        return self.spikes + self.membranes + self.outputs

    @property
    def mismatches(self) -> int:
        """How many of them differ."""
        return self.spike_mismatches + self.membrane_mismatches + self.output_mismatches

    def __add__(self, other: Comparison) -> Comparison:
        counts = {name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__[:-1]}
        return Comparison(**counts, first_divergence=self.first_divergence or other.first_divergence)


Arrays = Mapping[str, NDArray[Any]]


class States(Protocol):
    """Spikes and states of a run, (T, B, ...) of every layer by name."""

    @property
    def spikes(self) -> Arrays: ...  # noqa: D102
    @property
    def membranes(self) -> Arrays: ...  # noqa: D102
    @property
    def synapses(self) -> Arrays: ...  # noqa: D102


def compare_recordings(expected: States, got: States, first_sample: int = 0) -> Comparison:
    """Every spike, membrane and synaptic current of every layer."""
    return compare_states(
        expected.spikes, expected.membranes, got.spikes, got.membranes, first_sample, expected.synapses, got.synapses
    )


def compare_states(
    expected_spikes: Arrays,
    expected_membranes: Arrays,
    spikes: Arrays,
    membranes: Arrays,
    first_sample: int = 0,
    expected_synapses: Arrays = MappingProxyType({}),
    synapses: Arrays = MappingProxyType({}),
) -> Comparison:
    """Every spike and state (T, B, ...) of every layer; a shape that differs counts as all of its numbers wrong.

    Synaptic currents are counted with the membranes.
    """
    counts = {"spikes": 0, "membranes": 0, "spike_mismatches": 0, "membrane_mismatches": 0}
    places: list[tuple[int, int, Divergence]] = []
    kinds = (("syn", expected_synapses, synapses), ("mem", expected_membranes, membranes), ("spk", expected_spikes, spikes))
    pairs = [
        (order, layer, kind, expected[layer], got.get(layer))
        for order, layer in enumerate(expected_spikes)
        for kind, expected, got in kinds
        if layer in expected
    ]
    for order, layer, kind, expected, got in pairs:
        differs = differences(expected, got)
        name = "spike" if kind == "spk" else "membrane"
        counts[f"{name}s"] += expected.size
        counts[f"{name}_mismatches"] += int(differs.sum())
        if differs.any():
            step, sample, *element = (int(i) for i in np.argwhere(differs)[0])
            value = np.nan if got is None or got.shape != expected.shape else float(got[(step, sample, *element)])
            found = Divergence(
                layer, kind, step, first_sample + sample, tuple(element), float(expected[(step, sample, *element)]), value
            )
            places.append((step, order, found))
    first = min(places, key=lambda place: place[:2])[2] if places else None
    return Comparison(**counts, first_divergence=first)


def compare_outputs(
    expected: Arrays, got: Arrays, first_sample: int = 0, over_time: Collection[str] = ("spikes",)
) -> Comparison:
    """Named output tensors; ``over_time`` names those of (T, B, ...), all others are (B, ...)."""
    total = Comparison()
    for name, array in expected.items():
        found = got.get(name)
        differs = differences(array, found)
        first = None
        if differs.any():
            place = tuple(int(i) for i in np.argwhere(differs)[0])
            value = np.nan if found is None or found.shape != array.shape else float(found[place])
            step, sample, *element = place if name in over_time else (0, *place)
            first = Divergence(name, "out", step, first_sample + sample, tuple(element), float(array[place]), value)
        total += Comparison(outputs=array.size, output_mismatches=int(differs.sum()), first_divergence=first)
    return total


def differences(expected: NDArray[Any], got: NDArray[Any] | None) -> NDArray[np.bool_]:
    """Where two arrays differ as exact numbers; everywhere if the shapes do, or if ``got`` holds no real numbers.

    Nothing is rounded to be compared: 3.7, NaN and infinities equal no integer, and neither does 2**53 + 1 the float 2**53.
    NaN differs from NaN.
    """
    if got is None or got.shape != expected.shape or got.dtype.kind not in NUMBERS:
        return np.ones(expected.shape, np.bool_)
    if expected.dtype.kind != "f" and got.dtype.kind == "f":
        return _no_codes(expected, got)
    if expected.dtype.kind == "f" and got.dtype.kind != "f":
        return _no_codes(got, expected)
    return np.asarray(expected != got)


def _no_codes(codes: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Where floats are not these integers."""
    whole = (numbers == np.rint(numbers)) & (np.abs(numbers) < FLOAT_END)
    return np.asarray(~whole | (codes != np.where(whole, numbers, 0).astype(np.int64)))


def converted(numbers: NDArray[Any], kind: Any) -> NDArray[Any]:
    """Numbers in another type, if every one of them is the same number there; else as they are."""
    if numbers.dtype.kind not in NUMBERS:
        return numbers
    with np.errstate(invalid="ignore", over="ignore"):
        found = numbers.astype(kind)
    return numbers if differences(found, numbers).any() else found

"""Faults in numbers that were trained: weights and biases."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from qleaky.verification.mutants.editing import Editor
from qleaky.verification.mutants.faults import Fault, moved, unit_in_last_place
from qleaky.verification.mutants.reading import Reading, Site

DRAWN = 48  # of a tensor's bits, which are too many to list
BITS: dict[int, int] = {
    TensorProto.INT2: 2,
    TensorProto.INT4: 4,
    TensorProto.INT8: 8,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
}


def weight_bits(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """One bit of one weight flipped, within the width in which weights are stored."""
    for layer, name, codes in _weights(reading):
        bits = BITS.get(reading.tensors[name].data_type, 0)
        for _ in range(DRAWN if bits else 0):
            place, bit = tuple(int(rng.integers(n)) for n in codes.shape), int(rng.integers(bits))
            new = codes.astype(np.int64)
            new[place] = _signed(int(new[place]) ^ (1 << bit), bits)
            edit = partial(_replace, tensor=reading.tensors[name], numbers=new if bits < 8 else new.astype(codes.dtype))
            yield Fault(layer, f"{name} {list(place)}: bit {bit} flipped", edit)


def swapped_rows(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The weights of two output channels exchanged: convolutions have them first, matrices last."""
    for layer, name, codes in _weights(reading):
        axis = 0 if codes.ndim > 2 else 1
        for _ in range(DRAWN // 4 if codes.shape[axis] > 1 else 0):
            a, b = (int(i) for i in rng.choice(codes.shape[axis], 2, replace=False))
            order = np.arange(codes.shape[axis])
            order[[a, b]] = b, a
            new = np.take(codes, order, axis)
            if not _same(new, codes):
                edit = partial(_replace, tensor=reading.tensors[name], numbers=new)
                yield Fault(layer, f"{name}: channels {a} and {b} swapped", edit)


def transposed(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """Weights transposed, where they are square: of a matrix the two axes, of a convolution those of its window."""
    for layer, name, codes in _weights(reading):
        if codes.ndim == 3 or codes.shape[-1] != codes.shape[-2]:
            continue
        new = np.ascontiguousarray(np.swapaxes(codes, -1, -2))
        if not _same(new, codes):
            yield Fault(layer, f"{name} transposed", partial(_replace, tensor=reading.tensors[name], numbers=new))


def biases(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """What is added to a product one more or less: for one channel by a unit of its weights, for all by one of the constant."""
    for site, slot in _bias_sites(reading):
        numbers = reading.constant(site.node.input[slot])
        assert numbers is not None
        places = [tuple(int(i) for i in index) for index in np.ndindex(numbers.shape)]
        unit, least = _unit_of_weights(reading, site), unit_in_last_place(numbers)
        faults = [(places[picked], by) for picked in rng.permutation(len(places))[:6] for by in (unit, -unit)]
        for place, by in faults + [((), least), ((), -least)] * (least < unit):
            new = numbers.copy()
            new[place] = moved(numbers[place], by)
            edit = partial(_take_constant, name=site.name, slot=slot, numbers=new)
            yield Fault(site.layer, f"the constant of {site.name} {list(place) if place else 'everywhere'} {by:+g}", edit)


def _weights(reading: Reading) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """The layer of neurons behind them, name and codes."""
    for name in reading.tensors:
        codes = reading.constant(name)
        if name.endswith(".weight") and name in reading.users and codes is not None and codes.ndim > 1:
            yield next((site.layer for site, _ in reading.users[name] if site.layer), ""), name, codes


def _replace(editor: Editor, tensor: TensorProto, numbers: NDArray[Any]) -> None:
    editor.replace(tensor, numbers)


def _take_constant(editor: Editor, name: str, slot: int, numbers: NDArray[Any]) -> None:
    editor.take(name, slot, editor.constant(numbers, numbers.dtype))


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a.astype(np.int64), b.astype(np.int64))  # NumPy cannot compare packed types


def _signed(code: int, bits: int) -> int:
    code &= (1 << bits) - 1
    return code - (1 << bits) if code >> (bits - 1) else code


def _bias_sites(reading: Reading) -> Iterator[tuple[Site, int]]:
    for site in reading.sites:
        node = site.node
        if node.op_type == "Conv" and len(node.input) == 3:
            yield site, 2
        elif node.op_type == "Add" and reading.constant(node.input[1]) is not None and _follows_product(reading, site):
            yield site, 1


def _follows_product(reading: Reading, site: Site) -> bool:
    return reading.comes_from_product(site.node.input[0]) is not None


def _unit_of_weights(reading: Reading, site: Site) -> float:
    """By how much a product's least step moves what the constant is added to."""
    unit, value = 1.0, site.node.input[0]
    while (source := reading.by_name.get(value)) is not None and source.node.op_type in ("Mul", "DequantizeLinear", "Cast"):
        unit *= (reading.number(source.node.input[1]) or 1.0) if source.node.op_type != "Cast" else 1.0
        value = source.node.input[0]
    return unit

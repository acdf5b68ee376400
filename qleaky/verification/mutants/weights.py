"""Faults in numbers that were trained: weights and biases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from qleaky.verification.mutants.faults import Fault, moved, unit_in_last_place
from qleaky.verification.mutants.reading import Reading, Site

DRAWN = 48  # of a tensor's bits or rows, which are too many to list
BITS = {TensorProto.INT2: 2, TensorProto.INT4: 4, TensorProto.INT8: 8, TensorProto.INT16: 16, TensorProto.INT32: 32}


def weight_bits(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """One bit of one weight flipped, within the width in which weights are stored."""
    for layer, name in _weights(reading):
        tensor, codes = reading.tensors[name], reading.constant(name)
        bits = BITS.get(tensor.data_type)
        if codes is None or bits is None:
            continue
        for _ in range(DRAWN):
            place, bit = tuple(int(rng.integers(n)) for n in codes.shape), int(rng.integers(bits))
            changed = codes.astype(np.int64)
            changed[place] = _signed(int(changed[place]) ^ (1 << bit), bits)
            new = changed if bits < 8 else changed.astype(codes.dtype)
            yield Fault(
                layer, f"{name} {list(place)}: bit {bit} flipped", lambda editor, t=tensor, new=new: editor.replace(t, new)
            )


def swapped_rows(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """The weights of two output channels exchanged."""
    for layer, name in _weights(reading):
        tensor, codes = reading.tensors[name], reading.constant(name)
        assert codes is not None
        axis = _output_axis(reading, name, codes.ndim)
        if codes.shape[axis] < 2:
            continue
        for _ in range(DRAWN // 4):
            a, b = (int(i) for i in rng.choice(codes.shape[axis], 2, replace=False))
            order = np.arange(codes.shape[axis])
            order[[a, b]] = b, a
            new = np.take(codes, order, axis)
            if np.array_equal(new.astype(np.int64), codes.astype(np.int64)):
                continue
            yield Fault(layer, f"{name}: channels {a} and {b} swapped", lambda editor, t=tensor, n=new: editor.replace(t, n))


def transposed(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """Weights transposed, where they are square: of a matrix the two axes, of a convolution those of its window."""
    for layer, name in _weights(reading):
        tensor, codes = reading.tensors[name], reading.constant(name)
        if codes is None or codes.ndim == 3 or codes.shape[-1] != codes.shape[-2]:
            continue
        new = np.ascontiguousarray(np.swapaxes(codes, -1, -2))
        if not np.array_equal(new.astype(np.int64), codes.astype(np.int64)):
            yield Fault(layer, f"{name} transposed", lambda editor, t=tensor, n=new: editor.replace(t, n))


def biases(reading: Reading, rng: np.random.Generator) -> Iterator[Fault]:
    """What is added to a product one more or less, for one channel: by a unit of the weights, or of the constant."""
    for site, slot in _bias_sites(reading):
        numbers = reading.constant(site.node.input[slot])
        assert numbers is not None
        places = [tuple(int(i) for i in index) for index in np.ndindex(numbers.shape)]
        picked = [places[i] for i in rng.permutation(len(places))[:4]]
        units = {unit_in_last_place(numbers), _unit_of_weights(reading, site)}
        for place in picked:
            for by in sorted({sign * unit for unit in units for sign in (1, -1)}):
                new = numbers.copy()
                new[place] = moved(numbers[place], by)
                yield Fault(
                    site.layer,
                    f"the constant of {site.name} {list(place)} {by:+g}",
                    lambda e, s=site, i=slot, n=new: e.take(s.name, i, e.constant(n, n.dtype)),
                )


def _weights(reading: Reading) -> Iterator[tuple[str, str]]:
    for name in reading.tensors:
        if name.endswith(".weight") and name in reading.users:
            layer = next((site.layer for site, _ in reading.users[name] if site.layer), "")
            yield layer, name


def _output_axis(reading: Reading, name: str, ndim: int) -> int:
    """Convolutions have their output channels first, matrices last."""
    return 0 if ndim > 2 else 1


def _signed(code: int, bits: int) -> int:
    code &= (1 << bits) - 1
    return code - (1 << bits) if code >> (bits - 1) else code


def _bias_sites(reading: Reading) -> Iterator[tuple[Site, int]]:
    for site in reading.sites:
        node = site.node
        if node.op_type == "Conv" and len(node.input) == 3:
            yield site, 2
        elif (
            node.op_type == "Add" and reading.constant(node.input[1]) is not None and reading.comes_from_product(node.input[0])
        ):
            yield site, 1


def _unit_of_weights(reading: Reading, site: Site) -> float:
    """By how much a product's least step moves what the constant is added to."""
    unit, value = 1.0, site.node.input[0]
    while (source := reading.by_name.get(value)) is not None and source.node.op_type in ("Mul", "DequantizeLinear", "Cast"):
        unit *= (reading.number(source.node.input[1]) or 1.0) if source.node.op_type != "Cast" else 1.0
        value = source.node.input[0]
    return unit

"""Where everything lies: fields of the state, and scratch arrays in which what is not needed at one time shares memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qleaky.export.c.arrays import SUFFIXES
from qleaky.export.c.context import Context, kept_key
from qleaky.export.c.interface import BITS, SIZES, Tensor
from qleaky.export.c.operations import Operation


@dataclass(frozen=True)
class Field:
    """A member of the state: one number where ``length`` is None, else an array. ``zeroed`` by a reset."""

    ctype: str
    name: str
    length: int | None
    comment: str
    zeroed: bool = False

    @property
    def size(self) -> int:
        """Bytes, without padding."""
        return SIZES[self.ctype] * (1 if self.length is None else self.length)


@dataclass(frozen=True)
class Need:
    """An array of ``length`` numbers that is written at one operation, and read last at another."""

    key: str
    ctype: str
    length: int
    first: int
    last: int


@dataclass(frozen=True)
class Layout:
    """Members of scratch memory, and the C expression of every array that lies there, by key."""

    fields: tuple[Field, ...]
    places: dict[str, str]


def scratch(context: Context, operations: Sequence[Operation]) -> Layout:
    """Scratch memory for the results that a later step does not need, and for temporaries.

    There is one array for each C type: memory never changes its type, which C's aliasing rules would forbid.
    """
    needs = _needs(context, operations)
    fields, places = [], {}
    for ctype in dict.fromkeys(need.ctype for need in needs):
        own = [need for need in needs if need.ctype == ctype]
        starts, length = packed(own)
        name = f"scratch_{SUFFIXES[ctype]}"
        fields.append(Field(ctype, name, length, "What one step computes on its way."))
        for need in own:
            start = starts[need.key]
            places[need.key] = f"state->{name}" + (f" + {start}u" if start else "")
    return Layout(tuple(fields), places)


def temporary_key(operation: Operation, name: str) -> str:
    """The key of an operation's temporary."""
    return f"{operation.function} {name}"


def _needs(context: Context, operations: Sequence[Operation]) -> list[Need]:
    """All scratch arrays with the time in which they are in use, in operations."""
    last = {source.key: i for i, operation in enumerate(operations) for source in operation.sources}
    last |= {context.source(delay.input, moving=True).key: len(operations) for delay in context.delays}
    needs = []
    for i, operation in enumerate(operations):
        if operation.key is not None and operation.result is not None and not is_kept(context, operation.key):
            array = operation.result
            needs.append(Need(operation.key, array.element, array.length, i, max(i, last.get(operation.key, i))))
        needs += [Need(temporary_key(operation, t.name), t.ctype, t.length, i, i) for t in operation.temporaries]
    return needs


def is_kept(context: Context, key: str) -> bool:
    """Whether a result is computed in the first step and read in all."""
    return key in {kept_key(name) for name in context.inputs} or context.kept(key)


def packed(needs: Sequence[Need]) -> tuple[dict[str, int], int]:
    """Where each array begins in one common array, and the length of that: the first gap that is free all the time.

    >>> a, b, c = Need("a", "int8_t", 5, 0, 1), Need("b", "int8_t", 3, 1, 2), Need("c", "int8_t", 4, 2, 3)
    >>> packed([a, b, c])
    ({'a': 0, 'b': 5, 'c': 0}, 8)
    """
    starts: dict[str, int] = {}
    done: list[Need] = []
    for need in needs:
        busy = sorted((starts[n.key], n.length) for n in done if n.first <= need.last and need.first <= n.last)
        start = 0
        for begin, length in busy:
            if start + need.length <= begin:
                break
            start = max(start, begin + length)
        starts[need.key] = start
        done.append(need)
    return starts, max((starts[n.key] + n.length for n in needs), default=0)


def tensor_field(tensor: Tensor, comment: str) -> Field:
    """The member that holds a tensor; a reset makes it 0."""
    ctype = "uint32_t" if tensor.ctype == BITS else tensor.ctype
    return Field(ctype, tensor.field, tensor.words, comment, zeroed=True)


def state_size(fields: Sequence[Field]) -> int:
    """sizeof the state: its members go from the widest type to the narrowest, so that only its end is padded."""
    size = sum(field.size for field in fields)
    return -(-size // 4) * 4

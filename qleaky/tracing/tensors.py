"""The tensors of a recording: their numbers, which of them were written to, and constants that must stay as they are."""

from __future__ import annotations

from torch import Tensor

from qleaky.tracing.events import Ref


class Numbers:
    """Numbers for tensors that depend on the network's arguments or states, and a watch over all others that meet them."""

    def __init__(self) -> None:
        self.pure: set[int] = set()
        self._known: dict[int, tuple[int, int, int]] = {}
        self._alive: list[Tensor] = []
        self._constants: dict[int, tuple[Tensor, int, int]] = {}
        self._overwritten: list[int] = []
        self._writes: dict[int, int] = {}
        self._clock = 0
        self._next = 0

    def fresh(self, tensor: Tensor) -> int:
        """A new number for a tensor, which is kept alive so that its identity stays its own."""
        self._known[id(tensor)] = self._next, version(tensor), self._clock
        self._alive.append(tensor)
        self._next += 1
        return self._next - 1

    def knows(self, tensor: Tensor) -> bool:
        """Whether it has a number."""
        return id(tensor) in self._known

    def of(self, value: object) -> int:
        """The number of a tensor, or -1."""
        return self._known[id(value)][0] if isinstance(value, Tensor) and self.knows(value) else -1

    def ref(self, tensor: Tensor) -> Ref:
        """A reference to a tensor with a number; a constant is copied, since forward may write to it later."""
        number = self.of(tensor)
        return Ref(number, tuple(tensor.shape), tensor.clone() if number in self.pure else None)

    def written(self, tensor: Tensor) -> None:
        """Somebody wrote to a tensor: what shares its memory is no longer what it was, even where torch does not count it."""
        self._clock += 1
        self._writes[_memory(tensor)] = self._clock

    def is_stale(self, tensor: Tensor) -> bool:
        """Whether a tensor was written to, perhaps through another one, since it got its number."""
        if not self.knows(tensor):
            return False
        _, before, clock = self._known[id(tensor)]
        return version(tensor) != before or (bool(self._writes) and self._writes.get(_memory(tensor), -1) > clock)

    def keep_constant(self, tensor: Tensor, place: int) -> None:
        """Note that an event used a tensor as a constant."""
        if id(tensor) not in self._constants:
            self._constants[id(tensor)] = tensor, version(tensor), place
        elif self._constants[id(tensor)][1] != version(tensor):
            self._overwritten.append(self._constants.pop(id(tensor))[2])

    def overwritten(self) -> list[int]:
        """The places of the events whose constants were written to after they were used."""
        late = [place for tensor, before, place in self._constants.values() if version(tensor) != before]
        return sorted({*self._overwritten, *late})


def version(tensor: Tensor) -> int:
    """How often a tensor was written to; tensors of inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse tensors have none
        return id(tensor)

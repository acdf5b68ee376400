"""The vocabulary of one leaky integrate-and-fire step, shared by the layer, the contract and every exporter."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from qleaky.errors import InputError
from qleaky.fixed import Overflow, QFormat, Rounding

MAX_DECAY_BITS = 15


class ResetMechanism(StrEnum):
    """What a spike does to the membrane: subtract the threshold, set it to zero, or nothing."""

    SUBTRACT = "subtract"
    ZERO = "zero"
    NONE = "none"


class ResetTiming(StrEnum):
    """When the reset acts.

    ``DELAYED``: one step later, from the old membrane (snntorch's ``reset_delay=True``). ``SAME_STEP``: in the step of
    the spike, what chips do. ``UNDELAYED``: snntorch's ``reset_delay=False``, which equals SAME_STEP while no membrane
    stays above the threshold after its reset.
    """

    DELAYED = "delayed"
    SAME_STEP = "same_step"
    UNDELAYED = "undelayed"


class Compare(StrEnum):
    """When a neuron fires: ``STRICT`` u > theta, ``INCLUSIVE`` u >= theta."""

    STRICT = "strict"
    INCLUSIVE = "inclusive"


class RoundingSite(StrEnum):
    """What is rounded to the state's grid: the whole ``SUM``, or the ``DECAY`` term alone, as most hardware does."""

    SUM = "sum"
    DECAY = "decay"


class MulShift(msgspec.Struct, frozen=True, tag="mul_shift"):
    """Decay by multiplication and shift: D = round(m * u / 2**n), a beta of m / 2**n.

    Args:
        m: the multiplier code, 0..2**n; None takes it from the layer's beta, the nearest m / 2**n.
        n: bits of the fraction, 0..15.
        rounding: of the decayed term when it is rounded on its own (``rounding_site="decay"``); None takes the state
            quantizer's.

    Raises:
        InputError: n or m out of range.

    >>> MulShift(230, 8).beta
    0.8984375
    """

    m: int | None = None
    n: int = 8
    rounding: Rounding | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.n, int) and isinstance(self.m, int | None)):
            raise InputError(f"MulShift: m={self.m!r}, n={self.n!r}; both are integers, and beta = m / 2**n.")
        if not 0 <= self.n <= MAX_DECAY_BITS:
            raise InputError(f"MulShift: n={self.n}; the fraction has 0 to {MAX_DECAY_BITS} bits.")
        if self.m is not None and not 0 <= self.m <= 1 << self.n:
            raise InputError(f"MulShift: m={self.m}; beta = m / 2**{self.n} lies in [0, 1] for m = 0 to {1 << self.n}.")
        if self.rounding is not None:
            msgspec.structs.force_setattr(self, "rounding", choice(Rounding, self.rounding, "MulShift", "rounding"))

    @property
    def beta(self) -> float | None:
        """The decay factor, or None where it comes from the layer."""
        return None if self.m is None else self.m / (1 << self.n)


class ShiftDecay(msgspec.Struct, frozen=True, tag="shift_decay"):
    """Decay by subtraction of a shifted copy: D = u - (u >> k), an arithmetic shift; a beta of 1 - 2**-k.

    With ``at_least_one``, as Xylo does, a nonzero u moves at least one step toward zero.

    Raises:
        InputError: k outside 1..15.
    """

    k: int
    at_least_one: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or not 1 <= self.k <= MAX_DECAY_BITS:
            raise InputError(f"ShiftDecay: k={self.k}; the shift is an integer from 1 to {MAX_DECAY_BITS}.")

    @property
    def beta(self) -> float:
        """The decay factor that the shift approximates, 1 - 2**-k."""
        return 1.0 - 2.0**-self.k


Decay = MulShift | ShiftDecay


Member = TypeVar("Member", bound=StrEnum)


def choice(enum: type[Member], value: Any, where: str, name: str) -> Member:
    """The member of ``enum`` that ``value`` names.

    Raises:
        InputError: there is none; the message lists those there are.

    >>> choice(Compare, "strict", "Leaky", "compare")
    <Compare.STRICT: 'strict'>
    """
    try:
        return enum(value)
    except ValueError:
        names = ", ".join(repr(str(member)) for member in enum)
        raise InputError(f"{where}: {name}={value!r} is unknown. Choose one of {names}.") from None


def resets_early(mechanism: ResetMechanism, timing: ResetTiming) -> bool:
    """Whether a step begins by resetting for an old spike."""
    return timing is not ResetTiming.SAME_STEP and mechanism is not ResetMechanism.NONE


def resets_late(mechanism: ResetMechanism, timing: ResetTiming) -> bool:
    """Whether a step ends by resetting for its own spike."""
    return timing is not ResetTiming.DELAYED and mechanism is not ResetMechanism.NONE


def lowest_threshold(mechanism: ResetMechanism, timing: ResetTiming, compare: Compare) -> int | None:
    """The lowest threshold code at which no reset can push a membrane out of its format; None where any will do.

    A late reset takes theta off a membrane that was already brought into range, so theta must not be negative. An
    undelayed one also gives back what it took a step before, and must not do so from the initial membrane 0.
    """
    if timing is ResetTiming.DELAYED or mechanism is ResetMechanism.NONE:
        return None
    if timing is ResetTiming.SAME_STEP:
        return 0 if mechanism is ResetMechanism.SUBTRACT else None
    return 0 if compare is Compare.STRICT else 1


def float32_carries(state: QFormat, overflow: Overflow) -> bool:
    """Whether float32 may carry the membrane update of such a state, whatever the decay; else it is done in float64.

    For SATURATE and theta >= 0 the sum needs 2**k * (2**(bits-1) + theta + 1) <= 2**24 (numerics.md, the step bound).
    With k <= 15 and theta inside the format, that holds for 8 bits and fewer. WRAP has no such relief.
    """
    return overflow is Overflow.SATURATE and state.bits <= 8

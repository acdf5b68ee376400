"""The leaky integrate-and-fire layer of the contract."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np

from qleaky.dynamics import Compare, Decay, MulShift, ResetMechanism, ResetTiming, RoundingSite, choice, lowest_threshold
from qleaky.errors import InputError
from qleaky.fixed import Overflow, QFormat, Rounding
from qleaky.integer.signals import IntArray, Signal, as_integers, check_grid
from qleaky.integer.weighted import fits


class Synapse(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A synaptic current between a layer's input and its membrane: J[t] = overflow(round(decay(J[t-1]) + I[t])).

    J, in codes of ``state``, is what the membrane then integrates. ``decay`` and ``multiplier`` are as those of :class:`LIF`.
    """

    state: QFormat
    decay: Decay | None = None
    multiplier: IntArray | None = None
    rounding: Rounding = Rounding.HALF_UP
    rounding_site: RoundingSite = RoundingSite.SUM
    overflow: Overflow = Overflow.SATURATE

    def __post_init__(self) -> None:
        _choose(self, "Synapse", rounding=Rounding, rounding_site=RoundingSite, overflow=Overflow)


class LIF(msgspec.Struct, frozen=True, kw_only=True, tag="lif", eq=False):
    """One leaky integrate-and-fire layer; :func:`qleaky.reference.lif_step` is its step.

    ``theta`` and ``multiplier`` (the m of :class:`~qleaky.dynamics.MulShift`) are codes of shape () or of the layer.
    Membranes are codes of ``state``. A neuron fires 0 or 1 times a step, or with ``max_spikes`` = k as often as the threshold
    can be taken off its membrane, k times at most. What it emits is that count, times ``graded`` where that is given, at
    ``graded_frac_bits`` fractional bits. ``input_shift`` moves the current up by so many bits (a << s). With a ``synapse`` the
    membrane integrates its current instead of the input.
    """

    name: str
    input: str
    state: QFormat
    theta: IntArray
    decay: Decay | None = None
    multiplier: IntArray | None = None
    reset_mechanism: ResetMechanism = ResetMechanism.SUBTRACT
    reset_timing: ResetTiming = ResetTiming.DELAYED
    compare: Compare = Compare.STRICT
    rounding: Rounding = Rounding.HALF_UP
    rounding_site: RoundingSite = RoundingSite.SUM
    overflow: Overflow = Overflow.SATURATE
    graded: IntArray | None = None
    graded_frac_bits: int = 0
    max_spikes: int = 1
    input_shift: int = 0
    synapse: Synapse | None = None

    def __post_init__(self) -> None:
        _choose(self, f"layer {self.name!r}", reset_mechanism=ResetMechanism, reset_timing=ResetTiming, compare=Compare)
        _choose(self, f"layer {self.name!r}", rounding=Rounding, rounding_site=RoundingSite, overflow=Overflow)
        self._check_state("membrane", self)
        if self.synapse is not None:
            self._check_state("synaptic current", self.synapse)
        self._check_codes("theta", self.theta, self.state.lowest, self.state.highest)
        lowest = lowest_threshold(self.reset_mechanism, self.reset_timing, self.compare)
        if lowest is not None and self.theta.min() < lowest:
            theta, least = self.theta.min() * self.state.step, lowest * self.state.step
            raise InputError(
                f"layer {self.name!r}: threshold {theta} with reset_timing='{self.reset_timing}'; it must be at least {least}, "
                f"or a reset could push a membrane out of its format."
            )
        self._check_emission()

    def _check_state(self, what: str, part: LIF | Synapse) -> None:
        fmt = part.state
        if fmt.zero_point:
            raise InputError(f"layer {self.name!r}: a {what} format has zero_point 0, not {fmt.zero_point}.")
        if part.overflow is Overflow.WRAP and fmt.narrow:
            raise InputError(f"layer {self.name!r}: {fmt} cannot wrap; a narrow format saturates.")
        if isinstance(part.decay, MulShift) != (part.multiplier is not None):
            raise InputError(f"layer {self.name!r}: a multiplier goes with a MulShift decay, and only with it.")
        if part.multiplier is not None and isinstance(part.decay, MulShift):
            self._check_codes("multiplier", part.multiplier, 0, 1 << part.decay.n)

    def _check_codes(self, what: str, codes: IntArray, low: int, high: int) -> None:
        if codes.size == 0 or codes.dtype.kind not in "iu":
            raise InputError(f"layer {self.name!r}: {what} must be a non-empty array of integer codes.")
        if codes.min() < low or codes.max() > high:
            worst = int(codes.min() if codes.min() < low else codes.max())
            raise InputError(f"layer {self.name!r}: {what} code {worst} lies outside {low} to {high}.")

    def _check_emission(self) -> None:
        if not 0 <= self.input_shift <= 31:
            raise InputError(f"layer {self.name!r}: input_shift={self.input_shift}; the current moves up by 0 to 31 bits.")
        check_grid(self.name, graded_frac_bits=self.graded_frac_bits)
        if self.graded is not None:
            self._check_codes("graded", self.graded, -(1 << 31), (1 << 31) - 1)
        if not 1 <= self.max_spikes <= 1 << 15:
            raise InputError(f"layer {self.name!r}: max_spikes={self.max_spikes}; a neuron fires 1 to {1 << 15} times a step.")
        if self.max_spikes == 1:
            return
        counts = self.reset_mechanism is ResetMechanism.SUBTRACT and self.reset_timing is not ResetTiming.UNDELAYED
        if not counts or self.theta.min() < 1:
            raise InputError(
                f"layer {self.name!r}: max_spikes={self.max_spikes} with reset {self.reset_mechanism}/{self.reset_timing} and "
                f"a lowest threshold code of {self.theta.min()}; several spikes a step need a subtracting reset, delayed or in "
                f"the same step, and thresholds of at least 1."
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one layer that feeds it."""
        return (self.input,)

    def output(self, x: Signal) -> Signal:
        """What it emits: spikes, counts of spikes, or these times ``graded``."""
        numbers = {"theta": self.theta, "multiplier": self.multiplier, "graded": self.graded}
        if self.synapse is not None:
            numbers["synaptic multiplier"] = self.synapse.multiplier
        for what, codes in numbers.items():
            if codes is not None and not fits(codes.shape, x.shape):
                raise InputError(f"layer {self.name!r}: {what} of shape {codes.shape} does not fit neurons {x.shape}.")
        if self.graded is None:
            return Signal(x.shape, 0, np.array(0), np.array(self.max_spikes))
        most = as_integers(self.graded).astype(object) * self.max_spikes
        return Signal(x.shape, self.graded_frac_bits, np.minimum(most, 0), np.maximum(most, 0))

    def current_shift(self, x: Signal) -> int:
        """How many bits the current into the synapse, or without one into the membrane, is finer than its state."""
        state = self.state if self.synapse is None else self.synapse.state
        return x.frac_bits - self.input_shift - state.frac_bits

    def membrane_shift(self, x: Signal) -> int:
        """How many bits what the membrane integrates is finer than the membrane (negative: coarser)."""
        return self.current_shift(x) if self.synapse is None else self.synapse.state.frac_bits - self.state.frac_bits

    def extra_bits(self, x: Signal) -> int:
        """k, the extra bits at which the membrane's sum is exact before it is rounded once."""
        return max(decay_bits(self), self.membrane_shift(x), 0)


def _choose(part: LIF | Synapse, where: str, **enums: type[StrEnum]) -> None:
    """Names such as "zero" become members: the arithmetic asks for these."""
    for name, enum in enums.items():
        msgspec.structs.force_setattr(part, name, choice(enum, getattr(part, name), where, name))


def decay_bits(part: LIF | Synapse) -> int:
    """The fraction bits n of a decay that is rounded together with the sum, else 0."""
    on_sum = isinstance(part.decay, MulShift) and part.rounding_site is RoundingSite.SUM
    return part.decay.n if on_sum and isinstance(part.decay, MulShift) else 0

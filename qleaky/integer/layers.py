"""The layers of an :class:`~qleaky.integer.IntegerNetwork`: plain data, every number an integer code."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from qleaky.dynamics import Compare, Decay, MulShift, ResetMechanism, ResetTiming, RoundingSite, lowest_threshold
from qleaky.errors import InputError
from qleaky.fixed import Overflow, QFormat, Rounding

IntArray = NDArray[Any]
TimeMode = Literal["sequence", "static"]
ReadoutKind = Literal["spikes", "spike_count", "membrane_mean", "last_membrane"]
READOUTS: tuple[ReadoutKind, ...] = ("spikes", "spike_count", "membrane_mean", "last_membrane")


class Signal(msgspec.Struct, frozen=True):
    """What travels between layers: integers x with value x * 2**-frac_bits, and their worst-case range per sample."""

    shape: tuple[int, ...]
    frac_bits: int
    low: int
    high: int

    @property
    def magnitude(self) -> int:
        """The largest absolute integer."""
        return max(abs(self.low), abs(self.high))


class Input(msgspec.Struct, frozen=True):
    """The network's input: its per-sample shape, its format, and whether it changes with time.

    A code c enters the arithmetic as the integer c - zero_point.
    """

    shape: tuple[int, ...]
    format: QFormat
    time: TimeMode = "sequence"

    @property
    def signal(self) -> Signal:
        """The integers c - zero_point that the first layer sees."""
        fmt = self.format
        return Signal(self.shape, fmt.frac_bits, fmt.lowest - fmt.zero_point, fmt.highest - fmt.zero_point)


class Linear(msgspec.Struct, frozen=True, kw_only=True, tag="linear", eq=False):
    """I = W x + b on integers.

    Shapes: x (..., in), ``weight`` (out, in), ``bias`` (out,) or None; the result (..., out) has
    frac_bits = weight_frac_bits + that of x, and so has the bias.
    """

    name: str
    input: str
    weight: IntArray
    bias: IntArray | None = None
    weight_frac_bits: int

    def output(self, x: Signal) -> Signal:
        """Shape, grid and range of the result, from the worst case of every output channel."""
        for what, codes in (("weight", self.weight), ("bias", self.bias)):
            if codes is not None and (codes.dtype.kind not in "iu" or codes.size == 0):
                raise InputError(f"layer {self.name!r}: {what} must be a non-empty array of integer codes.")
        if not x.shape or self.weight.ndim != 2 or x.shape[-1] != self.weight.shape[1]:
            raise InputError(
                f"layer {self.name!r}: weight of shape {self.weight.shape} cannot take an input of shape {x.shape}; "
                f"the weight is (out, in) and the input ends in `in`."
            )
        if self.bias is not None and self.bias.shape != (self.weight.shape[0],):
            raise InputError(f"layer {self.name!r}: bias of shape {self.bias.shape}, expected ({self.weight.shape[0]},).")
        positive, negative = split_signs(self.weight)
        bias = 0 if self.bias is None else self.bias.astype(object)
        high = positive * x.high - negative * x.low + bias
        low = positive * x.low - negative * x.high + bias
        shape = (*x.shape[:-1], self.weight.shape[0])
        return Signal(shape, x.frac_bits + self.weight_frac_bits, int(min(low)), int(max(high)))


class LIF(msgspec.Struct, frozen=True, kw_only=True, tag="lif", eq=False):
    """One leaky integrate-and-fire layer; :func:`qleaky.reference.lif_step` is its step.

    ``theta`` and ``multiplier`` (the m of :class:`~qleaky.dynamics.MulShift`) are codes of shape () or of the layer.
    Spikes are 0 or 1; membranes are codes of ``state``.
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

    def __post_init__(self) -> None:
        if self.state.zero_point:
            raise InputError(f"layer {self.name!r}: a membrane format has zero_point 0, not {self.state.zero_point}.")
        if self.overflow is Overflow.WRAP and self.state.narrow:
            raise InputError(f"layer {self.name!r}: {self.state} cannot wrap; a narrow format saturates.")
        if isinstance(self.decay, MulShift) != (self.multiplier is not None):
            raise InputError(f"layer {self.name!r}: a multiplier goes with a MulShift decay, and only with it.")
        if self.multiplier is not None and isinstance(self.decay, MulShift):
            self._check_codes("multiplier", self.multiplier, 0, 1 << self.decay.n)
        self._check_codes("theta", self.theta, self.state.lowest, self.state.highest)
        lowest = lowest_threshold(self.reset_mechanism, self.reset_timing, self.compare)
        if lowest is not None and self.theta.min() < lowest:
            theta, least = self.theta.min() * self.state.step, lowest * self.state.step
            raise InputError(
                f"layer {self.name!r}: threshold {theta} with reset_timing='{self.reset_timing}'; it must be at least {least}, "
                f"or a reset could push a membrane out of its format."
            )

    def _check_codes(self, what: str, codes: IntArray, low: int, high: int) -> None:
        if codes.size == 0 or codes.dtype.kind not in "iu":
            raise InputError(f"layer {self.name!r}: {what} must be a non-empty array of integer codes.")
        if codes.min() < low or codes.max() > high:
            worst = int(codes.min() if codes.min() < low else codes.max())
            raise InputError(f"layer {self.name!r}: {what} code {worst} lies outside {low} to {high}.")

    def output(self, x: Signal) -> Signal:
        """The spikes: 0 or 1 for each neuron."""
        for what, codes in (("theta", self.theta), ("multiplier", self.multiplier)):
            if codes is not None and not _fits(codes.shape, x.shape):
                raise InputError(f"layer {self.name!r}: {what} of shape {codes.shape} does not fit neurons {x.shape}.")
        return Signal(x.shape, 0, 0, 1)

    def input_shift(self, x: Signal) -> int:
        """How many bits the input current is finer than the state (negative: coarser)."""
        return x.frac_bits - self.state.frac_bits

    def extra_bits(self, x: Signal) -> int:
        """k, the extra bits at which the sum is exact before it is rounded once."""
        on_sum = isinstance(self.decay, MulShift) and self.rounding_site is RoundingSite.SUM
        return max(self.decay.n if on_sum and isinstance(self.decay, MulShift) else 0, self.input_shift(x), 0)


class Readout(msgspec.Struct, frozen=True):
    """What leaves the network.

    ``spikes`` (T, B, ...) of ``layer``; ``spike_count`` their sum over time; ``membrane_mean`` the sum of the membrane
    codes over time (the division by T and the scale are outside the contract); ``last_membrane`` the final codes.
    With ``argmax`` the class too: the lowest index of the largest value over the last axis.
    """

    layer: str
    kind: ReadoutKind = "spikes"
    argmax: bool = False

    @property
    def output_name(self) -> str:
        """Name of the output tensor that holds the integers."""
        return OUTPUT_NAMES[self.kind]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all outputs, in order."""
        return (self.output_name, "class") if self.argmax else (self.output_name,)


OUTPUT_NAMES: dict[ReadoutKind, str] = {
    "spikes": "spikes",
    "spike_count": "spike_count",
    "membrane_mean": "membrane_sum",
    "last_membrane": "last_membrane",
}

Layer = Linear | LIF


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether ``shape`` broadcasts to ``target``."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(mine in (1, theirs) for mine, theirs in pairs)


def split_signs(weight: IntArray) -> tuple[IntArray, IntArray]:
    """Per output channel the sums of the positive weights and of the absolute negative ones, as unbounded integers."""
    narrow = weight.dtype.itemsize <= 4  # such sums fit int64 whatever the fan-in
    wide = weight.astype(np.int64 if narrow else object).reshape(weight.shape[0], -1)
    positive = np.where(wide > 0, wide, 0).sum(axis=1).astype(object)
    negative = -np.where(wide < 0, wide, 0).sum(axis=1).astype(object)
    return positive, negative


def check_batch(shape: tuple[int, ...], sample: tuple[int, ...], num_steps: int | None) -> None:
    """Refuse a batch of inputs that is not (T, B, *sample), or (B, *sample) where ``num_steps`` is None, with B >= 1.

    Raises:
        InputError: it is not.
    """
    lead = () if num_steps is None else (num_steps,)
    axis = len(lead)
    wanted = f"({', '.join(str(d) for d in (*lead, 'B', *sample))})"
    if len(shape) != axis + 1 + len(sample) or shape[axis + 1 :] != sample or shape[:axis] != lead:
        raise InputError(f"inputs have shape {shape}; this network takes {wanted}, time first.")
    if shape[axis] == 0:
        raise InputError(f"inputs have shape {shape}: an empty batch. Pass at least one sample, {wanted}.")

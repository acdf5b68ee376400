"""The equations of a LIF step on a carrier's numbers: decay, rounding, overflow, firing."""

from __future__ import annotations

from qleaky.dynamics import Compare, MulShift, RoundingSite, ShiftDecay
from qleaky.export.carriers import Carrier
from qleaky.export.numbers import Num
from qleaky.fixed import Overflow, Rounding
from qleaky.integer import LIF, Synapse
from qleaky.integer.layers import Signal
from qleaky.integer.lif import decay_bits
from qleaky.integer.signals import IntArray, as_integers, shifted


class Numbers:
    """The constants of a layer, each the same array wherever it is used, so that it is stored and looked up once."""

    def __init__(self, layer: LIF) -> None:
        self.theta = as_integers(layer.theta)
        self.multiplier = None if layer.multiplier is None else as_integers(layer.multiplier)
        self.graded = None if layer.graded is None else as_integers(layer.graded)
        multiplier = None if layer.synapse is None else layer.synapse.multiplier
        self.synapse = None if multiplier is None else as_integers(multiplier)
        self._moved: dict[tuple[int, int], IntArray] = {}

    def moved(self, codes: IntArray, bits: int) -> IntArray:
        """codes * 2**bits."""
        key = id(codes), bits
        if key not in self._moved:
            self._moved[key] = shifted(codes, bits) if bits else codes
        return self._moved[key]


def half(bits: int, rounding: Rounding) -> int:
    """What HALF_UP adds before ``bits`` bits are dropped."""
    return 1 << (bits - 1) if bits and rounding is Rounding.HALF_UP else 0


def units(layer: LIF, source: Signal) -> tuple[int, int, int]:
    """Of the prepared current: bits finer than the state it meets first, bits at which that state sums, and the half."""
    shift = layer.current_shift(source)
    part: LIF | Synapse = layer if layer.synapse is None else layer.synapse
    unit = max(decay_bits(part), shift, 0)
    return shift, unit, half(unit, part.rounding)


def integrated(ops: Carrier, layer: LIF, syn: Num, unit: int) -> Num:
    """The synaptic current as what the membrane adds up, with the half of the membrane's rounding."""
    assert layer.synapse is not None
    shift = layer.synapse.state.frac_bits - layer.state.frac_bits
    charge = ops.aligned(ops.divided(syn, shift), unit)
    added = half(unit, layer.rounding)
    return ops.add(charge, ops.number(added, unit)) if added else charge


def membrane(ops: Carrier, layer: LIF, name: str) -> Num:
    """A membrane: its format is its range."""
    return ops.num(name, layer.state.lowest, layer.state.highest)


def synapse_num(ops: Carrier, synapse: Synapse, name: str) -> Num:
    """A synaptic current."""
    return ops.num(name, synapse.state.lowest, synapse.state.highest)


def update(
    ops: Carrier, part: LIF | Synapse, numbers: Numbers, old: Num, charge: Num, less: Num | None = None, name: str | None = None
) -> Num:
    """overflow(round(decay(old) + charge - less)); the charge has the half of the rounding."""
    total = ops.add(decayed(ops, part, numbers, old, charge.bits), charge)
    if less is not None:
        total = ops.sub(total, less)
    return ops.fit(ops.rounded(total, part.rounding), part.state, part.overflow, name)


def decayed(ops: Carrier, part: LIF | Synapse, numbers: Numbers, old: Num, unit: int) -> Num:
    """The decayed state, rounded where that is done on its own, else in ``unit``."""
    multiplier = numbers.multiplier if isinstance(part, LIF) else numbers.synapse
    if isinstance(part.decay, ShiftDecay):
        lost = ops.rounded(ops.divided(old, part.decay.k), Rounding.FLOOR)
        if part.decay.at_least_one:
            lost = ops.where(ops.is_zero(lost), ops.sign(old), lost)
        least, most = shift_decay_range(old, part.decay)
        return ops.num(ops.sub(old, lost).name, least, most)
    if not isinstance(part.decay, MulShift) or multiplier is None:
        return old
    if part.rounding_site is RoundingSite.SUM:
        return ops.mul(old, ops.constant(numbers.moved(multiplier, unit - part.decay.n), unit))
    product = ops.mul(old, ops.constant(multiplier, part.decay.n))
    rounding = part.decay.rounding or part.rounding
    if added := half(part.decay.n, rounding):
        product = ops.add(product, ops.number(added, part.decay.n))
    return ops.rounded(product, rounding)


def shift_decay_range(old: Num, decay: ShiftDecay) -> tuple[int, int]:
    """u - (u >> k) grows with u."""
    least, most = (end - (end >> decay.k) for end in (old.low, old.high))
    return min(least, 0), max(most, 0)


def fires(ops: Carrier, layer: LIF, theta: IntArray, mem: Num, name: str | None) -> str:
    """S = U > theta, or >=, as bool; with several spikes a step how often theta can be taken off, in the carrier's type."""
    strict = layer.compare is Compare.STRICT
    if layer.max_spikes == 1:
        return ops.above(mem, ops.constant(theta), strict=strict, name=name)
    return ops.quotient(mem, theta, strict, layer.max_spikes, name)


def clip_range(layer: LIF, source: Signal) -> tuple[int, int] | None:
    """Ends between which the current may be brought because what lies beyond saturates either way; None where it does not."""
    part: LIF | Synapse = layer if layer.synapse is None else layer.synapse
    if part.overflow is not Overflow.SATURATE:
        return None
    shift = layer.current_shift(source)
    least, most = (_decayed_end(part, end) for end in (part.state.lowest, part.state.highest))
    theta = layer.max_spikes * max(abs(int(layer.theta.max())), abs(int(layer.theta.min()))) if part is layer else 0
    low, high = part.state.lowest - most - theta - 2, part.state.highest - least + theta + 2
    return (low << shift, high << shift) if shift >= 0 else (low >> -shift, -(-high >> -shift))


def _decayed_end(part: LIF | Synapse, end: int) -> int:
    """The largest decayed state in magnitude on one side, or one more."""
    if isinstance(part.decay, ShiftDecay):
        return end - (end >> part.decay.k)
    if isinstance(part.decay, MulShift) and part.multiplier is not None:
        product = int(part.multiplier.max()) * abs(end)
        reach = -(-product >> part.decay.n)
        return reach if end > 0 else -reach
    return end

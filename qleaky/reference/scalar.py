"""One step of one neuron in scalar Python integers, which are unbounded: what every other implementation must equal."""

from __future__ import annotations

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay
from qleaky.fixed import fit, round_shift
from qleaky.integer.lif import LIF, Synapse


def lif_step(layer: LIF, mem: int, current: int, theta: int, multiplier: int, current_shift: int) -> tuple[int, int]:
    """One step of one neuron: (U[t-1], I[t]) -> (U[t], n[t]), all integer codes; n counts spikes, and is 0 or 1 in most layers.

    ::

        R = count(U[t-1])                      delayed and undelayed reset
        D = decay(U[t-1])                      zero reset: decay(0) where R > 0
        A = D + I[t] - R*theta                 zero/none reset and SAME_STEP: without the last term
        V = overflow(round(A))
        n = count(V)
        U = V                                  DELAYED
        U = V - n*theta        | V*(1-n)       SAME_STEP, subtract | zero
        U = V - (n-R)*theta    | V - (n-R)*V   UNDELAYED, subtract | zero

    Args:
        layer: the dynamics; its arrays are not read.
        mem: U[t-1], a code of ``layer.state``.
        current: I[t], or the synaptic current J[t], at ``current_shift`` more fractional bits than the state.
        theta: the threshold's code.
        multiplier: the decay's m, where it is a MulShift.
        current_shift: frac_bits of the current minus those of the state; may be negative.
    """
    reset = _count(layer, mem, theta) if layer.reset_timing is not ResetTiming.SAME_STEP else 0
    kept = 0 if reset and layer.reset_mechanism is ResetMechanism.ZERO else mem
    subtracted = reset * theta if layer.reset_mechanism is ResetMechanism.SUBTRACT else 0
    charged = _charge(layer, kept, multiplier, current, current_shift, subtracted)
    spikes = _count(layer, charged, theta)
    return charged - _late_reset(layer, spikes, reset, charged, theta), spikes


def synapse_step(synapse: Synapse, synaptic: int, current: int, multiplier: int, current_shift: int) -> int:
    """One step of one synaptic current: J[t] = overflow(round(decay(J[t-1]) + I[t])), in codes of ``synapse.state``."""
    return _charge(synapse, synaptic, multiplier, current, current_shift, 0)


def _charge(part: LIF | Synapse, kept: int, multiplier: int, current: int, current_shift: int, subtracted: int) -> int:
    """overflow(round(decay(kept) + current - subtracted)): exact at ``extra`` more bits, then rounded once."""
    decayed, bits = _decay(part, kept, multiplier)
    extra = max(bits, current_shift, 0)
    total = (decayed << (extra - bits)) + (current << (extra - current_shift)) - (subtracted << extra)
    return fit(round_shift(total, extra, part.rounding), part.state, part.overflow)


def _count(layer: LIF, mem: int, theta: int) -> int:
    """How often the threshold can be taken off while the membrane fires, ``max_spikes`` times at most.

    ::

        strict     u - (n-1)*theta > theta     n = floor((u - 1) / theta)
        inclusive  u - (n-1)*theta >= theta    n = floor(u / theta)
    """
    strict = layer.compare is Compare.STRICT
    if layer.max_spikes == 1:
        return int(mem > theta if strict else mem >= theta)
    return min(max((mem - strict) // theta, 0), layer.max_spikes)


def _decay(part: LIF | Synapse, mem: int, multiplier: int) -> tuple[int, int]:
    """The decayed state, and at how many extra fractional bits."""
    match part.decay:
        case None:
            return mem, 0
        case ShiftDecay(k=k, at_least_one=at_least_one):
            lost = mem >> k
            if at_least_one and lost == 0:
                lost = (mem > 0) - (mem < 0)
            return mem - lost, 0
        case MulShift(n=n) if part.rounding_site is RoundingSite.SUM:
            return multiplier * mem, n
        case MulShift(n=n, rounding=rounding):
            return round_shift(multiplier * mem, n, rounding or part.rounding), 0


def _late_reset(layer: LIF, spikes: int, reset: int, charged: int, theta: int) -> int:
    """What is taken off the membrane after it fired; nothing for a delayed reset."""
    if layer.reset_timing is ResetTiming.DELAYED:
        return 0
    match layer.reset_mechanism:
        case ResetMechanism.SUBTRACT:
            return (spikes - reset) * theta
        case ResetMechanism.ZERO:
            return (spikes - reset) * charged
        case ResetMechanism.NONE:
            return 0

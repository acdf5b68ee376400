"""The specification on NumPy int64, tested equal to the scalar one; it checks the bounds under which int64 cannot overflow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qleaky.dynamics import Compare, MulShift, ResetMechanism, ResetTiming, RoundingSite, ShiftDecay, resets_late
from qleaky.fixed import fit_array, round_shift_array
from qleaky.integer.lif import LIF, Synapse

Int64 = NDArray[np.int64]


def lif_step(layer: LIF, mem: Int64, current: Int64, current_shift: int) -> tuple[Int64, Int64]:
    """One step of a layer: (U[t-1], I[t]) -> (U[t], n[t]); :func:`qleaky.reference.scalar.lif_step` states the equations."""
    theta = layer.theta.astype(np.int64)
    delayed = layer.reset_timing is not ResetTiming.SAME_STEP
    reset = _count(layer, mem, theta) if delayed else np.zeros_like(mem)
    kept = mem * (reset == 0) if layer.reset_mechanism is ResetMechanism.ZERO else mem
    subtracted = reset * theta if delayed and layer.reset_mechanism is ResetMechanism.SUBTRACT else None
    charged = _charge(layer, kept, current, current_shift, subtracted)

    spikes = _count(layer, charged, theta)
    if not resets_late(layer.reset_mechanism, layer.reset_timing):
        return charged, spikes
    step_down = theta if layer.reset_mechanism is ResetMechanism.SUBTRACT else charged
    return charged - (spikes - reset) * step_down, spikes


def synapse_step(synapse: Synapse, synaptic: Int64, current: Int64, current_shift: int) -> Int64:
    """One step of synaptic currents: (J[t-1], I[t]) -> J[t]."""
    return _charge(synapse, synaptic, current, current_shift, None)


def _charge(part: LIF | Synapse, kept: Int64, current: Int64, current_shift: int, subtracted: Int64 | None) -> Int64:
    decayed, bits = _decay(part, kept)
    extra = max(bits, current_shift, 0)
    total = (decayed << (extra - bits)) + (current << (extra - current_shift))
    if subtracted is not None:
        total = total - (subtracted << extra)
    return fit_array(round_shift_array(total, extra, part.rounding), part.state, part.overflow)


def _count(layer: LIF, mem: Int64, theta: Int64) -> Int64:
    strict = layer.compare is Compare.STRICT
    if layer.max_spikes == 1:
        return (mem > theta if strict else mem >= theta).astype(np.int64)
    count: Int64 = np.clip((mem - strict) // theta, 0, layer.max_spikes)
    return count


def _decay(part: LIF | Synapse, mem: Int64) -> tuple[Int64, int]:
    """The decayed state, and at how many extra fractional bits."""
    if isinstance(part.decay, ShiftDecay):
        lost = mem >> part.decay.k
        return mem - (np.where(lost == 0, np.sign(mem), lost) if part.decay.at_least_one else lost), 0
    if isinstance(part.decay, MulShift) and part.multiplier is not None:
        product: Int64 = mem * part.multiplier.astype(np.int64)
        if part.rounding_site is RoundingSite.SUM:
            return product, part.decay.n
        return round_shift_array(product, part.decay.n, part.decay.rounding or part.rounding), 0
    return mem, 0
